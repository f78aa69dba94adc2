package conn

import (
	"context"
	"math/rand/v2"
	"net"
	"strings"
	"sync/atomic"
	"time"
)

const (
	dialTimeout   = 2 * time.Second // for all addresses of a server together
	lookupTimeout = 5 * time.Second // what resolvers take for an answer that was lost once
)

// dialer is where a new session with a server begins: nats.go has ended the loop that read the last one, and has not read a byte of
// the new one. Its callbacks tell of the same, but later, when messages of the new session may already have been handed over.
type dialer struct{ c *Conn }

// Dial implements nats.CustomDialer. nats.go holds the lock of the connection while it runs. The address is the server's as it is
// configured or was discovered: with nats.SkipHostLookup the name is left to us, so that an error can tell it.
func (d dialer) Dial(network, address string) (net.Conn, error) {
	d.c.dialing(address)
	nc, err := dialAny(network, address)
	if err == nil {
		return nc, nil
	}
	failed := &dialError{server: address, cause: err}
	d.c.mu.Lock()
	d.c.dialFailed = failed
	d.c.mu.Unlock()
	return nil, failed
}

// dialAny tries the addresses of a server in random order, so that a fleet spreads over the servers behind one name.
func dialAny(network, address string) (nc net.Conn, err error) {
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return nil, err
	}
	hosts := []string{host}
	if net.ParseIP(host) == nil {
		ctx, cancel := context.WithTimeout(context.Background(), lookupTimeout)
		defer cancel()
		if hosts, err = net.DefaultResolver.LookupHost(ctx, host); err != nil {
			return nil, err
		}
		rand.Shuffle(len(hosts), func(i, j int) { hosts[i], hosts[j] = hosts[j], hosts[i] })
	}
	for _, h := range hosts {
		timeout := dialTimeout / time.Duration(len(hosts))
		nc, err = net.DialTimeout(network, net.JoinHostPort(h, port), timeout)
		if err == nil {
			return nc, nil
		}
	}
	return nil, err
}

func (c *Conn) dialing(address string) {
	n := c.dials.Add(1)
	c.mu.Lock()
	c.dialed = address
	nc, ever := c.nc, c.state.Ever
	c.mu.Unlock()
	if !ever || c.handlers.Dial == nil {
		return
	}
	c.handlers.Dial(n, atomic.LoadUint64(&nc.InMsgs))
}

// dialError says which server cannot be reached. The text of the cause has at most the address that its name stands for.
type dialError struct {
	server string
	cause  error
}

func (e *dialError) Error() string { return named(e.server, e.cause.Error()) }
func (e *dialError) Unwrap() error { return e.cause }

// named is a text that says which server it is about, once.
func named(server, text string) string {
	if server == "" || strings.Contains(text, server) {
		return text
	}
	return server + ": " + text
}
