package conn

import (
	"net"
	"sync/atomic"
	"time"
)

const dialTimeout = 2 * time.Second

// dialer is where a new session with a server begins: nats.go has ended the loop that read the last one, and has not read a byte of
// the new one. Its callbacks tell of the same, but later, when messages of the new session may already have been handed over.
type dialer struct{ c *Conn }

// Dial implements nats.CustomDialer. nats.go holds the lock of the connection while it runs.
func (d dialer) Dial(network, address string) (net.Conn, error) {
	d.c.dialing()
	return (&net.Dialer{Timeout: dialTimeout}).Dial(network, address)
}

func (c *Conn) dialing() {
	n := c.dials.Add(1)
	c.mu.Lock()
	nc, ever := c.nc, c.state.Ever
	c.mu.Unlock()
	if !ever || c.handlers.Dial == nil {
		return
	}
	c.handlers.Dial(n, atomic.LoadUint64(&nc.InMsgs))
}
