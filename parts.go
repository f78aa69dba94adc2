package main

import (
	"context"
	"fmt"
	"log/slog"
)

// parts are the long-running parts of the process. They stop in the reverse of the order in which they were started, each one
// only when those that use it are gone.
type parts struct {
	log    *slog.Logger
	failed chan error // the first failure of a part; the process then ends
	list   []part
}

type part struct {
	name   string
	cancel context.CancelFunc
	done   chan struct{}
}

func newParts(log *slog.Logger) *parts {
	return &parts{log: log, failed: make(chan error, 1)}
}

// start runs a part. It is not a child of any context but its own: a signal ends the parts one by one, not all at once.
func (p *parts) start(name string, run func(ctx context.Context) error) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	p.list = append(p.list, part{name: name, cancel: cancel, done: done})
	go func() {
		defer close(done)
		err := run(ctx)
		switch {
		case err == nil && ctx.Err() == nil:
			p.fail(fmt.Errorf("%s: has ended by itself", name))
		case err != nil && ctx.Err() != nil:
			p.log.Warn("ending of a part", "part", name, "error", err)
		case err != nil:
			p.fail(fmt.Errorf("%s: %w", name, err))
		}
	}()
}

func (p *parts) fail(err error) {
	select {
	case p.failed <- err:
	default:
		p.log.Error("another part has failed too", "error", err)
	}
}

// stop ends the parts, the last one first, and waits for each. When hurry ends it waits no longer, and says which part is left.
func (p *parts) stop(hurry <-chan struct{}) error {
	var stuck error
	for i := len(p.list) - 1; i >= 0; i-- {
		p.list[i].cancel()
		select {
		case <-p.list[i].done:
			continue
		default:
		}
		select {
		case <-p.list[i].done:
		case <-hurry:
			stuck = fmt.Errorf("%s: has not ended in time", p.list[i].name)
		}
	}
	return stuck
}
