package history

import (
	"slices"
	"sync"
	"time"
)

// What a job may read at most.
const (
	passMessages = 4096    // for one topic
	passBytes    = 1 << 20 // for one topic
	chunk        = 50_000  // messages of a scan, so that who comes meanwhile does not wait for the end of a long one

	// manyTopics wait for the scan that is running without a choice for each, which looks at all of them. The next scan is most likely
	// theirs.
	manyTopics = 64

	// Before a scan for so many the coordinator looks how quickly more come, who would all need a scan of their own: in a storm, or behind
	// an answer that was only a part.
	gatherStep = 10 * time.Millisecond
	gatherMost = 250 * time.Millisecond
)

// Fixed costs, about: a direct get with the questions to the leader, and a consumer made and deleted.
const (
	fixedDirect = 500 * time.Microsecond
	fixedScan   = 4 * time.Millisecond
)

// costs are the times that one message between the position and the end of the range takes, measured as they happen.
type costs struct {
	mu           sync.Mutex
	direct, scan float64 // seconds: of a filtered read, of an unfiltered scan
	inFlight     int     // direct gets; the server does them one after the other
}

// init takes the measured values of a small machine.
func (c *costs) init() { c.direct, c.scan = 0.07e-6, 4.3e-6 }

func (c *costs) now() (direct, scan float64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.direct, c.scan
}

// begin counts a direct get in, and returns what to call when it is over, with the messages it went over.
func (c *costs) begin() func(span uint64) {
	c.mu.Lock()
	c.inFlight++
	share := float64(c.inFlight)
	c.mu.Unlock()
	began := time.Now()
	return func(span uint64) {
		took := time.Since(began).Seconds()
		c.mu.Lock()
		defer c.mu.Unlock()
		c.inFlight--
		if span >= 10_000 { // of less the fixed part is most
			c.direct = blend(c.direct, took/share/float64(span), 0.005e-6, 2e-6)
		}
	}
}

func (c *costs) scanned(span uint64, took time.Duration) {
	if span < 5000 {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.scan = blend(c.scan, took.Seconds()/float64(span), 0.3e-6, 50e-6)
}

// blend moves an average towards a new value, within bounds: one odd measurement must not decide for long.
func blend(old, measured, low, high float64) float64 {
	return min(max(0.8*old+0.2*measured, low), high)
}

// wanting is a topic that a job may take, and what it needs.
type wanting struct {
	t        *topic
	from, to uint64
}

// pick takes the next request in turn and makes the job that serves it, with everything that the same job can serve. It returns nil
// when nothing can be done now.
func (c *Coordinator) pick() func() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for {
		s := c.session
		if s == nil {
			return nil
		}
		q := c.queue.pop()
		if q == nil {
			return nil
		}
		if q.run != nil && q.long && !c.lists.begin(q, c.parallel) {
			continue // comes back when another one is made
		}
		if q.run != nil {
			return c.operation(s, q)
		}
		t := q.topic
		if t.busy {
			continue // comes back when the job of its topic is done
		}
		if t.stream.scanning && len(t.stream.topics) >= manyTopics {
			t.stream.parked = append(t.stream.parked, q)
			continue
		}
		if scan := c.scanFor(t); scan == nil {
			return c.readTopic(s, t)
		} else if !t.stream.scanning {
			return c.sharedScan(s, t, len(scan))
		}
		t.stream.parked = append(t.stream.parked, q)
	}
}

// scanFor says which topics one scan should serve together with t; nil when t is better read alone. The topics that begin furthest
// back may be cheaper alone, so that the scan need not begin with them. The caller holds mu.
func (c *Coordinator) scanFor(t *topic) []wanting {
	if len(t.stream.topics) < 2 || time.Now().Before(t.stream.alone) {
		return nil
	}
	var all []wanting
	var end uint64
	for _, o := range t.stream.topics {
		if o.busy || len(o.reads) == 0 || !o.created.Equal(t.created) {
			continue
		}
		w := wanting{t: o}
		w.from, w.to = o.span()
		all = append(all, w)
		end = max(end, w.to)
	}
	if len(all) < 2 {
		return nil
	}
	slices.SortFunc(all, func(a, b wanting) int {
		if a.from < b.from {
			return -1
		}
		return 1
	})
	direct, scan := c.costs.now()
	best, alone := 0, 0.0
	least := fixedScan.Seconds() + scan*float64(end-min(end, all[0].from))
	for k := range all {
		alone += all[k].cost(direct)
		cost := alone
		if k+1 < len(all) {
			cost += fixedScan.Seconds() + scan*float64(end-min(end, all[k+1].from))
		}
		if cost < least {
			best, least = k+1, cost
		}
	}
	if len(all)-best < 2 || !slices.ContainsFunc(all[best:], func(w wanting) bool { return w.t == t }) {
		return nil
	}
	return all[best:]
}

// cost is that of reading the topic alone, in seconds.
func (w *wanting) cost(direct float64) float64 {
	fixed := fixedDirect
	if !w.t.direct {
		fixed = fixedScan
	}
	n := float64(len(w.t.filters))
	return n * (fixed.Seconds() + direct*float64(w.to-min(w.to, w.from)))
}

// operation is the job of one request that is no Read. The caller holds mu.
func (c *Coordinator) operation(s *session, q *read) func() {
	st := c.streamOf(q.Stream)
	st.running[q] = struct{}{}
	return func() {
		a := q.run(s)
		a.Err = away(a.Err)
		c.mu.Lock()
		delete(st.running, q)
		c.dropStream(st)
		if q.long {
			c.lists.end(&c.queue)
		}
		first := c.settle(q)
		c.mu.Unlock()
		if first {
			c.answer(q, a)
		}
	}
}

// readTopic is the job of one topic. The caller holds mu.
func (c *Coordinator) readTopic(s *session, t *topic) func() {
	t.busy = true
	what := target{stream: t.stream.name, created: t.created, direct: t.direct, filters: t.filters}
	what.from, what.to = t.span()
	return func() {
		p, err := c.fetch(s.ctx, s.nc, what)
		c.finish([]*topic{t}, []*segment{p}, err)
	}
}

// finish hands out what a job has read.
func (c *Coordinator) finish(topics []*topic, parts []*segment, err error) {
	if err != nil {
		err = away(err)
		c.m.failed.Inc()
	}
	var out []settled
	now := time.Now()
	c.mu.Lock()
	for i, t := range topics {
		if p := parts[i]; p != nil && p.upto > p.from {
			p.used = now
			c.insert(t, p)
		}
	}
	crowded := c.cache.size > c.cache.limit
	for i, t := range topics {
		out = append(out, c.arrived(t, parts[i], crowded, err)...)
	}
	c.shrink()
	for _, t := range topics {
		c.dropTopic(t)
	}
	c.mu.Unlock()
	c.signal(c.wake)
	for _, s := range out {
		c.answer(s.q, s.a)
	}
}
