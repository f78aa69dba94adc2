package bridge

import (
	"time"

	"headgate/internal/flow"
)

// replays slows down what is read for clients that missed something, and their initial states, to what budgets allow. A batch is read,
// charged, and handed on when it may go: so nobody is refused what he missed, and what waits for a reader is one batch.
type replays struct {
	charge func(user string, events, bytes int) time.Duration
	later  func(d time.Duration, call func())
}

// LimitReplays makes charge decide how long a part of a replay waits that has been read for a user. It is called before Run, at most once.
// Core subjects are not concerned: their rings are small.
func (b *Bridge) LimitReplays(charge func(user string, events, bytes int) time.Duration) {
	if b.streams != nil {
		b.replays = &replays{charge, b.streams.Later}
	}
}

// paced is done, called when the budget of the user allows.
func (r *replays) paced(user string, done func(flow.Batch)) func(flow.Batch) {
	if r == nil {
		return done
	}
	return func(b flow.Batch) {
		events, bytes := 0, 0
		for _, e := range b.Events {
			if e.Frame != nil {
				events++
				bytes += e.Frame.Len()
			}
		}
		if events > 0 {
			if wait := r.charge(user, events, bytes); wait > 0 {
				r.later(wait, func() { done(b) })
				return
			}
		}
		done(b)
	}
}
