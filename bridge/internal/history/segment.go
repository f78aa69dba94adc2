package history

import (
	"slices"
	"sort"
	"time"

	"headgate/bridge/internal/encode"
)

// keepFor is how long what has been read is kept, from when it was last asked for.
const keepFor = 5 * time.Second

// itemOverhead is about what an item costs beside its bytes.
const itemOverhead = 256

// segment is what a read brought: everything that its topic matches in (from, upto].
type segment struct {
	from, upto uint64
	first      uint64 // the stream's first sequence when from was read
	items      []*encode.Item
	size       int64
	used       time.Time
}

func size(it *encode.Item) int64 {
	n := len(it.Subject) + len(it.Data) + itemOverhead
	for k, values := range it.Header {
		for _, v := range values {
			n += len(k) + len(v)
		}
	}
	return int64(n)
}

func sizeOf(items []*encode.Item) (n int64) {
	for _, it := range items {
		n += int64(len(it.Data))
	}
	return n
}

// covers says whether a read from a sequence can begin here.
func (s *segment) covers(from uint64) bool { return s.from <= from && from < s.upto }

// extend appends what was read behind the segment. It refuses where they do not join, or where something was thrown away between
// them: that must stay visible to whoever reads over it.
func (s *segment) extend(p *segment) bool {
	if p.from < s.from || p.from > s.upto || p.upto < s.upto || p.first > s.upto+1 {
		return false
	}
	// A new slice header, and elements that nobody has seen: answers share the old part.
	for _, it := range p.items {
		if it.Seq > s.upto {
			s.items = append(s.items, it)
			s.size += size(it)
		}
	}
	s.upto, s.used = p.upto, p.used
	return true
}

// answer is what the segment has for a request that it covers; all says that it is all the request wants.
func (s *segment) answer(r *Request) (a Answer, all bool) {
	a = Answer{Upto: min(s.upto, r.To), First: s.first}
	all = s.upto >= r.To
	i := sort.Search(len(s.items), func(i int) bool { return s.items[i].Seq > r.From })
	n := 0
	for j := i; j < len(s.items) && s.items[j].Seq <= r.To; j++ {
		n += len(s.items[j].Data) + len(s.items[j].Subject)
		if r.MaxBytes > 0 && n >= r.MaxBytes {
			all = true
			if next := j + 1; next < len(s.items) && s.items[next].Seq <= r.To || s.upto < r.To {
				a.Upto = s.items[j].Seq
			}
			a.Items = s.items[i : j+1 : j+1]
			return a, all
		}
		a.Items = s.items[i : j+1 : j+1]
	}
	return a, all
}

// cache is the memory of all segments. Guarded by Coordinator.mu.
type cache struct {
	limit, size int64
}

// insert keeps what was read for a topic. The caller holds mu.
func (c *Coordinator) insert(t *topic, p *segment) {
	joined := false
	for _, s := range t.segments {
		before := s.size
		if s.extend(p) { // each that can: a request that only one of them covers must get further
			c.cache.size += s.size - before
			joined = true
		}
	}
	if !joined {
		t.segments = append(t.segments, p)
		c.cache.size += p.size
	}
}

// shrink throws segments away until the cache is within its limit, those first that were not used for longest. The caller holds mu.
func (c *Coordinator) shrink() {
	if c.cache.size <= c.cache.limit {
		return
	}
	type place struct {
		t *topic
		s *segment
	}
	var all []place
	for _, s := range c.streams {
		for _, t := range s.topics {
			for _, g := range t.segments {
				all = append(all, place{t, g})
			}
		}
	}
	slices.SortFunc(all, func(a, b place) int {
		// What somebody waits for the rest of would be read again at once.
		if wa, wb := len(a.t.reads) > 0, len(b.t.reads) > 0; wa != wb {
			if wb {
				return -1
			}
			return 1
		}
		return a.s.used.Compare(b.s.used)
	})
	for _, p := range all {
		if c.cache.size <= c.cache.limit*3/4 { // not again at once
			return
		}
		c.forget(p.t, func(s *segment) bool { return s == p.s })
		c.dropTopic(p.t)
	}
}

// expire throws away what is not asked for any more. The caller holds mu.
func (c *Coordinator) expire(now time.Time) {
	for _, s := range c.streams {
		for _, t := range s.topics {
			c.forget(t, func(g *segment) bool { return now.Sub(g.used) > keepFor })
			c.dropTopic(t)
		}
	}
}

func (c *Coordinator) forget(t *topic, which func(*segment) bool) {
	t.segments = slices.DeleteFunc(t.segments, func(s *segment) bool {
		if which(s) {
			c.cache.size -= s.size
			return true
		}
		return false
	})
}
