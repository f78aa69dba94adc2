// Package bridge is everything NATS: connections, topics, positions, gaps, publishing. The rest of headgate sees sources of
// frames, and no NATS.
//
// The package itself is a facade. The mechanisms are below internal: conn keeps connections, core relays core NATS subjects,
// encode turns messages into frames.
package bridge

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"headgate/bridge/internal/conn"
	"headgate/bridge/internal/control"
	"headgate/bridge/internal/core"
	"headgate/bridge/internal/stream"
	"headgate/internal/config"
	"headgate/internal/flow"
	"headgate/internal/gap"
	"headgate/internal/subject"
)

// Bridge is the process's side towards NATS. Its methods may be called from any goroutine, and before, during and after Run.
type Bridge struct {
	core    *core.Core
	streams *stream.Streams
	ctl     *publisher
	gaps    *gap.Counters

	// Set before Run.
	replays *replays         // nil: replays go as fast as they can
	watch   *control.Watch   // nil: nobody can be revoked
	service *control.Service // nil: operators are not answered
}

// statesAtOnce is how many subjects of a state are read at once; 0 = as many as NATS lists. Tests make it small, so that small states are read
// part by part.
var statesAtOnce int

// New reports what is wrong with the configuration, as far as it can be told without a server. It connects nothing; Run does.
func New(c config.Config, log *slog.Logger, reg prometheus.Registerer) (*Bridge, error) {
	cfg := c.NATS
	if cfg.Name == "" {
		cfg.Name, _ = os.Hostname() // a name is for the operator's eyes only
	}
	opts, err := conn.Options(cfg)
	if err != nil {
		return nil, err
	}
	b := &Bridge{gaps: gap.NewCounters(reg)}
	metrics := conn.NewMetrics(reg)
	b.core = core.New(core.Config{NATS: cfg, Options: opts, Topics: c.Limit.Topics, Log: log, Registerer: reg, Connections: metrics,
		Gaps: b.gaps})
	b.ctl = newPublisher(cfg, opts, c.JetStream, log, metrics)
	wants, err := streamsOf(c.Routes)
	if err != nil {
		return nil, err
	}
	b.streams = stream.New(stream.Config{NATS: cfg, JetStream: c.JetStream, Options: opts, Wants: wants, Format: b.core.Format,
		Encoded: b.core.Encoded, Gaps: b.gaps, Log: log, Registerer: reg, Connections: metrics,
		AtOnce: statesAtOnce})
	return b, nil
}

// Run connects and stays connected until ctx ends. It returns when everything it started is gone. NATS may be away at the start
// and at any time later.
func (b *Bridge) Run(ctx context.Context) error {
	var wg sync.WaitGroup
	var coreErr, ctlErr, streamsErr error
	b.ctl.guests = b.guests()
	connection, hangUp := context.WithCancel(context.WithoutCancel(ctx))
	defer hangUp()
	var hung sync.WaitGroup
	hung.Go(func() { ctlErr = b.ctl.run(connection) })
	wg.Go(func() { coreErr = b.core.Run(ctx) })
	for _, g := range b.ctl.guests {
		wg.Go(func() { _ = g.Run(ctx) })
	}
	wg.Go(func() { streamsErr = b.streams.Run(ctx) })
	wg.Wait()
	hangUp() // last: what is at NATS is cleared up over it
	hung.Wait()
	return errors.Join(coreErr, ctlErr, streamsErr)
}

// Open opens the sources of a request. When it returns, NATS has confirmed the interest in all of them; it waits for that at most
// NATS_CONFIRM_TIMEOUT. It fails with flow.ErrUnavailable, ErrUnconfirmed, ErrRefused, ErrTopics, ErrMissing or ErrFinished, and with the
// error of ctx.
func (b *Bridge) Open(ctx context.Context, req flow.Request) (flow.Opened, error) {
	joined := false
	for _, s := range req.Sources {
		if s.Kind != flow.Core {
			joined = true
		}
		for _, p := range s.Subjects {
			if s.Kind == flow.KV {
				if err := subject.ValidKey(p); err != nil {
					return flow.Opened{}, fmt.Errorf("bridge: %w: source %q: key %.100q", flow.ErrRefused, s.Name, p)
				}
				continue
			}
			// Whoever asks has checked this; but a malformed subject would cost all streams their connection.
			if err := subject.Valid(p); err != nil || subject.Internal(p) {
				return flow.Opened{}, fmt.Errorf("bridge: %w: source %q: subject %.100q", flow.ErrRefused, s.Name, p)
			}
		}
	}
	if !joined {
		return b.core.Open(ctx, req)
	}
	return b.openJoint(ctx, req)
}

// Prefilled says whether the newest messages of all streams have been read into memory, and if not, of which they have not.
func (b *Bridge) Prefilled() (bool, string) {
	return b.streams.Prefilled()
}

// Ack says where a message went. Stream is empty when NATS took it and no stream is known to store it.
type Ack = flow.Ack

// Publish hands a message to NATS and returns when the server has processed it and, where a stream stores its subject, when the stream has
// acknowledged it; within NATS_PUBLISH_TIMEOUT, or it fails with flow.ErrUnconfirmed, and the message may or may not have been relayed
// and stored. flow.ErrUnavailable and ErrRefused mean that it was neither, ErrNotStored that the stream refused it.
func (b *Bridge) Publish(ctx context.Context, subject string, header map[string][]string, body []byte) (Ack, error) {
	return b.ctl.publish(ctx, subject, header, body)
}

// Gaps are the counters of $gap events, for those who make gaps beside the bridge.
func (b *Bridge) Gaps() *gap.Counters { return b.gaps }

// Health is the state of the connections to NATS, taken together.
type Health struct {
	Connected     bool      // all of them are connected
	Since         time.Time // of the present state
	EverConnected bool      // all of them have been connected
	Detail        string    // which is not, and why; without secrets
}

// Health is what it is now.
func (b *Bridge) Health() Health {
	h := Health{Connected: true, EverConnected: true}
	states, roles := b.connections()
	var upSince, downSince time.Time
	for i, s := range states {
		h.EverConnected = h.EverConnected && s.Ever
		if s.Connected {
			if s.Since.After(upSince) {
				upSince = s.Since
			}
			continue
		}
		if h.Connected || s.Since.Before(downSince) {
			downSince = s.Since
			h.Detail = roles[i] + ": " + s.Detail
		}
		h.Connected = false
	}
	h.Since = upSince
	if !h.Connected {
		h.Since = downSince
	}
	return h
}

// connections are the states of all connections, and their names.
func (b *Bridge) connections() (states []conn.State, roles []string) {
	states = b.core.States()
	for i := range states {
		roles = append(roles, fmt.Sprintf("data-%d", i))
	}
	for _, c := range append([]*conn.Conn{b.ctl.conn}, b.streams.Conns()...) {
		states, roles = append(states, c.State()), append(roles, c.Role())
	}
	return states, roles
}
