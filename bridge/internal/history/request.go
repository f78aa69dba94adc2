package history

import (
	"slices"
	"strconv"
	"strings"
	"time"

	"headgate/bridge/internal/encode"
)

// Request asks for messages of a stream.
type Request struct {
	Stream   string
	Created  time.Time              // the incarnation that the sequences are of; where the stream is another one by now: ErrReset
	Epoch    uint64                 // raised when the stream has gone back: what was read before is not the answer any more
	AsOf     uint64                 // not 0: what was read for another one is not the answer, since messages may have been replaced meanwhile
	Direct   bool                   // the stream has allow_direct
	Filters  []string               // at least one; a message that several match counts once
	From, To uint64                 // what is asked for is in (From, To]
	Grow     func(bytes int64) bool // LastPerSubject and List: asked for room before so much more is kept; false ends it with ErrCrowded. nil = always
	MaxBytes int                    // about so much in an answer, but at least one message if there is any; 0 = as much as one read gives
	User     string                 // waiting requests are served in turn, user by user
	long     bool                   // a List, which takes a worker for seconds
}

// Answer is what there is. Its items are shared; they are only read.
type Answer struct {
	Items []*encode.Item // in order of sequence, each once
	Upto  uint64         // everything that matches in (From, Upto] is in Items; Request.To when that is all
	List  *List          // of List alone
	First uint64         // the stream's first sequence when this was read; beyond From+1 something had been thrown away. 0: nothing was read
	Err   error
}

// read is a Request that waits.
type read struct {
	Request
	done  func(Answer)
	topic *topic // nil: an operation
	run   func(s *session) Answer
	equal string // operations: equal ones share one; "" = this one does not
	until time.Time
	began time.Time

	// guarded by Coordinator.mu
	queued   bool // in its user's queue
	answered bool
	shared   []func(Answer) // done of equal operations that came while this one waited
}

// key is what equal requests have in common. Filters are sets.
func (r *Request) key() string {
	filters := slices.Compact(slices.Sorted(slices.Values(r.Filters)))
	r.Filters = filters
	return r.Created.UTC().Format(time.RFC3339Nano) + " " + strconv.FormatUint(r.Epoch, 10) + " " + strconv.FormatUint(r.AsOf, 10) + " " + strings.Join(filters, " ")
}

// Read reads messages in order. It never blocks; done is called exactly once, from any goroutine, perhaps before Read returns. While
// NATS is away the answer is ErrAway at once: whoever asks again must pause.
func (c *Coordinator) Read(r Request, done func(Answer)) {
	c.m.reads.Inc()
	if r.From >= r.To {
		done(Answer{Upto: r.From})
		return
	}
	key := r.key()
	now := time.Now()
	q := &read{Request: r, done: done, began: now, until: now.Add(patience)}
	c.mu.Lock()
	t := c.topicOf(q.Stream, key, q.Request)
	if a, ok := t.serve(&q.Request, now); ok {
		c.mu.Unlock()
		c.m.hits.Inc()
		c.m.bytes.Add(float64(sizeOf(a.Items)))
		done(a)
		return
	}
	q.topic = t
	if err := c.enqueue(q); err != nil {
		c.dropTopic(t)
		c.mu.Unlock()
		done(Answer{Err: err})
		return
	}
	if len(t.reads) > 0 || t.busy {
		c.m.merged.Inc()
	}
	t.reads = append(t.reads, q)
	c.mu.Unlock()
	c.signal(c.wake)
}

// operate puts an operation into the queue, or joins an equal one. equal says which are, beside the stream and the sequence asked for.
func (c *Coordinator) operate(r Request, equal string, run func(s *session) Answer, done func(Answer)) {
	now := time.Now()
	if equal != "" {
		equal = r.Stream + " " + strconv.FormatUint(r.To, 10) + " " + equal
	}
	q := &read{Request: r, done: done, run: run, equal: equal, began: now, until: now.Add(patience)}
	if r.long {
		q.until = now.Add(listPatience)
	}
	c.mu.Lock()
	if o := c.operations[equal]; o != nil && c.waiting < maxWaiting {
		o.shared = append(o.shared, done)
		c.waiting++
		c.mu.Unlock()
		c.m.merged.Inc()
		return
	}
	err := c.enqueue(q)
	if err == nil && equal != "" {
		c.operations[equal] = q
	}
	c.mu.Unlock()
	if err != nil {
		done(Answer{Err: err})
		return
	}
	c.signal(c.wake)
}

// enqueue puts a new request into its user's queue. The caller holds mu.
func (c *Coordinator) enqueue(q *read) error {
	switch {
	case c.stopped || c.session == nil:
		return ErrAway
	case c.waiting >= maxWaiting:
		return ErrBusy
	}
	c.waiting++
	c.m.waiting.Set(float64(c.waiting))
	c.queue.push(q)
	return nil
}

// settle takes a request off everything it waits in, unless it has been answered. The caller holds mu, and answers when it is true.
func (c *Coordinator) settle(q *read) bool {
	if q.answered {
		return false
	}
	q.answered = true
	if q.equal != "" {
		delete(c.operations, q.equal)
	}
	c.waiting -= 1 + len(q.shared)
	c.m.waiting.Set(float64(c.waiting))
	return true
}

// answer tells a request that has been settled.
func (c *Coordinator) answer(q *read, a Answer) {
	c.m.bytes.Add(float64(sizeOf(a.Items)))
	c.m.seconds.Observe(time.Since(q.began).Seconds())
	q.done(a)
	for _, done := range q.shared { // nobody joins what is settled
		done(a)
	}
}

// takeAll settles everything that waits. The caller holds mu.
func (c *Coordinator) takeAll() []*read {
	return c.settleIf(func(*read) bool { return true })
}

// overdue settles what has waited too long. The caller holds mu.
func (c *Coordinator) overdue(now time.Time) []*read {
	return c.settleIf(func(q *read) bool { return now.After(q.until) })
}

func (c *Coordinator) settleIf(ends func(*read) bool) []*read {
	var settled []*read
	end := func(q *read) bool {
		if !q.answered && !ends(q) {
			return false
		}
		if c.settle(q) {
			settled = append(settled, q)
		}
		return true
	}
	c.queue.remove(end)
	c.lists.waiting = slices.DeleteFunc(c.lists.waiting, end)
	for _, s := range c.streams {
		s.parked = slices.DeleteFunc(s.parked, end)
		for q := range s.running {
			end(q)
		}
		for _, t := range s.topics {
			t.reads = slices.DeleteFunc(t.reads, end)
			c.dropTopic(t)
		}
	}
	return settled
}
