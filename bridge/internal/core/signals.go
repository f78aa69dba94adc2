package core

import (
	"sync"
	"sync/atomic"

	"github.com/nats-io/nats.go"
)

type signalKind uint8

const (
	sigUp      signalKind = iota // all subscriptions are confirmed on the connection that was made by this dial
	sigSlow                      // a subscription lost messages because the channel was full
	sigSuspect                   // it has refused some of them, without saying which
	sigRefused                   // the server has dropped a confirmed subscription
	sigHealed                    // it has accepted it again; sub is the new one
)

// signal is something the demux loop has to do between two messages.
type signal struct {
	kind  signalKind
	sub   *nats.Subscription
	topic *topic
	dial  uint64
}

// signals is the queue of them. Putting never blocks: nats.go and the interest loop put, and the demux loop may be busy.
type signals struct {
	any  atomic.Bool
	wake chan struct{}

	mu   sync.Mutex
	list []signal
}

func (s *signals) put(sig signal) {
	s.mu.Lock()
	s.list = append(s.list, sig)
	s.any.Store(true)
	s.mu.Unlock()
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

func (s *signals) take() []signal {
	s.mu.Lock()
	defer s.mu.Unlock()
	list := s.list
	s.list = nil
	s.any.Store(false)
	return list
}
