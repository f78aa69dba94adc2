package gateway_test

import (
	"context"
	"net/netip"
	"slices"
	"sync"

	"headgate/internal/cursor"
	"headgate/internal/flow"
	"headgate/internal/sse"
	"headgate/ratelimit"
)

// source is a source that the test feeds.
type source struct {
	mu     sync.Mutex
	sink   flow.Sink
	closed bool
}

func (s *source) Read(_ flow.Ask, done func(flow.Batch)) {
	done(flow.Batch{Done: true})
}
func (s *source) Progress(cursor.Position) {}
func (s *source) Attach(sink flow.Sink) cursor.Position {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.sink = sink
	return cursor.Position{{Tag: cursor.MakeTag("test"), Seq: 0}}
}

func (s *source) Close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed, s.sink = true, nil
}

func (s *source) isClosed() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.closed
}

// bridge is a Bridge whose answers the test decides.
type bridge struct {
	mu        sync.Mutex
	open      func(context.Context, flow.Request) (flow.Opened, error)
	publish   func(subject string, header map[string][]string, body []byte) (flow.Ack, error)
	requests  []flow.Request
	sources   []*source
	published []published
}

type published struct {
	subject string
	header  map[string][]string
	body    string
}

func (b *bridge) Open(ctx context.Context, req flow.Request) (flow.Opened, error) {
	b.mu.Lock()
	b.requests = append(b.requests, req)
	open := b.open
	b.mu.Unlock()
	if open != nil {
		return open(ctx, req)
	}
	return b.opened(), nil
}

// opened is a live source that the harness knows of.
func (b *bridge) opened() flow.Opened {
	b.mu.Lock()
	defer b.mu.Unlock()
	s := &source{}
	b.sources = append(b.sources, s)
	return flow.Opened{Source: s, Start: flow.Live}
}

func (b *bridge) Publish(_ context.Context, subject string, header map[string][]string, body []byte) (flow.Ack, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.published = append(b.published, published{subject, header, string(body)})
	if b.publish != nil {
		return b.publish(subject, header, body)
	}
	return flow.Ack{}, nil
}

func (b *bridge) opens() []flow.Request {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.Clone(b.requests)
}

func (b *bridge) subjects() []string {
	opens := b.opens()
	if len(opens) == 0 {
		return nil
	}
	var all []string
	for _, spec := range opens[len(opens)-1].Sources {
		all = append(all, spec.Subjects...)
	}
	return all
}

// push sends an event to every open source.
func (b *bridge) push(frame *sse.Frame, seq uint64) {
	b.mu.Lock()
	sources := slices.Clone(b.sources)
	b.mu.Unlock()
	for _, s := range sources {
		s.mu.Lock()
		sink := s.sink
		s.mu.Unlock()
		if sink != nil {
			sink.Push(flow.Event{Frame: frame, Seq: seq})
		}
	}
}

// limiter is a Limiter that counts, and refuses what the test says.
type limiter struct {
	mu                    sync.Mutex
	refuse                *ratelimit.Refusal
	publish               *ratelimit.Refusal
	admitted              int
	second                int // of them, as a user too, and not given back
	refuseUser, publishAs *ratelimit.Refusal
	released              int
	addrs                 []netip.Addr
	users                 []ratelimit.User // that were admitted, in order
	tokens                tokens
	hook                  func() // called once, by the next Connect
}

// tokens are what has been taken of rates.
type tokens struct{ connects, users, publishes, publishers int }

func (l *limiter) Admit(user ratelimit.User, _ string, paid bool) (ratelimit.Counted, ratelimit.Refusal, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.refuseUser != nil {
		return ratelimit.ByAddress, *l.refuseUser, false
	}
	if !paid {
		l.tokens.users++
	}
	l.users = append(l.users, user)
	l.second++
	return ratelimit.ByUser, ratelimit.Refusal{}, true
}

func (l *limiter) Connect(addr netip.Addr, paid bool) (ratelimit.Refusal, bool) {
	l.mu.Lock()
	hook := l.hook
	l.hook = nil
	l.mu.Unlock()
	if hook != nil {
		hook()
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.refuse != nil {
		return *l.refuse, false
	}
	if !paid {
		l.tokens.connects++
	}
	l.admitted++
	l.addrs = append(l.addrs, addr)
	return ratelimit.Refusal{}, true
}

func (l *limiter) Release(a ratelimit.Admission) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.released++
	if a.Counted != ratelimit.ByAddress {
		l.second--
	}
	if i := slices.Index(l.addrs, a.Addr); i >= 0 {
		l.addrs = slices.Delete(l.addrs, i, i+1)
	}
}

func (l *limiter) Publish(netip.Addr) (ratelimit.Refusal, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.publish != nil {
		return *l.publish, false
	}
	l.tokens.publishes++
	return ratelimit.Refusal{}, true
}

func (l *limiter) PublishAs(ratelimit.User, string) (ratelimit.Refusal, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.publishAs != nil {
		return *l.publishAs, false
	}
	l.tokens.publishers++
	return ratelimit.Refusal{}, true
}

// balance is how many were admitted and how many of them are still out, and by which addresses.
func (l *limiter) balance() (admitted, out int, addrs []netip.Addr) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.admitted, l.admitted - l.released, slices.Clone(l.addrs)
}
