//go:build !linux

package delivery

import "time"

// poller only wakes: there are no sockets here.
type poller struct {
	bell  chan struct{}
	timer *time.Timer
}

type ready struct {
	slot, gen     uint32
	in, out, gone bool
}

func (p *poller) open() error {
	p.bell = make(chan struct{}, 1)
	p.timer = time.NewTimer(time.Hour)
	return nil
}

func (p *poller) close() { p.timer.Stop() }

func (p *poller) add(int32, uint32, uint32) error    { return errNoSockets }
func (p *poller) modify(int32, uint32, uint32, bool) {}
func (p *poller) remove(int32)                       {}
func (p *poller) poll() int                          { return 0 }
func (p *poller) event(int) (ready, bool)            { return ready{}, false }

func (p *poller) wait(d time.Duration) int {
	p.timer.Reset(d)
	select {
	case <-p.bell:
	case <-p.timer.C:
	}
	return 0
}

func (p *poller) wake() {
	select {
	case p.bell <- struct{}{}:
	default:
	}
}
