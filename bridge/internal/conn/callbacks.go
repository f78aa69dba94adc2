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
	c.mu.Lock()
	fresh := c.fresh
	again := c.state.Ever
	c.fresh, c.nc = false, nc
	c.state = State{Connected: true, Since: time.Now(), Ever: true}
	c.failed.reset()
	c.mu.Unlock()
	c.metrics.connected.Set(1)
	if again {
		c.metrics.reconnects.Inc()
	}
	c.log.Info("connected to NATS", "server", nc.ConnectedUrlRedacted(), "again", again)
	if c.handlers.Up != nil {
		c.handlers.Up(nc, fresh)
	}
}

func (c *Conn) onDown(_ *nats.Conn, err error) {
	c.mu.Lock()
	c.setDown(err)
	detail, leaving := c.state.Detail, c.leaving
	c.mu.Unlock()
	c.metrics.connected.Set(0)
	if !leaving {
		c.log.Warn("NATS connection lost", "cause", detail)
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

// onFailed hears of every attempt to connect that failed.
func (c *Conn) onFailed(_ *nats.Conn, err error) {
	c.mu.Lock()
	c.setDown(err)
	detail := c.state.Detail
	n, say := c.failed.allow(time.Now())
	c.mu.Unlock()
	if say {
		c.log.Warn("cannot connect to NATS; trying on", "cause", detail, "attempts", n)
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
	c.log.Info("the NATS server is about to stop", "others", others)
	if !others {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.duck = time.AfterFunc(rand.N(lameDuckWait), func() {
		if err := nc.ForceReconnect(); err != nil && !nc.IsClosed() {
			c.log.Warn("cannot leave the NATS server early", "cause", c.redact.Text(err.Error()))
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
	n, say := c.errored.allow(time.Now())
	c.mu.Unlock()
	if say {
		c.log.Warn("NATS reports an error", "error", text, "errors", n)
	}
}
