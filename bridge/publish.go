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

// ackLate is when a stream that has not acknowledged a message yet is looked at again.
const ackLate = 500 * time.Millisecond

// publisher publishes on a connection of its own, so that a flood of inbound messages never delays it. One loop publishes what
// waits and asks the server once whether it has processed all of it.
type publisher struct {
	// fixed after newPublisher
	conn    *conn.Conn
	timeout time.Duration
	queue   chan *publishing
	stored  *stored
	acks    *acks
	guests  []guest // whoever shares the connection; set before run

	mu      sync.Mutex
	nc      *nats.Conn // nil while not connected
	refused map[string]bool
}

type publishing struct {
	ctx  context.Context // of whoever waits
	msg  *nats.Msg
	done chan error // of size one
}

func newPublisher(cfg config.NATS, opts []nats.Option, js config.JetStream, log *slog.Logger, m *conn.Metrics) *publisher {
	p := &publisher{timeout: cfg.PublishTimeout, queue: make(chan *publishing, publishQueue), refused: map[string]bool{},
		stored: newStored(cfg, js, log.With("connection", "ctl")), acks: &acks{}}
	h := conn.Handlers{
		Up: func(nc *nats.Conn, _ bool) {
			p.set(nc)
			p.stored.Connected(nc)
			for _, g := range p.guests {
				g.Connected(nc)
			}
		},
		Down: func() {
			p.set(nil)
			p.stored.Disconnected()
			p.acks.Disconnected()
			for _, g := range p.guests {
				g.Disconnected()
			}
		},
		Refused: func(op conn.Op, subj string) {
			p.stored.Refused(op, subj)
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

func (p *publisher) publish(ctx context.Context, subj string, header map[string][]string, body []byte) (flow.Ack, error) {
	if err := subject.ValidLiteral(subj); err != nil {
		return flow.Ack{}, fmt.Errorf("bridge: publish: %w", err)
	}
	if subject.Internal(subj) {
		return flow.Ack{}, fmt.Errorf("bridge: publish to %q: %w: internal subject", subj, flow.ErrRefused)
	}
	nc := p.connected()
	if nc == nil {
		return flow.Ack{}, flow.ErrUnavailable
	}
	ctx, cancel := context.WithTimeoutCause(ctx, p.timeout, flow.ErrUnconfirmed)
	defer cancel()
	stored, err := p.stored.lookup(ctx, subj, time.Time{})
	if err != nil {
		return flow.Ack{}, err
	}
	w := &publishing{ctx: ctx, msg: &nats.Msg{Subject: subj, Header: header, Data: body}, done: make(chan error, 1)}
	if !stored {
		return flow.Ack{}, p.hand(w)
	}
	if err := p.acks.open(nc); err != nil {
		return flow.Ack{}, p.outcome(err)
	}
	reply, told, end := p.acks.expect()
	defer end()
	w.msg.Reply = reply
	since := time.Now()
	if err := p.hand(w); err != nil {
		return flow.Ack{}, err
	}
	return p.confirm(ctx, subj, since, told)
}

// hand gives a message to the loop, and returns when the server has processed it.
func (p *publisher) hand(w *publishing) error {
	select {
	case p.queue <- w:
	case <-w.ctx.Done():
		return context.Cause(w.ctx)
	}
	select {
	case err := <-w.done:
		return err
	case <-w.ctx.Done():
		return context.Cause(w.ctx)
	}
}

// confirm waits for the word of the stream. When that is late, the stream may be gone, or one that never says a word: then there is nothing
// to wait for, and the message is as one that no stream stores.
func (p *publisher) confirm(ctx context.Context, subj string, since time.Time, told <-chan stowed) (flow.Ack, error) {
	late := time.NewTimer(ackLate)
	defer late.Stop()
	for {
		select {
		case s := <-told:
			if !s.nobody {
				return s.ack, s.err
			}
			stored, err := p.stored.lookup(ctx, subj, since)
			if err == nil && stored {
				err = fmt.Errorf("bridge: publish to %q: %w: its stream has no leader", subj, flow.ErrUnavailable)
			}
			return flow.Ack{}, err
		case <-late.C:
			stored, err := p.stored.lookup(ctx, subj, since)
			over := err == nil && (!stored || p.stored.silent(ctx, subj))
			if over && len(told) == 0 {
				return flow.Ack{}, nil
			}
		case <-ctx.Done():
			return flow.Ack{}, fmt.Errorf("bridge: publish to %q: %w", subj, context.Cause(ctx))
		}
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
		if w.ctx.Err() != nil {
			errs[i] = context.Cause(w.ctx) // nobody waits for it, so it is not sent behind his back
			continue
		}
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
