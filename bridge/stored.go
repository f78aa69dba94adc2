package bridge

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"

	"headgate/bridge/internal/conn"
	"headgate/bridge/internal/jsapi"
	"headgate/internal/config"
	"headgate/internal/flow"
)

const (
	storedLife  = 10 * time.Second // how long an answer holds, and how long none is asked for when there is none
	storedKept  = 4096             // answers that are remembered
	storedAsked = 16               // questions at once
	storedWait  = 2 * time.Second  // for an answer; less where publishes have less than twice that
	silentWait  = 500 * time.Millisecond
)

var (
	errNamesRefused = errors.New("NATS does not permit the question")
	errNamesAway    = errors.New("the connection was lost")
)

// stored knows which subjects the streams of the account store. It asks JetStream, one question for each subject at a time, and
// remembers the answer for a moment. Where nobody answers it says what it knew before, and asks no more for the same moment: then a
// publish is what it is without JetStream.
type stored struct {
	// fixed after newStored
	api   jsapi.API
	off   bool // the API is another account's, which says nothing about the subjects of this one
	inbox string
	wait  time.Duration
	log   *slog.Logger
	slots chan struct{}

	mu      sync.Mutex
	nc      *nats.Conn // nil while not connected
	session uint64     // counts connects
	answers map[string]answer
	asking  map[string]*question
	held    time.Time // until then nothing is asked
	deaf    bool      // no answer can come on this connection: its inbox is refused
	told    bool      // that nothing can be asked, on this connection
}

type answer struct {
	yes     bool
	streams []string
	asked   time.Time
}

type question struct {
	cancel context.CancelCauseFunc
	done   chan struct{}
	err    error // set before done is closed
}

func newStored(cfg config.NATS, js config.JetStream, log *slog.Logger) *stored {
	inbox := strings.TrimSuffix(cfg.InboxPrefix, ".")
	if inbox == "" {
		inbox = strings.TrimSuffix(nats.InboxPrefix, ".")
	}
	return &stored{api: jsapi.New(js.Domain, js.APIPrefix), off: js.APIPrefix != "", inbox: inbox + ".", wait: min(storedWait, cfg.PublishTimeout/2),
		log: log, slots: make(chan struct{}, storedAsked), answers: map[string]answer{}, asking: map[string]*question{}}
}

// Connected is called by the owner of the connection, as Disconnected and Refused. What another server said is not relied on.
func (s *stored) Connected(nc *nats.Conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.nc, s.held, s.deaf, s.told = nc, time.Time{}, false, false
	s.session++
	clear(s.answers)
}

// Disconnected ends the questions: their answers are lost.
func (s *stored) Disconnected() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.nc = nil
	s.cancelAll(errNamesAway)
}

