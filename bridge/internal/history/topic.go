package history

import (
	"slices"
	"time"
)

// stream is what is known of a stream while something of it waits or is kept. Guarded by Coordinator.mu.
type stream struct {
	name     string
	topics   map[string]*topic
	scanning bool               // one shared scan at a time
	parked   []*read            // of topics that wait for the next scan
	alone    time.Time          // no shared scan before
	running  map[*read]struct{} // operations that a worker is at
}

// topic is a set of filters on one incarnation of a stream: equal requests. Guarded by Coordinator.mu.
type topic struct {
	stream   *stream
	key      string
	created  time.Time
	filters  []string // fixed
	direct   bool
	reads    []*read // waiting
	segments []*segment
	busy     bool // a job is reading for it
}

// topicOf finds or makes a topic. The caller holds mu.
func (c *Coordinator) topicOf(name, key string, r Request) *topic {
	s := c.streamOf(name)
	t := s.topics[key]
	if t == nil {
		t = &topic{stream: s, key: key, created: r.Created, filters: r.Filters}
		s.topics[key] = t
	}
	t.direct = r.Direct
	return t
}

func (c *Coordinator) streamOf(name string) *stream {
	s := c.streams[name]
	if s == nil {
		s = &stream{name: name, topics: map[string]*topic{}, running: map[*read]struct{}{}}
		c.streams[name] = s
	}
	return s
}

// dropTopic forgets a topic that nothing needs. The caller holds mu.
func (c *Coordinator) dropTopic(t *topic) {
	if len(t.reads) > 0 || len(t.segments) > 0 || t.busy {
		return
	}
	s := t.stream
	delete(s.topics, t.key)
	c.dropStream(s)
}

func (c *Coordinator) dropStream(s *stream) {
	if len(s.topics) == 0 && !s.scanning && len(s.parked) == 0 && len(s.running) == 0 {
		delete(c.streams, s.name)
	}
}

// serve answers from what is kept, if that is all the request wants.
func (t *topic) serve(r *Request, now time.Time) (Answer, bool) {
	for _, s := range t.segments {
		if !s.covers(r.From) {
			continue
		}
		if a, all := s.answer(r); all {
			s.used = now
			return a, true
		}
	}
	return Answer{}, false
}

// reached is from where a request is still to be read.
func (t *topic) reached(r *Request) uint64 {
	at := r.From
	for _, s := range t.segments {
		if s.covers(r.From) {
			at = max(at, s.upto)
		}
	}
	return at
}

// span is what the topic's requests still need: (from, to].
func (t *topic) span() (from, to uint64) {
	from = ^uint64(0)
	for _, q := range t.reads {
		from = min(from, t.reached(&q.Request))
		to = max(to, q.To)
	}
	return from, to
}

// settled is a request and its answer.
type settled struct {
	q *read
	a Answer
}

// arrived settles the requests of a topic that have what they want, now that a job's part has been kept. The others wait for the next
// job, but where memory is short, or what comes next does not join, each gets what there is: all of a job's topics alike, so that they
// come back together and one scan serves them again. The caller holds mu.
func (c *Coordinator) arrived(t *topic, p *segment, crowded bool, err error) []settled {
	t.busy = false
	var out []settled
	t.reads = slices.DeleteFunc(t.reads, func(q *read) bool {
		if q.answered {
			return true
		}
		a, ok := t.answer(&q.Request, crowded || err != nil, p)
		if !ok && err == nil {
			c.queue.push(q)
			return false
		}
		if !ok {
			a = Answer{Err: err}
		}
		if c.settle(q) {
			out = append(out, settled{q, a})
		}
		return true
	})
	return out
}

// answer is what a waiting request gets after a job, or now if there is anything; not ok while it is to wait on.
func (t *topic) answer(r *Request, now bool, last *segment) (Answer, bool) {
	for _, s := range t.segments {
		if !s.covers(r.From) {
			continue
		}
		a, all := s.answer(r)
		cut := last != nil && s != last && last.from == s.upto // what was read behind it did not join
		if all || now || cut {
			return a, true
		}
	}
	return Answer{}, false
}
