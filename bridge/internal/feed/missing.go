package feed

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"headgate/bridge/internal/jsapi"
	"headgate/internal/gap"
)

// errDenied is why a stream is missing that NATS does not let us read.
var errDenied = errors.New("the NATS user may not read the stream")

const complainEvery = 30 * time.Second

// failed takes an answer that is none. Whatever it is, it is tried again.
func (f *Feed) failed(ctx context.Context, nc *nats.Conn, err error) reset {
	if ctx.Err() != nil {
		return resetUnanswered
	}
	if !nc.IsConnected() {
		return resetConnection
	}
	if refusal := f.refused(); refusal != nil {
		err = refusal // that is why nothing was answered
	}
	missing := missingBy(nc, err)
	f.mu.Lock()
	f.Err = err.Error()
	if missing != nil {
		f.Missing, f.looked = missing, time.Now()
		f.tell()
	}
	f.mu.Unlock()
	if now := time.Now(); now.Sub(f.complain) > complainEvery {
		f.complain = now
		cause := err
		if errors.Is(missing, errDenied) && !errors.Is(err, errDenied) {
			cause = fmt.Errorf("%w: %w", errDenied, err)
		}
		f.log.Warn("the stream cannot be read; headgate keeps trying", "cause", cause, "remedy", remedy(missing))
	}
	if missing == nil {
		return resetUnanswered
	}
	f.miss(missing)
	if errors.Is(missing, jsapi.ErrUnavailable) {
		return resetUnanswered // perhaps for a moment only
	}
	return resetMissing
}

// missingBy is what an error says about the stream: not there, not for us, not to be read, or no JetStream to ask; nil = nothing.
func missingBy(nc *nats.Conn, err error) error {
	var refused *jetstream.APIError
	switch {
	case errors.Is(err, jsapi.ErrNoStream):
		return jsapi.ErrNoStream
	case errors.Is(err, errDenied), denied(nc, err):
		return errDenied
	case errors.Is(err, jsapi.ErrWorkQueue):
		return jsapi.ErrWorkQueue
	case errors.Is(err, jsapi.ErrUnavailable) || errors.As(err, &refused) && refused.Code == 503:
		return jsapi.ErrUnavailable
	}
	return nil
}

// remedy is what an operator can do about a missing stream.
func remedy(missing error) string {
	switch {
	case errors.Is(missing, jsapi.ErrNoStream):
		return "create it, or correct its name in the routes file"
	case errors.Is(missing, errDenied):
		return "allow the NATS user what headgate -check -online prints"
	case errors.Is(missing, jsapi.ErrWorkQueue):
		return "let the route read another stream that has it as a source, with retention limits"
	case errors.Is(missing, jsapi.ErrUnavailable):
		return "if it goes on: switch JetStream on for the server and the account, or set JETSTREAM_DOMAIN or JETSTREAM_API_PREFIX"
	}
	return "if it goes on, headgate -check -online tells more"
}

// miss tells the followers what it means for them. A JetStream that does not answer is waited for in silence, since the stream will
// be the same when it is back; only after LostAfter it is lost.
func (f *Feed) miss(cause error) {
	if f.gone.IsZero() {
		f.gone = time.Now()
	}
	if !errors.Is(cause, jsapi.ErrUnavailable) && f.Inc != nil && !f.goneTold {
		f.goneTold = true
		f.announce(Hole{Reason: gap.Reset}, func() {
			if f.cfg.Table {
				f.table, f.reload = nil, true
				f.keys, f.recount = nil, f.tooLarge
			}
		})
	}
	if f.cfg.LostAfter <= 0 || f.lostTold || time.Since(f.gone) < f.cfg.LostAfter {
		return
	}
	f.lostTold = true
	f.mu.Lock()
	links := f.everybody()
	f.mu.Unlock()
	f.log.Warn("the stream has been missing for too long: told to all who follow it", "after", f.cfg.LostAfter, "sources", len(links))
	for _, l := range links {
		f.push(l, Follower.Lost)
	}
	f.pushing.Store(nil)
}

// found: the stream is there.
func (f *Feed) found() {
	f.gone, f.lostTold = time.Time{}, false
	if !f.goneTold && f.Missing == nil && f.Err == "" {
		return
	}
	f.goneTold = false
	f.complain = time.Time{}
	f.mu.Lock()
	f.Missing, f.Err = nil, ""
	f.tell()
	f.mu.Unlock()
	f.log.Info("the stream can be read")
}
