//go:build !linux

package delivery

// poller has nothing to poll: there are no sockets here.
type poller struct{ closed chan struct{} }

type ready struct {
	slot, gen     uint32
	in, out, gone bool
}

func (p *poller) open() error {
	p.closed = make(chan struct{})
	return nil
}

func (p *poller) close()                             { close(p.closed) }
func (p *poller) watch(func())                       { <-p.closed }
func (p *poller) add(int32, uint32, uint32) error    { return errNoSockets }
func (p *poller) modify(int32, uint32, uint32, bool) {}
func (p *poller) remove(int32)                       {}
func (p *poller) poll() int                          { return 0 }
func (p *poller) polled(int)                         {}
func (p *poller) event(int) ready                    { return ready{} }
