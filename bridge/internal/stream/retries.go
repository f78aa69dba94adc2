package stream

import (
	"context"
	"sync"
	"time"
)

// retries are calls to be made a little later.
type retries struct {
	wake chan struct{}

	mu      sync.Mutex
	stopped bool
	list    []retry
}

type retry struct {
	at   time.Time
	call func()
}

// Later makes a call after some time, or when the process ends.
func (s *Streams) Later(d time.Duration, call func()) { s.retries.later(d, call) }

// later makes a call after some time, or when the process ends.
func (r *retries) later(d time.Duration, call func()) {
	r.mu.Lock()
	stopped := r.stopped
	if !stopped {
		r.list = append(r.list, retry{time.Now().Add(d), call})
	}
	r.mu.Unlock()
	if stopped {
		call()
		return
	}
	select {
	case r.wake <- struct{}{}:
	default:
	}
}

const retryStep = 20 * time.Millisecond

func (r *retries) run(ctx context.Context) error {
	ticker := time.NewTicker(retryStep)
	defer ticker.Stop()
	for {
		due, left := r.take(time.Now(), false)
		for _, call := range due {
			call()
		}
		tick := ticker.C
		if left == 0 {
			tick = nil
		}
		select {
		case <-ctx.Done():
			rest, _ := r.take(time.Time{}, true)
			for _, call := range rest {
				call()
			}
			return nil
		case <-r.wake:
		case <-tick:
		}
	}
}

// take gives the calls that are due, or all of them for the last time.
func (r *retries) take(now time.Time, last bool) (due []func(), left int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	kept := r.list[:0]
	for _, x := range r.list {
		if last || !x.at.After(now) {
			due = append(due, x.call)
		} else {
			kept = append(kept, x)
		}
	}
	clear(r.list[len(kept):])
	r.list, r.stopped = kept, r.stopped || last
	return due, len(kept)
}
