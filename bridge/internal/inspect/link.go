package inspect

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/nats-io/nats.go"

	"headgate/bridge/internal/conn"
)

// errDenied says that the server refused a subject.
var errDenied = errors.New("the NATS user may not use the subject")

func isDenied(err error) bool { return errors.Is(err, errDenied) }

// link is the connection of an inspection. One thing is tried at a time, so that a refusal is about that.
type link struct {
	// fixed after dial
	conn *conn.Conn
	nc   *nats.Conn
	wait time.Duration // for one answer
	hang context.CancelFunc
	done sync.WaitGroup

	mu      sync.Mutex
	refused map[string]bool         // subjects that may not be subscribed to
	cancel  context.CancelCauseFunc // of what is being tried; nil = nothing is
}

// dial connects, or says why it cannot within NATS_CONFIRM_TIMEOUT.
func dial(ctx context.Context, cfg Config) (*link, error) {
	l := &link{wait: cfg.NATS.ConfirmTimeout, refused: map[string]bool{}}
	up := make(chan *nats.Conn, 1)
	h := conn.Handlers{Refused: l.onRefused, Up: func(nc *nats.Conn, _ bool) {
		select {
		case up <- nc:
		default: // once more
		}
	}}
	l.conn = conn.New(cfg.NATS, "check", cfg.Options, h, slog.New(slog.DiscardHandler), conn.NewMetrics(nil))
	connection, hang := context.WithCancel(context.WithoutCancel(ctx))
	l.hang = hang
	l.done.Go(func() { _ = l.conn.Run(connection) })
	timer := time.NewTimer(l.wait)
	defer timer.Stop()
	select {
	case l.nc = <-up:
		return l, nil
	case <-timer.C:
	case <-ctx.Done():
	}
	s := l.conn.State()
	l.close()
	if ctx.Err() != nil {
		return nil, fmt.Errorf("interrupted before NATS was reached: %s", s.Detail)
	}
	return nil, fmt.Errorf("cannot connect to NATS within %s (NATS_CONFIRM_TIMEOUT): %s\n    remedy: %s", l.wait, s.Detail,
		cmp.Or(s.Remedy, "look whether NATS runs, and whether NATS_URL is right"))
}

func (l *link) close() {
	l.hang()
	l.done.Wait()
}

// server is where we are connected to, without secrets.
func (l *link) server() string { return l.text(errors.New(l.nc.ConnectedUrlRedacted())) }

// text is an error without secrets.
func (l *link) text(err error) string { return l.conn.Redact(err).Error() }

func (l *link) onRefused(op conn.Op, subj string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if op == conn.Subscribe {
		l.refused[subj] = true
		return
	}
	if l.cancel != nil {
		l.cancel(errDenied)
	}
}

// try makes one request. Where the server refuses its subject, that ends the wait for an answer.
func (l *link) try(ctx context.Context, request func(context.Context) error) error {
	ctx, stop := context.WithTimeout(ctx, l.wait)
	defer stop()
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	l.mu.Lock()
	l.cancel = cancel
	l.mu.Unlock()
	err := request(ctx)
	l.mu.Lock()
	l.cancel = nil
	l.mu.Unlock()
	if err != nil && isDenied(context.Cause(ctx)) {
		return errDenied
	}
	return err
}

// maySubscribe subscribes for a moment, and takes one message at most.
func (l *link) maySubscribe(pattern string) error {
	sub, err := l.nc.ChanSubscribe(pattern, make(chan *nats.Msg, 1))
	if err != nil {
		return err
	}
	defer func() { _ = sub.Unsubscribe() }() // it fails where the one message has ended it
	if err := sub.AutoUnsubscribe(1); err != nil {
		return err
	}
	if err := l.conn.Flush(l.nc, l.wait); err != nil {
		return err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.refused[pattern] {
		return errDenied
	}
	return nil
}

// one sends a request that may have many answers, and gives the first.
func (l *link) one(ctx context.Context, subj string, body []byte) (*nats.Msg, error) {
	inbox := l.nc.NewInbox() + "." + rand.Text()
	sub, err := l.nc.SubscribeSync(inbox)
	if err != nil {
		return nil, err
	}
	defer func() { _ = sub.Unsubscribe() }() // it fails when the connection is gone, and then there is none
	if err := l.nc.PublishRequest(subj, inbox, body); err != nil {
		return nil, err
	}
	return sub.NextMsgWithContext(ctx)
}
