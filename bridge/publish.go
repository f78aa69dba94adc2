package bridge

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/nats-io/nats.go"

	"headgate/bridge/internal/conn"
	"headgate/internal/config"
	"headgate/internal/flow"
	"headgate/internal/subject"
)

// publishQueue is how many publishes may wait for the loop; more wait to get into the queue, as long as their context lasts.
const publishQueue = 1024

// publisher publishes on a connection of its own, so that a flood of inbound messages never delays it. One loop publishes what
// waits and asks the server once whether it has processed all of it.
type publisher struct {
	// fixed after newPublisher
	conn    *conn.Conn
	timeout time.Duration
	queue   chan *publishing
	guests  []guest // whoever shares the connection; set before run

	mu      sync.Mutex
	nc      *nats.Conn // nil while not connected
	refused map[string]bool
}

type publishing struct {
	msg  *nats.Msg
	done chan error // of size one
}

func newPublisher(cfg config.NATS, opts []nats.Option, log *slog.Logger, m *conn.Metrics) *publisher {
	p := &publisher{timeout: cfg.PublishTimeout, queue: make(chan *publishing, publishQueue), refused: map[string]bool{}}
	h := conn.Handlers{
		Up: func(nc *nats.Conn, _ bool) {
			p.set(nc)
			for _, g := range p.guests {
				g.Connected(nc)
			}
		},
		Down: func() {
			p.set(nil)
			for _, g := range p.guests {
				g.Disconnected()
			}
		},
		Refused: func(op conn.Op, subj string) {
			for _, g := range p.guests {
				g.Refused(op, subj)
			}
			if op == conn.Publish && !subject.Internal(subj) { // what guests ask for is not ours
				p.mu.Lock()
				p.refused[subj] = true
				p.mu.Unlock()
			}
		},
	}
	p.conn = conn.New(cfg, "ctl", append(append([]nats.Option{}, opts...), nats.NoEcho()), h, log, m)
	return p
}

func (p *publisher) set(nc *nats.Conn) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.nc = nc
}

func (p *publisher) connected() *nats.Conn {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.nc
}

func (p *publisher) run(ctx context.Context) error {
	var wg sync.WaitGroup
	wg.Go(func() { p.loop(ctx) })
	err := p.conn.Run(ctx)
	wg.Wait()
	return err
}

func (p *publisher) publish(ctx context.Context, subj string, header map[string][]string, body []byte) error {
	if err := subject.ValidLiteral(subj); err != nil {
		return fmt.Errorf("bridge: publish: %w", err)
	}
	if subject.Internal(subj) {
		return fmt.Errorf("bridge: publish to %q: %w: internal subject", subj, flow.ErrRefused)
	}
	if p.connected() == nil {
		return flow.ErrUnavailable
	}
	ctx, cancel := context.WithTimeoutCause(ctx, p.timeout, flow.ErrUnconfirmed)
	defer cancel()
	w := &publishing{msg: &nats.Msg{Subject: subj, Header: header, Data: body}, done: make(chan error, 1)}
	select {
	case p.queue <- w:
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	select {
	case err := <-w.done:
		return err
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// loop owns the order: publish everything that waits, flush once, answer.
func (p *publisher) loop(ctx context.Context) {
	var batch []*publishing
	for {
		select {
		case <-ctx.Done():
			return
		case w := <-p.queue:
			batch = append(batch[:0], w)
		}
		for more := true; more && len(batch) < publishQueue; {
			select {
			case w := <-p.queue:
				batch = append(batch, w)
			default:
				more = false
			}
		}
		p.send(batch)
		clear(batch)
	}
}

func (p *publisher) send(batch []*publishing) {
	nc := p.connected()
	if nc == nil {
		for _, w := range batch {
			w.done <- flow.ErrUnavailable
		}
		return
	}
	p.mu.Lock()
	clear(p.refused)
	p.mu.Unlock()
	errs := make([]error, len(batch))
	for i, w := range batch {
		errs[i] = p.outcome(nc.PublishMsg(w.msg))
	}
	var flushed error
	if err := p.conn.Flush(nc, p.timeout); err != nil {
		flushed = fmt.Errorf("bridge: publish: %w: %w", flow.ErrUnconfirmed, err) // sent, whatever became of it
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	for i, w := range batch {
		switch {
		case errs[i] != nil:
		case p.refused[w.msg.Subject]:
			errs[i] = fmt.Errorf("bridge: publish to %q: %w", w.msg.Subject, flow.ErrRefused)
		default:
			errs[i] = flushed
		}
		w.done <- errs[i] // has room for its one answer
	}
}

func (p *publisher) outcome(err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, nats.ErrMaxPayload):
		return fmt.Errorf("bridge: publish: %w", flow.ErrTooLarge)
	case conn.IsAway(err):
		return fmt.Errorf("bridge: publish: %w: %w", flow.ErrUnavailable, err)
	}
	return fmt.Errorf("bridge: publish: %w", p.conn.Redact(err))
}
