//go:build linux

package main

import (
	"context"
	"fmt"
	"os"
	"time"
)

// Sample is a run with what it cost.
type Sample struct {
	Run
	CPU    time.Duration // of the server
	Broker time.Duration // of the broker
}

// PerDelivery is the server's processor time per delivered event, in microseconds.
func (s Sample) PerDelivery() float64 { return perEvent(s.CPU, s.Tally.Received) }

func perEvent(d time.Duration, n uint64) float64 {
	if n == 0 {
		return 0
	}
	return float64(d.Nanoseconds()) / 1e3 / float64(n)
}

// Noise is what the machine did beside us while something was measured, in cores.
type Noise struct {
	Others float64 // processes that are not the suite's
	Steal  float64 // taken by the hypervisor
}

// Measure runs f and takes the processor time of server and broker around it.
func (l *Lab) Measure(s *Server, f func() (Run, error)) (Sample, error) {
	before, err := l.read(s)
	if err != nil {
		return Sample{}, err
	}
	run, err := f()
	if err != nil {
		return Sample{}, fmt.Errorf("%s: %w", s.Kind, err)
	}
	after, err := l.read(s)
	if err != nil {
		return Sample{}, err
	}
	l.note(before, after)
	return Sample{Run: run, CPU: after.server - before.server, Broker: after.broker - before.broker}, nil
}

// reading is every clock at one moment.
type reading struct {
	load
	server, broker, ours time.Duration
}

func (l *Lab) read(s *Server) (r reading, err error) {
	if s != nil {
		if r.server, err = s.CPU(); err != nil {
			return r, fmt.Errorf("%s is gone: %w: %s", s.Kind, err, s.Proc.tail.String())
		}
	}
	if r.broker, err = cpuOf(l.broker.Pid); err != nil {
		return r, fmt.Errorf("broker: %w", err)
	}
	if r.ours, err = cpuOf(os.Getpid()); err != nil {
		return r, err
	}
	for _, p := range l.procs {
		cpu, err := cpuOf(p.Pid)
		if err != nil {
			return r, fmt.Errorf("%s: %w", p.Name, err)
		}
		r.ours += cpu
	}
	r.load, err = readLoad()
	return r, err
}

func (l *Lab) note(before, after reading) {
	if after.at-before.at < int64(200*time.Millisecond) {
		return // shorter than the clocks are exact
	}
	n := noiseBetween(before, after)
	l.noise.Others = max(l.noise.Others, n.Others)
	l.noise.Steal = max(l.noise.Steal, n.Steal)
}

func noiseBetween(before, after reading) Noise {
	elapsed := float64(after.at - before.at)
	return Noise{
		Others: float64(after.busy-before.busy-(after.ours-before.ours)) / elapsed,
		Steal:  float64(after.steal-before.steal) / elapsed,
	}
}

// awaitQuiet waits until the machine does nothing else, for as long as the suite's patience lasts. It never looks at
// results, so it prefers nobody.
func (l *Lab) awaitQuiet() error {
	for deadline := now() + int64(l.size.Patience); now() < deadline; {
		before, err := l.read(nil)
		if err != nil {
			return err
		}
		select {
		case <-time.After(time.Second):
		case <-l.ctx.Done():
			return context.Cause(l.ctx)
		}
		after, err := l.read(nil)
		if err != nil {
			return err
		}
		if n := noiseBetween(before, after); n.Others+n.Steal < noisy/2 {
			return nil
		}
	}
	return nil
}

// TakeNoise returns the worst noise since the last call.
func (l *Lab) TakeNoise() Noise {
	n := l.noise
	l.noise = Noise{}
	return n
}