// Refused ends the questions when it is they that are refused, or their answers: nobody waits for what will not come.
func (s *stored) Refused(op conn.Op, subj string) {
	if op == conn.Publish && !strings.HasSuffix(subj, ".STREAM.NAMES") || op == conn.Subscribe && !strings.HasPrefix(subj, s.inbox) {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.deaf = s.deaf || op == conn.Subscribe // which is tried once for a connection
	s.hold(errNamesRefused)
	s.cancelAll(errNamesRefused)
}

func (s *stored) cancelAll(cause error) { // needs mu
	for _, q := range s.asking {
		q.cancel(cause)
	}
}

// lookup says whether a stream stores the subject, by an answer to a question that was asked after since. It fails with
// flow.ErrUnavailable and with the cause of ctx.
func (s *stored) lookup(ctx context.Context, subj string, since time.Time) (bool, error) {
	if s.off {
		return false, nil
	}
	for {
		s.mu.Lock()
		nc, a, now := s.nc, s.answers[subj], time.Now()
		switch {
		case nc == nil:
			s.mu.Unlock()
			return false, flow.ErrUnavailable
		case s.deaf, now.Before(s.held), now.Sub(a.asked) < storedLife && a.asked.After(since):
			s.mu.Unlock()
			return a.yes, nil
		}
		q := s.asking[subj]
		if q != nil {
			s.mu.Unlock()
		} else {
			q = &question{done: make(chan struct{})}
			// Others wait for the same answer, so it does not end with this caller.
			asked, cancel := context.WithCancelCause(context.WithoutCancel(ctx))
			q.cancel = cancel
			s.asking[subj] = q
			session := s.session
			s.mu.Unlock()
			s.ask(asked, nc, session, subj, q)
		}
		select {
		case <-q.done:
			if q.err != nil {
				return false, q.err
			}
		case <-ctx.Done():
			return false, context.Cause(ctx)
		}
	}
}

// ask asks, and keeps the answer, or that there is none.
func (s *stored) ask(ctx context.Context, nc *nats.Conn, session uint64, subj string, q *question) {
	defer q.cancel(nil)
	ctx, cancel := context.WithTimeout(ctx, s.wait)
	defer cancel()
	asked := time.Now()
	var streams []string
	err := context.DeadlineExceeded
	select {
	case s.slots <- struct{}{}:
		streams, err = s.api.Names(ctx, nc, subj)
		<-s.slots
	case <-ctx.Done():
	}
	if ctx.Err() != nil && err != nil {
		err = context.Cause(ctx)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.asking, subj)
	defer close(q.done)
	switch {
	case errors.Is(err, errNamesAway), conn.IsAway(err):
		q.err = fmt.Errorf("bridge: publish: %w: %w", flow.ErrUnavailable, err)
	case s.session != session: // nothing is known of this connection
	case err != nil:
		s.hold(err)
	default:
		s.keep(subj, answer{yes: len(streams) > 0, streams: streams, asked: asked})
	}
}

func (s *stored) keep(subj string, a answer) { // needs mu
	if _, known := s.answers[subj]; !known && len(s.answers) >= storedKept {
		for another := range s.answers {
			delete(s.answers, another) // any: it is asked again
			break
		}
	}
	s.answers[subj] = a
}

// hold stops the questions for a moment. Who does not answer in time may still have the streams that there were; who is not there or
// refuses has none for us.
func (s *stored) hold(err error) { // needs mu
	s.held = time.Now().Add(storedLife)
	gone := errors.Is(err, jsapi.ErrUnavailable) || errors.Is(err, jsapi.ErrNotEnabled)
	if gone || errors.Is(err, errNamesRefused) {
		clear(s.answers)
	}
	if s.told {
		return
	}
	s.told = true
	const text = "whether streams store what is published is not known, so publishes are answered with 202, stored or not"
	if gone {
		s.log.Info(text, "cause", err, "remedy", "nothing, if this NATS account has no JetStream; otherwise enable JetStream for it (jetstream in nats-server's configuration)")
		return
	}
	s.log.Warn(text, "cause", err, "remedy", fmt.Sprintf("allow the NATS user to publish to %s and to subscribe to %s>: headgate -check -online prints all that it needs; if it may, look after JetStream (nats server report jetstream)",
		s.api.Subject("STREAM.NAMES"), s.inbox))
}

// silent says whether the stream that stores the subject is one that never acknowledges (no_ack), and remembers it: nobody waits for
// its word then. It waits a moment only, since the user need not be allowed to ask.
func (s *stored) silent(ctx context.Context, subj string) bool {
	s.mu.Lock()
	nc, a := s.nc, s.answers[subj]
	s.mu.Unlock()
	if nc == nil || len(a.streams) == 0 {
		return false
	}
	ctx, cancel := context.WithTimeout(ctx, silentWait)
	defer cancel()
	for _, name := range a.streams {
		if info, err := s.api.Info(ctx, nc, name); err != nil || !info.Config.NoAck {
			return false
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.keep(subj, answer{asked: a.asked})
	return true
}
