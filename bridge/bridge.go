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
	"headgate/bridge/internal/core"
	"headgate/internal/config"
	"headgate/internal/flow"
	"headgate/internal/gap"
	"headgate/internal/subject"
)

// Bridge is the process's side towards NATS. Its methods may be called from any goroutine, and before, during and after Run.
type Bridge struct {
	core *core.Core
	ctl  *publisher
	gaps *gap.Counters
}

// New reports what is wrong with the configuration, as far as it can be told without a server. It connects nothing; Run does.
func New(cfg config.NATS, limit config.Limit, log *slog.Logger, reg prometheus.Registerer) (*Bridge, error) {
	if cfg.Name == "" {
		cfg.Name, _ = os.Hostname() // a name is for the operator's eyes only
	}
	opts, err := conn.Options(cfg)
	if err != nil {
		return nil, err
	}
	b := &Bridge{gaps: gap.NewCounters(reg)}
	metrics := conn.NewMetrics(reg)
	b.core = core.New(core.Config{NATS: cfg, Options: opts, Topics: limit.Topics, Log: log, Registerer: reg, Connections: metrics,
		Gaps: b.gaps})
	b.ctl = newPublisher(cfg, opts, log, metrics)
	return b, nil
}

// Run connects and stays connected until ctx ends. It returns when everything it started is gone. NATS may be away at the start
// and at any time later.
func (b *Bridge) Run(ctx context.Context) error {
	var wg sync.WaitGroup
	var coreErr, ctlErr error
	wg.Go(func() { coreErr = b.core.Run(ctx) })
	wg.Go(func() { ctlErr = b.ctl.run(ctx) })
	wg.Wait()
	return errors.Join(coreErr, ctlErr)
}

// Open opens the sources of a request. When it returns, NATS has confirmed the interest in all of them; it waits for that at most
// NATS_CONFIRM_TIMEOUT. It fails with flow.ErrUnavailable, ErrUnconfirmed, ErrRefused or ErrTopics, and with the error of ctx.
func (b *Bridge) Open(ctx context.Context, req flow.Request) (flow.Opened, error) {
	for _, s := range req.Sources {
		if s.Kind != flow.Core {
			return flow.Opened{}, fmt.Errorf("bridge: source %q is of an unknown kind %d", s.Name, s.Kind)
		}
		for _, p := range s.Subjects {
			// Whoever asks has checked this; but a malformed subject would cost all streams their connection.
			if err := subject.Valid(p); err != nil || subject.Internal(p) {
				return flow.Opened{}, fmt.Errorf("bridge: %w: source %q: subject %.100q", flow.ErrRefused, s.Name, p)
			}
		}
	}
	return b.core.Open(ctx, req)
}

// Ack says where a message went. Stream is empty when NATS took it without storing it.
type Ack = flow.Ack

// Publish hands a message to NATS and returns when the server has processed it; within NATS_PUBLISH_TIMEOUT, or it fails with
// flow.ErrUnconfirmed, and the message may or may not have been relayed. flow.ErrUnavailable and ErrRefused mean that it was not.
func (b *Bridge) Publish(ctx context.Context, subject string, header map[string][]string, body []byte) (Ack, error) {
	return Ack{}, b.ctl.publish(ctx, subject, header, body)
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
	states := append(b.core.States(), b.ctl.conn.State())
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
			role := fmt.Sprintf("data-%d", i)
			if i == len(states)-1 {
				role = b.ctl.conn.Role()
			}
			h.Detail = role + ": " + s.Detail
		}
		h.Connected = false
	}
	h.Since = upSince
	if !h.Connected {
		h.Since = downSince
	}
	return h
}
