package history

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"headgate/bridge/internal/encode"
	"headgate/internal/subject"
)

// aloneFor is how long no shared scan is tried after the server has refused one.
const aloneFor = 10 * time.Second

// collector takes what a scan brings for one topic.
type collector struct {
	from, to uint64
	items    []*encode.Item
	size     int64
	full     bool
	at       uint64 // full: its last message
}

// take adds a message; one filter more that matches it does not add it again.
func (k *collector) take(it *encode.Item, n int64) (taken bool) {
	if k.full || it.Seq <= k.from || it.Seq > k.to || len(k.items) > 0 && k.items[len(k.items)-1] == it {
		return false
	}
	k.items = append(k.items, it)
	k.size += n
	k.full = k.size >= passBytes || len(k.items) >= passMessages
	k.at = it.Seq
	return true
}

// segment is what the collector has, when the scan has proven everything up to a sequence; nil when that is nothing new.
func (k *collector) segment(upto uint64) *segment {
	if k.full {
		upto = k.at
	} else {
		upto = min(upto, k.to) // beyond it nothing was taken
	}
	if upto <= k.from {
		return nil
	}
	return &segment{from: k.from, upto: upto, items: inOrder(k.items, upto, false), size: k.size + itemOverhead}
}

// pass is one scan that serves several topics.
type pass struct {
	target // from and to of all together; filters of the consumer, ">" where it takes everything
	demux  subject.Patterns[*collector]
	all    []*collector
	open   int    // collectors that are not full
	seen   uint64 // the last message
	first  uint64 // the first one
	count  int
	size   int64
	budget int64
}

// run scans until everything is proven, or the chunk is full. It returns how far it is proven.
func (p *pass) run(ctx context.Context, c *Coordinator, nc *nats.Conn, lasts []lastSaid) (uint64, error) {
	end := uint64(0) // a message here or behind is the last one to wait for
	for _, l := range lasts {
		end = max(end, l.seq)
	}
	end = min(end, p.to)
	sc := scan{stream: p.stream, filters: p.filters, from: p.from}
	if slices.Equal(p.filters, []string{">"}) {
		sc.filters = nil
	}
	began := time.Now()
	err := c.consume(ctx, nc, sc, func(it *encode.Item) bool {
		p.visit(it)
		return p.seen < end && p.count < chunk && p.size < p.budget && p.open > 0
	})
	if !gone(err) {
		return 0, err
	}
	if p.seen <= p.from {
		return p.from, nil
	}
	if sc.filters == nil {
		c.costs.scanned(p.seen-p.from, time.Since(began))
	}
	upto := p.seen
	if all := proven(lasts); p.reached(lasts) {
		upto = max(upto, all)
	}
	return upto, nil
}

func (p *pass) reached(lasts []lastSaid) bool {
	return !slices.ContainsFunc(lasts, func(l lastSaid) bool { return l.seq > p.seen })
}

func (p *pass) visit(it *encode.Item) {
	if p.count == 0 {
		p.first = it.Seq
	}
	p.count++
	p.seen = it.Seq
	n := int64(0)
	p.demux.Match(it.Subject, func(k *collector) {
		if n == 0 {
			n = size(it)
		}
		if k.take(it, n) {
			p.size += n
			if k.full {
				p.open--
			}
		}
	})
}

func (p *pass) add(filters []string, from, to uint64) {
	k := &collector{from: from, to: to}
	p.all = append(p.all, k)
	p.open++
	for _, f := range filters {
		p.demux.Add(f, k)
	}
}

// consumerFilters are those of the consumer of a pass.
func consumerFilters(filters []string) []string {
	if list := union(filters); list != nil {
		return list
	}
	return []string{">"}
}

// readScan reads the beginning of a range for one topic.
func (c *Coordinator) readScan(ctx context.Context, nc *nats.Conn, t *target, lasts []lastSaid) (*segment, error) {
	p := &pass{target: *t, budget: c.cache.limit}
	p.add(t.filters, t.from, t.to)
	p.filters = consumerFilters(t.filters)
	if !slices.Equal(p.filters, t.filters) {
		// The last message of all filters together is not needed: the consumer brings more, and in order.
		lasts = []lastSaid{together(lasts)}
	}
	upto, err := p.run(ctx, c, nc, lasts)
	if err != nil {
		return nil, err
	}
	if s := p.all[0].segment(upto); s != nil {
		return s, nil
	}
	return &segment{from: t.from, upto: t.from}, nil
}

