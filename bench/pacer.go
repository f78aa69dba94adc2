//go:build linux

package main

import (
	"fmt"
	"time"
)

// Publisher numbers and stamps messages. It is used by one goroutine at a time.
type Publisher struct {
	Burst int // in open loop so many messages are due together; 0 = each by itself

	feed    Feed
	payload []byte
	at      int            // where the stamp goes
	seq     map[int]uint32 // last sequence of each target
}

// NewPublisher publishes payloads of about size bytes into feed.
func NewPublisher(feed Feed, size int) *Publisher {
	payload, at := newPayload(size)
	return &Publisher{feed: feed, payload: payload, at: at, seq: map[int]uint32{}}
}

// Append adds the next message of target, due at the given time.
func (p *Publisher) Append(target int, due int64) {
	p.seq[target]++
	putStamp(p.payload[p.at:], p.seq[target], due)
	p.feed.Append(target, p.payload)
}

// Run is what one measured stretch of delivery gave.
type Run struct {
	Messages int
	Elapsed  time.Duration
	Tally    Tally // of this stretch alone
	Complete bool  // every expected delivery came, lost ones counted
}

// Rate is deliveries per second.
func (r Run) Rate() float64 { return float64(r.Tally.Received) / r.Elapsed.Seconds() }

const (
	stall     = 3 * time.Second // without progress for so long, what is missing is not coming
	pollEvery = 20 * time.Millisecond
)

// Saturate keeps up to window messages in flight to all of the swarm's n readers: the next one is published when the one
// window before it has reached everybody. The clock stops when the last delivery of the last message has arrived.
func Saturate(s *Swarm, p *Publisher, n, window int, d time.Duration) (Run, error) {
	return saturate(s, p, shared, n, window, d)
}

// saturate is Saturate on a target of the caller's.
func saturate(s *Swarm, p *Publisher, target, n, window int, d time.Duration) (Run, error) {
	s.resetTally()
	start := now()
	sent := 0
	lastChange, lastProgress := start, uint64(0)
	for {
		t := now()
		stop := t-start >= int64(d)
		progress := s.tally.progress()
		if progress != lastProgress {
			lastChange, lastProgress = t, progress
		}
		if stop && progress >= uint64(sent*n) {
			return s.run(sent, t-start, true), nil
		}
		if t-lastChange > int64(stall) {
			return s.run(sent, lastChange-start, false), nil
		}
		for !stop && sent < window+int(progress)/n {
			p.Append(target, now())
			sent++
		}
		if err := p.feed.Flush(); err != nil {
			return Run{}, fmt.Errorf("publish: %w", err)
		}
		if err := s.Poll(pollEvery); err != nil {
			return Run{}, err
		}
	}
}

// Pace publishes in open loop: message k is due at k/rate seconds whatever the server does, and its latency counts from then.
// target says where message k goes; fan is how many readers a message has. It returns when all has arrived or nothing comes any more.
func Pace(s *Swarm, p *Publisher, rate float64, d time.Duration, fan int, target func(k int) int) (Run, error) {
	s.resetTally()
	total := int(rate * d.Seconds())
	start := now()
	failed := make(chan error, 1)
	go func() { failed <- p.pace(start, rate, total, target) }()
	var err error
	lastChange, lastProgress := start, uint64(0)
	for sending := true; ; {
		select {
		case err = <-failed:
			if err != nil {
				return Run{}, fmt.Errorf("publish: %w", err)
			}
			sending, lastChange = false, now()
		default:
		}
		t, progress := now(), s.tally.progress()
		if progress != lastProgress {
			lastChange, lastProgress = t, progress
		}
		if !sending && progress >= uint64(total*fan) {
			return s.run(total, t-start, true), nil
		}
		if !sending && t-lastChange > int64(stall) {
			return s.run(total, lastChange-start, false), nil
		}
		if err := s.Poll(pollEvery); err != nil {
			if sending {
				<-failed
			}
			return Run{}, err
		}
	}
}

// pace sends total messages at their times. What is due together goes out in one write.
func (p *Publisher) pace(start int64, rate float64, total int, target func(k int) int) error {
	gap, burst := float64(time.Second)/rate, max(1, p.Burst)
	due := func(k int) int64 { return start + int64(float64(k-k%burst)*gap) }
	for k := 0; k < total; {
		if wait := due(k) - now(); wait > 0 {
			time.Sleep(time.Duration(wait))
		}
		for t := now(); k < total && due(k) <= t; k++ {
			p.Append(target(k), due(k))
		}
		if err := p.feed.Flush(); err != nil {
			return err
		}
	}
	return nil
}

// resetTally begins a new stretch.
func (s *Swarm) resetTally() { s.tally = Tally{} }

func (s *Swarm) run(messages int, elapsed int64, complete bool) Run {
	return Run{Messages: messages, Elapsed: time.Duration(elapsed), Tally: s.tally, Complete: complete}
}

// Warm publishes until one message has reached all n readers, so that slow subscriptions are not taken for losses.
// Sequences start anew behind it.
func Warm(s *Swarm, p *Publisher, n int, target func(k int) int, targets int) error {
	deadline := now() + int64(30*time.Second)
	for {
		s.resetTally()
		for i := range s.clients {
			s.clients[i].next = 0
		}
		for k := range targets {
			p.Append(target(k), now())
		}
		if err := p.feed.Flush(); err != nil {
			return fmt.Errorf("warm up: %w", err)
		}
		for until := now() + int64(2*time.Second); now() < until && s.tally.progress() < uint64(n); {
			if err := s.Poll(pollEvery); err != nil {
				return err
			}
		}
		if s.tally.Received == uint64(n) && s.tally.Duplicated == 0 {
			return nil
		}
		if now() > deadline {
			return fmt.Errorf("warm up: %d of %d clients received the message", s.tally.Received, n)
		}
	}
}

// add joins two stretches.
func (r *Run) add(o Run) {
	r.Messages += o.Messages
	r.Elapsed += o.Elapsed
	r.Complete = r.Complete && o.Complete
	t, u := &r.Tally, &o.Tally
	t.Received += u.Received
	t.Lost += u.Lost
	t.Duplicated += u.Duplicated
	t.Malformed += u.Malformed
	t.Latency.Add(&u.Latency)
}
