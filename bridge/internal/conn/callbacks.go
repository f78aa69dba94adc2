package conn

import (
	"errors"
	"math/rand/v2"
	"regexp"
	"time"

	"github.com/nats-io/nats.go"
)

// Op is what a server can refuse.
type Op uint8

// The operations.
const (
	Subscribe Op = iota
	Publish
)

// violation is how a server tells which subject was refused; there is nothing else in the protocol that does.
var violation = regexp.MustCompile(`(?i)permissions violation for (subscription|publish) to "([^"\s]+)"`)

func (c *Conn) onUp(nc *nats.Conn) {
	server := hostPort(nc.ConnectedUrl())
	c.mu.Lock()
	fresh := c.fresh
	again := c.state.Ever
	if server == "" {
		server = c.dialed // it is gone already
	}
	c.fresh, c.nc = false, nc
	c.failed.reset()
	c.dialFailed = nil
	c.mu.Unlock()
	if c.handlers.Up != nil { // before anybody is told that it is connected, and relies on it
		c.handlers.Up(nc, fresh)
	}
	c.mu.Lock()
	c.state = State{Connected: true, Since: time.Now(), Ever: true}
	c.mu.Unlock()
	c.metrics.connected.Set(1)
	if again {
		c.metrics.reconnects.Inc()
	}
	c.log.Info("connected to NATS", "server", c.redact.Text(server), "again", again)
}

func (c *Conn) onDown(_ *nats.Conn, err error) {
	c.mu.Lock()
	c.setDown(err)
	detail, leaving := c.state.Detail, c.leaving
	c.mu.Unlock()
	c.metrics.connected.Set(0)
	if !leaving {
		c.log.Warn("NATS connection lost; streams stay open, and headgate connects again", "cause", detail)
	}
	if c.handlers.Down != nil {
		c.handlers.Down()
	}
}

// setDown needs mu.
func (c *Conn) setDown(err error) {
	if c.state.Connected {
		c.state.Connected, c.state.Since = false, time.Now()
		c.state.Detail = "connection closed"
	}
	if err != nil {
		c.state.Detail = c.redact.Text(err.Error())
	}
}

// onFailed hears of servers that cannot be dialled, and of what became of the first round over all servers.
func (c *Conn) onFailed(_ *nats.Conn, err error) {
	c.mu.Lock()
	if errors.Is(err, nats.ErrNoServers) && c.dialFailed != nil {
		err = c.dialFailed // which is why there is none
	}
	c.mu.Unlock()
	server := c.servers
	if dial := (*dialError)(nil); errors.As(err, &dial) {
		server = dial.server
	}
	c.fail(server, err)
}

// delay is asked by nats.go how long to wait after each round over the servers. That is also the only place where it lets us hear
// that a server was reached, but did not become ours: for TLS, for credentials, or since it does not answer.
func (c *Conn) delay(int) time.Duration {
	c.mu.Lock()
	nc, server := c.trying, c.dialed
	c.mu.Unlock()
	if nc != nil {
		if err := nc.LastError(); err != nil {
			c.fail(server, err)
		}
	}
	return c.cfg.ReconnectWait + rand.N(c.cfg.ReconnectJitter+1)
}

// fail tells of an attempt to connect that failed.
func (c *Conn) fail(server string, err error) {
	server, cause := c.redact.Text(server), c.redact.Text(err.Error())
	help := c.redact.Text(remedy(err, c.cfg))
	c.mu.Lock()
	c.setDown(nil)
	c.state.Detail, c.state.Remedy = named(server, cause), help
	n, say := c.failed.allow(time.Now(), c.state.Detail)
	c.mu.Unlock()
	if say {
		c.log.Warn("cannot connect to NATS; headgate keeps trying", "server", server, "cause", cause, "attempts", n,
			"remedy", help)
	}
}

func (c *Conn) onClosed(*nats.Conn) {
	c.mu.Lock()
	closed := c.closed
	if c.state.Connected {
		c.setDown(nil)
	}
	c.mu.Unlock()
	c.metrics.connected.Set(0)
	close(closed)
}

// onLameDuck leaves a server that is about to stop, before it cuts us together with everybody else. Where there is no other server
// it pays to stay to the end.
func (c *Conn) onLameDuck(nc *nats.Conn) {
	others := len(nc.Servers()) > 1
	if !others {
		c.log.Info("the NATS server is about to stop; headgate knows no other, so it stays, and connects again afterwards")
		return
	}
	c.log.Info("the NATS server is about to stop; headgate moves to another", "within", lameDuckWait)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.duck = time.AfterFunc(rand.N(lameDuckWait), func() {
		if err := nc.ForceReconnect(); err != nil && !nc.IsClosed() {
			c.log.Warn("cannot leave the NATS server early; headgate stays until it stops, and connects again afterwards", "cause", c.redact.Text(err.Error()))
		}
	})
}

// onError hears of what went wrong without ending the connection. nats.go queues these without a bound, so it is quick.
func (c *Conn) onError(_ *nats.Conn, sub *nats.Subscription, err error) {
	switch {
	case errors.Is(err, nats.ErrSlowConsumer) && sub != nil:
		if c.handlers.Slow != nil {
			c.handlers.Slow(sub)
		}
	case errors.Is(err, nats.ErrPermissionViolation):
		c.onViolation(err)
	case errors.Is(err, nats.ErrMaxSubscriptionsExceeded):
		c.refused(Subscribe, "")
	default:
		c.otherError(err)
	}
	c.mu.Lock()
	c.handled = err
	waiters := c.waiters
	c.waiters = nil
	c.mu.Unlock()
	for _, w := range waiters {
		close(w)
	}
}

func (c *Conn) onViolation(err error) {
	found := violation.FindStringSubmatch(err.Error())
	if found == nil {
		c.otherError(err)
		return
	}
	op := Subscribe
	if found[1][0] == 'p' || found[1][0] == 'P' {
		op = Publish
	}
	c.refused(op, found[2])
}

func (c *Conn) refused(op Op, subject string) {
	c.metrics.refused.Inc()
	if c.handlers.Refused != nil {
		c.handlers.Refused(op, subject)
	}
}

func (c *Conn) otherError(err error) {
	text := c.redact.Text(err.Error())
	c.mu.Lock()
	c.state.Detail = text
	connected := c.state.Connected
	n, say := c.errored.allow(time.Now(), text)
	c.mu.Unlock()
	if say && connected { // else the attempt to connect has failed, and delay tells so
		c.log.Warn("NATS reports an error; headgate goes on, and connects again if this was the end of the connection",
			"cause", text, "errors", n, "remedy", c.redact.Text(remedy(err, c.cfg)))
	}
}
