package core

import (
	"runtime"
	"sync/atomic"
	"time"

	"headgate/internal/cursor"
	"headgate/internal/flow"
)

// closeWait bounds how long Close waits for a Push that is under way; a Push is quick by contract.
const closeWait = time.Second

// Source is the topics of one request. It implements flow.Source.
type Source struct {
	// fixed after Open
	core  *Core
	links []link
	conns []*dataConn  // the entries of the position
	one   [1]*dataConn // room for conns, as most sources use one connection

	sink   flow.Sink // set by Attach, before any link can be seen
	closed atomic.Bool
}

// Entries is how many entries of the position the source has.
func (s *Source) Entries() int { return len(s.conns) }

// Attach implements flow.Source. Under its lock a connection gives arrival numbers, fills rings and looks up who follows a topic, so
// what came before the position returned is in the rings, and what comes after it is pushed.
func (s *Source) Attach(sink flow.Sink) cursor.Position {
	s.sink = sink
	position := make(cursor.Position, len(s.conns))
	for i, d := range s.conns {
		d.mu.Lock()
		for j := range s.links {
			if l := &s.links[j]; int(l.entry) == i {
				l.topic.attach(l)
			}
		}
		position[i] = cursor.Entry{Tag: d.tag, Seq: d.seq}
		d.mu.Unlock()
	}
	return position
}

// Progress implements flow.Source.
func (s *Source) Progress(p cursor.Position) {
	for i, d := range s.conns {
		if i < len(p) {
			p[i].Seq = max(p[i].Seq, d.progress.Load())
		}
	}
}

// Close implements flow.Source. It must not be called by the sink's Push.
func (s *Source) Close() {
	if s.closed.Swap(true) {
		return
	}
	for i := range s.links {
		l := &s.links[i]
		d := s.conns[l.entry]
		d.mu.Lock()
		l.topic.detach(l)
		d.releaseLocked(l.topic)
		d.mu.Unlock()
	}
	for _, d := range s.conns {
		d.pushed(s)
	}
}

// pushed waits until no Push to the source's sink is under way.
func (d *dataConn) pushed(s *Source) {
	for range 100 {
		if d.pushing.Load() != s {
			return
		}
		runtime.Gosched()
	}
	for end := time.Now().Add(closeWait); d.pushing.Load() == s && time.Now().Before(end); {
		time.Sleep(20 * time.Microsecond)
	}
}
