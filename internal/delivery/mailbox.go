package delivery

import (
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"headgate/internal/flow"
)

// errStopped is what a mailbox answers after its shard has ended.
var errStopped = errors.New("delivery: stopped")

const (
	// fullOps is how many events may wait in a mailbox before those who bring more are slowed down.
	fullOps = 65536
	// fullWait is how long one Push waits then, at most. It is bounded because the shard may at that moment wait for a lock that
	// the caller holds; beyond the bound the mailbox grows.
	fullWait = 20 * time.Millisecond
)

type opKind uint8

const (
	opEvent opKind = iota // group, gen, event
	opJoin                // arg *joining
	opRead                // group = slot, gen, arg flow.Batch
	opWrote               // group = slot, gen, n, arg error
	opGone                // group = slot, gen
	opEnd                 // arg *ending
	opStop
	opCheck // arg *checking
	opTick  // look at the clock
)

// op is one message to a shard.
type op struct {
	kind  opKind
	group uint32 // or slot
	gen   uint32
	n     int
	event flow.Event
	arg   any
}

// mailbox is how everybody else speaks to a shard: many senders, one receiver.
type mailbox struct {
	parked atomic.Bool // the shard waits to be woken
	wake   func()

	mu      sync.Mutex
	ops     []op
	stopped bool
	space   chan struct{} // closed when a full mailbox has been emptied; nil while nobody waits
}

// put never waits.
func (m *mailbox) put(o op) error {
	m.mu.Lock()
	if m.stopped {
		m.mu.Unlock()
		return errStopped
	}
	m.ops = append(m.ops, o)
	m.mu.Unlock()
	m.ring()
	return nil
}

// putEvent is put for events: it slows its caller down while the shard is far behind.
func (m *mailbox) putEvent(group, gen uint32, e flow.Event) {
	m.mu.Lock()
	if len(m.ops) >= fullOps && !m.stopped {
		m.waitLocked()
	}
	if !m.stopped {
		m.ops = append(m.ops, op{kind: opEvent, group: group, gen: gen, event: e})
	}
	m.mu.Unlock()
	m.ring()
}

func (m *mailbox) waitLocked() {
	if m.space == nil {
		m.space = make(chan struct{})
	}
	space := m.space
	m.mu.Unlock()
	m.ring()
	timer := time.NewTimer(fullWait)
	select {
	case <-space:
	case <-timer.C:
	}
	timer.Stop()
	m.mu.Lock()
}

func (m *mailbox) ring() {
	if m.parked.Load() && m.parked.CompareAndSwap(true, false) {
		m.wake()
	}
}

// take swaps the waiting messages for an empty buffer.
func (m *mailbox) take(into []op) []op {
	m.mu.Lock()
	ops := m.ops
	m.ops = into[:0]
	if m.space != nil {
		close(m.space)
		m.space = nil
	}
	m.mu.Unlock()
	return ops
}

func (m *mailbox) empty() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return len(m.ops) == 0
}

// stop refuses everything from now on and returns what was still waiting.
func (m *mailbox) stop() []op {
	m.mu.Lock()
	m.stopped = true
	m.mu.Unlock()
	return m.take(nil)
}
