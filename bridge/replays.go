package bridge

import (
	"time"

	"headgate/internal/flow"
)

// ReplayBudget decides when what clients have missed, and their initial states, are read for them.
type ReplayBudget interface {
	// MayReplay says how long to wait before asking again. 0: a part may be read now, and Replayed is called when it has been.
	MayReplay(user string) time.Duration
	Replayed(user string, events, bytes int)
}

// replays slows such reads down to a budget. Nothing is read before it may be, so nothing is kept for those who wait, and who goes away
// costs nothing more.
type replays struct {
	budget ReplayBudget
	later  func(d time.Duration, call func())
}

// partBytes is the most that is read at once where there is a budget, which may be exceeded by one part.
const partBytes = 16 << 10

// LimitReplays is called before Run, at most once. Core subjects are not concerned: their rings are small.
func (b *Bridge) LimitReplays(budget ReplayBudget) {
	if b.streams != nil {
		b.replays = &replays{budget, b.streams.Later}
	}
}

// read reads a part when the budget of the user allows.
func (r *replays) read(user string, ask flow.Ask, done func(flow.Batch), read func(flow.Ask, func(flow.Batch))) {
	if r == nil {
		read(ask, done)
		return
	}
	if wait := r.budget.MayReplay(user); wait > 0 {
		asked := time.Now()
		r.later(wait, func() {
			if time.Since(asked) < wait/2 { // the process ends: who waits is answered
				read(ask, done)
				return
			}
			r.read(user, ask, done, read)
		})
		return
	}
	ask.MaxBytes = min(ask.MaxBytes, partBytes)
	read(ask, func(b flow.Batch) {
		events, bytes := 0, 0
		for _, e := range b.Events {
			if e.Frame != nil {
				events++
				bytes += e.Frame.Len()
			}
		}
		r.budget.Replayed(user, events, bytes)
		done(b)
	})
}