// together is what the last messages of several filters say about all of them.
func together(lasts []lastSaid) lastSaid {
	one := lasts[0]
	for _, l := range lasts[1:] {
		one.seq, one.asOf = max(one.seq, l.seq), min(one.asOf, l.asOf)
	}
	return one
}

// sharedScan is the job of many topics, among them t. The caller holds mu.
func (c *Coordinator) sharedScan(s *session, t *topic, many int) func() {
	st := t.stream
	st.scanning = true
	t.busy = true // so that it stays
	return func() {
		if many >= manyTopics {
			c.gather(s.ctx, st)
		}
		list, direct := c.scanned(t)
		topics := make([]*topic, len(list))
		for i, w := range list {
			topics[i] = w.t
		}
		var parts []*segment
		var err error
		if len(list) > 0 {
			parts, err = c.scanTopics(s, st.name, list)
		}
		c.mu.Lock()
		st.scanning = false
		var refused *jetstream.APIError
		if errors.As(err, &refused) && direct { // perhaps the stream may have no more consumers
			c.log.Warn("history has no consumer for a shared scan; it reads topic by topic", "stream", st.name, "error", err)
			st.alone = time.Now().Add(aloneFor)
			err = nil
		}
		for _, q := range st.parked {
			c.queue.push(q)
		}
		st.parked = nil
		c.dropTopic(t)
		c.dropStream(st)
		c.mu.Unlock()
		c.finish(topics, parts, err)
	}
}

// gather waits while more requests come than a few.
func (c *Coordinator) gather(ctx context.Context, st *stream) {
	before := 0
	for waited := time.Duration(0); waited < gatherMost; waited += gatherStep {
		c.mu.Lock()
		now := len(st.parked)
		topics := len(st.topics)
		c.mu.Unlock()
		if waited > 0 && now-before < topics/50 || pause(ctx, gatherStep) != nil {
			return
		}
		before = now
	}
}

// scanned are the topics that a scan for t serves, which are busy from now on.
func (c *Coordinator) scanned(t *topic) (list []wanting, direct bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	t.busy = false
	list = c.scanFor(t)
	if list == nil && len(t.reads) > 0 { // the others have got theirs, or their time is up
		w := wanting{t: t}
		w.from, w.to = t.span()
		list = []wanting{w}
	}
	for _, w := range list {
		w.t.busy = true
	}
	return list, t.direct
}

// scanTopics reads the beginning of the ranges of many topics. Where the replica behind the consumer lags, it tries another one.
func (c *Coordinator) scanTopics(s *session, stream string, list []wanting) ([]*segment, error) {
	parts := make([]*segment, len(list))
	p := &pass{target: target{stream: stream, created: list[0].t.created, from: list[0].from}}
	var filters []string
	for _, w := range list { // ordered by from
		p.to = max(p.to, w.to)
		filters = append(filters, w.t.filters...)
	}
	p.filters = consumerFilters(filters)
	info, err := c.bounds(s.ctx, s.nc, &p.target)
	for try := 0; err == nil; try++ {
		var lasts []lastSaid
		if lasts, err = c.lastsOf(s.ctx, s.nc, &p.target, info, time.Now().Add(-fresh)); err != nil {
			break
		}
		p.begin(list, c.cache.limit)
		var upto uint64
		if together(lasts).seq <= p.from {
			upto = proven(lasts)
		} else if upto, err = p.run(s.ctx, c, s.nc, lasts); err != nil {
			break
		}
		if info, err = c.after(s.ctx, s.nc, &p.target); err != nil {
			break
		}
		if upto > p.from {
			p.collect(parts, upto, info.FirstSeq)
			return parts, nil
		}
		c.m.lag.Inc()
		if try >= len(backoff) {
			err = ErrAway
			break
		}
		if err = pause(s.ctx, backoff[try]); err != nil {
			break
		}
	}
	return parts, err
}

// begin forgets what an earlier try brought.
func (p *pass) begin(list []wanting, budget int64) {
	p.demux, p.all, p.open, p.seen, p.first, p.count, p.size, p.budget = subject.Patterns[*collector]{}, nil, 0, 0, 0, 0, 0, budget
	for _, w := range list {
		p.add(w.t.filters, w.from, w.to)
	}
}

func (p *pass) collect(parts []*segment, upto, first uint64) {
	if p.count > 0 {
		first = min(first, p.first)
	}
	for i, k := range p.all {
		if parts[i] = k.segment(upto); parts[i] != nil {
			parts[i].first = first
		}
	}
}
