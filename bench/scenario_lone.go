//go:build linux

package main

import (
	"errors"
	"fmt"
	"runtime"
	"time"

	"golang.org/x/sys/unix"
)

// lone: how long a message for one client takes while a message for many others is being fanned out. The many
// clients' thread gives way to the lone client's, its publisher's and the broker, so that the server is measured and not the swarm.
func lone(l *Lab) ([]Row, error) {
	row := Row{Name: fmt.Sprintf("a message for one client during fan-outs to %d", l.size.Many), Unit: "p99 latency, ms"}
	p50, p99 := samples{}, samples{}
	err := l.interleave(&row, max(1, l.size.Passes*3/5), []string{"headgate", "naive", "hub"}, func(kind string) error {
		sc, err := l.Scene(kind, Cast{Clients: l.size.Many})
		if err != nil {
			return err
		}
		defer sc.Close()
		yield, err := giveWay()
		if err != nil {
			return err
		}
		defer yield()
		stop, result := make(chan struct{}), make(chan loneResult, 1)
		go func() {
			run, err := loneClient(l, sc.Server, stop)
			result <- loneResult{run, err}
		}()
		_, err = l.Measure(sc.Server, func() (Run, error) { return Saturate(sc.Swarm, sc.Pub, sc.N, 1, 2*l.size.Stretch) })
		close(stop)
		r := <-result
		if err := errors.Join(err, r.err); err != nil {
			return err
		}
		row.checkWhole(kind, r.run)
		p50.add(kind, ms(r.run.Tally.Latency.Quantile(0.5)))
		p99.add(kind, ms(r.run.Tally.Latency.Quantile(0.99)))
		return nil
	})
	if err != nil {
		return nil, err
	}
	row.Figures = p99.figures()
	row.below(10)
	row.atMost(0.25, "naive")
	row.note("median latency in ms: %s", listed(p50))
	return []Row{row}, nil
}

type loneResult struct {
	run Run
	err error
}

// loneClient measures until stop is closed: short open-loop stretches of 50 messages a second, joined.
func loneClient(l *Lab, server *Server, stop <-chan struct{}) (Run, error) {
	feed, err := dialNATS(l.nats)
	if err != nil {
		return Run{}, err
	}
	defer feed.Close()
	s, err := NewSwarm(server.Addr, false)
	if err != nil {
		return Run{}, err
	}
	defer s.Close()
	if err := s.Add(1, func(int) string { return pathOf(0) }, 20*time.Second); err != nil {
		return Run{}, err
	}
	p := NewPublisher(feed, payloadSize)
	if err := Warm(s, p, 1, own, 1); err != nil {
		return Run{}, err
	}
	total := Run{Complete: true}
	for {
		select {
		case <-stop:
			return total, nil
		default:
		}
		run, err := Pace(s, p, 50, 200*time.Millisecond, 1, func(int) int { return 0 })
		if err != nil {
			return Run{}, err
		}
		total.add(run)
	}
}

// giveWay lowers the priority of the calling goroutine's thread, which stays its own, until undo is called.
func giveWay() (undo func(), err error) {
	runtime.LockOSThread()
	if err := unix.Setpriority(unix.PRIO_PROCESS, unix.Gettid(), 10); err != nil {
		runtime.UnlockOSThread()
		return nil, fmt.Errorf("priority: %w", err)
	}
	return func() {
		// Without the right to raise it again the thread must not serve anything else: it stays locked.
		if unix.Setpriority(unix.PRIO_PROCESS, unix.Gettid(), 0) == nil {
			runtime.UnlockOSThread()
		}
	}, nil
}
