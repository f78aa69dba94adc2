package stream

import (
	"context"
	"sync"
)

// readers carry out reads from memory. A state of a hundred thousand keys, or a pass over a long tail, takes milliseconds, for which
// the shard that asks would do nothing for its other clients.
type readers struct {
	wake chan struct{} // room for one: whoever wakes up wakes the next one if there is more

	mu      sync.Mutex
	stopped bool
	list    []func()
}

// do hands a read over. It never blocks; after the end it is carried out by the caller.
func (r *readers) do(read func()) {
	r.mu.Lock()
	stopped := r.stopped
	if !stopped {
		r.list = append(r.list, read)
	}
	r.mu.Unlock()
	if stopped {
		read()
		return
	}
	r.ring()
}

func (r *readers) ring() {
	select {
	case r.wake <- struct{}{}:
	default:
	}
}

// run is one of the readers. The last thing they do is to carry out what is left.
func (r *readers) run(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			r.mu.Lock()
			r.stopped = true
			r.mu.Unlock()
			r.work()
			return nil
		case <-r.wake:
			r.work()
		}
	}
}

func (r *readers) work() {
	for {
		r.mu.Lock()
		if len(r.list) == 0 {
			r.list = nil
			r.mu.Unlock()
			return
		}
		read := r.list[0]
		r.list[0] = nil
		r.list = r.list[1:]
		more := len(r.list) > 0
		r.mu.Unlock()
		if more {
			r.ring()
		}
		read()
	}
}
