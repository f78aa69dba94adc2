// Package core relays core NATS subjects: one upstream subscription per distinct subject, however many clients follow it, a short
// ring per topic for quick reconnects, and a gap for everything that was lost on the way.
package core

import (
	"context"
	"crypto/rand"
	"errors"
	"hash/maphash"
	"log/slog"
	"strconv"
	"sync"
	"sync/atomic"
	"weak"

	"github.com/nats-io/nats.go"
	"github.com/prometheus/client_golang/prometheus"

	"headgate/bridge/internal/conn"
	"headgate/bridge/internal/encode"
	"headgate/internal/config"
	"headgate/internal/cursor"
	"headgate/internal/flow"
	"headgate/internal/gap"
)

// Config is what a Core needs.
type Config struct {
	NATS        config.NATS
	Options     []nats.Option // of conn.Options
	Topics      int           // distinct subjects at most; 0 = no bound
	Log         *slog.Logger
	Registerer  prometheus.Registerer // nil: no metrics
	Connections *conn.Metrics
	Gaps        *gap.Counters
}

// Core is the topics of all data connections.
type Core struct {
	// fixed after New
	conns []*dataConn
	limit int64
	seed  maphash.Seed
	gaps  *gap.Counters

	topics   atomic.Int64 // on all connections
	badTypes prometheus.Counter
	losses   losses // of other sources

	mu      sync.Mutex
	formats map[flow.Format]weak.Pointer[encode.Format] // those that something uses, and some that nothing uses any more
}

// New does no I/O; Run connects.
func New(cfg Config) *Core {
	c := &Core{limit: int64(cfg.Topics), seed: maphash.MakeSeed(), gaps: cfg.Gaps, formats: map[flow.Format]weak.Pointer[encode.Format]{}}
	c.losses.log = cfg.Log
	incarnation := rand.Text()
	for i := range min(max(cfg.NATS.DataConnections, 1), cursor.MaxEntries) {
		c.conns = append(c.conns, newDataConn(c, cfg, i, cursor.MakeTag(incarnation, strconv.Itoa(i))))
	}
	for _, d := range c.conns {
		d.budget.share = int64(cfg.NATS.RingBytes) / int64(len(c.conns))
	}
	c.register(cfg.Registerer)
	return c
}

// Run serves until ctx ends, and returns when everything it started is gone.
func (c *Core) Run(ctx context.Context) error {
	var wg sync.WaitGroup
	errs := make([]error, len(c.conns))
	for i, d := range c.conns {
		wg.Go(func() { errs[i] = d.run(ctx) })
	}
	wg.Wait()
	return errors.Join(errs...)
}

// Format is a format made ready for use; equal ones are shared.
func (c *Core) Format(f flow.Format) *encode.Format { return c.format(f) }

// Encoded notes what was wrong with a message that was encoded for another source than these.
func (c *Core) Encoded(it *encode.Item, r *encode.Result) { c.encoded(it, r, &c.losses) }

// States are the states of the data connections.
func (c *Core) States() []conn.State {
	states := make([]conn.State, len(c.conns))
	for i, d := range c.conns {
		states[i] = d.state()
	}
	return states
}

// connOf is the data connection of a subject. It is the same as long as the process runs: that keeps the order of its messages,
// and nats-server can lose an interest that moves between connections (nats-server#8233).
func (c *Core) connOf(subject string) *dataConn {
	if len(c.conns) == 1 {
		return c.conns[0]
	}
	return c.conns[maphash.String(c.seed, subject)%uint64(len(c.conns))]
}

func (c *Core) format(f flow.Format) *encode.Format {
	c.mu.Lock()
	defer c.mu.Unlock()
	if e := c.formats[f].Value(); e != nil {
		return e
	}
	for old, e := range c.formats { // routes may have changed
		if e.Value() == nil {
			delete(c.formats, old)
		}
	}
	e := encode.Compile(f)
	c.formats[f] = weak.Make(e)
	return e
}

// reserve takes room for one more topic, if need be that of an idle one.
func (c *Core) reserve(first *dataConn) bool {
	if n := c.topics.Add(1); c.limit <= 0 || n <= c.limit || first.evictIdle() {
		return true
	}
	for _, d := range c.conns {
		if d != first && d.evictIdle() {
			return true
		}
	}
	c.topics.Add(-1)
	return false
}
