package stream

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/nats-io/nats.go"

	"headgate/bridge/internal/encode"
	"headgate/bridge/internal/feed"
	"headgate/bridge/internal/history"
	"headgate/bridge/internal/jsapi"
	"headgate/bridge/internal/kv"
	"headgate/internal/cursor"
	"headgate/internal/flow"
	"headgate/internal/gap"
	"headgate/internal/sse"
)

// Opened is where a client starts in one source.
type Opened struct {
	Start flow.Start
	From  cursor.Entry // Seq == cursor.Live: live
	State *State       // for the first Read
	Gap   *sse.Frame   // to be sent before anything else; nil = none
}

// Open makes a source, waiting for its feed, and judges the client's position: nil where it has none, or none that can be read. Its errors wrap flow.ErrMissing, ErrUnconfirmed, ErrUnavailable, ErrClosed and ErrFinished, or are those of ctx.
func (s *Streams) Open(ctx context.Context, spec flow.Spec, req flow.Request, position cursor.Position) (*Source, Opened, error) {
	name := spec.Stream
	filters := slices.Clone(spec.Subjects)
	if spec.Kind == flow.KV {
		name = kv.Stream(spec.Stream)
		for i, key := range filters {
			filters[i] = kv.Subject(spec.Stream, key)
		}
	}
	f := s.feeds.get(name)
	if f == nil {
		return nil, Opened{}, fmt.Errorf("%w: no route has the stream %s", flow.ErrMissing, name)
	}
	src := &Source{streams: s, feed: f, spec: spec, stream: name, filters: filters, format: s.cfg.Format(encode.Of(req.Format, spec.Name)), user: req.User}
	limited, cancel := context.WithTimeoutCause(ctx, s.cfg.NATS.ConfirmTimeout, flow.ErrUnconfirmed)
	defer cancel()
	o, err := src.open(limited, req, position)
	if err != nil && ctx.Err() == nil && limited.Err() != nil {
		err = fmt.Errorf("%w: stream %s: %w", flow.ErrUnconfirmed, name, err)
	}
	return src, o, err
}

func (s *Source) open(ctx context.Context, req flow.Request, position cursor.Position) (Opened, error) {
	now, err := s.current(ctx, position)
	if err != nil {
		return Opened{}, err
	}
	inc := now.Inc
	switch {
	case req.Cursor != "" && s.format.IDs:
		return s.resume(ctx, now, position)
	case !req.Since.IsZero() && !s.Bucket():
		seq, err := s.seqBefore(ctx, inc, req.Since)
		if err == nil {
			err = s.finished(ctx, inc, seq)
		}
		return Opened{Start: flow.Replay, From: cursor.Entry{Tag: inc.Tag, Seq: seq}, State: &State{}}, err
	}
	return s.first(inc), nil
}

// current is what the feed is like when it is ready. A client whose position is of another incarnation than the feed may have seen
// that the stream was made again before the feed has: then it waits for the feed, and is not sent back.
func (s *Source) current(ctx context.Context, position cursor.Position) (feed.State, error) {
	for {
		if err := s.feed.Wait(ctx); err != nil {
			return feed.State{}, err
		}
		now := s.feed.State()
		if now.Inc == nil || !sameSource(position, now.Inc.Certain) || !sameSource(position, now.Inc.Doubted) {
			return now, nil
		}
		info, err := s.streams.history.Info(ctx, s.stream)
		switch {
		case errors.Is(err, jsapi.ErrNoStream):
			return now, fmt.Errorf("%w: %s: %w", flow.ErrMissing, s.stream, err)
		case err != nil:
			return now, fmt.Errorf("%w: %w", flow.ErrUnavailable, err)
		case info.Created.Equal(now.Inc.Created):
			return now, nil
		}
		select {
		case <-ctx.Done():
			return now, ctx.Err()
		case <-time.After(currentStep):
		}
	}
}

const currentStep = 50 * time.Millisecond

// sameSource says whether a position is of the source of a tag, and not of the incarnation that the tag names.
func sameSource(position cursor.Position, tag cursor.Tag) bool {
	_, known := position.Seq(tag)
	return !known && slices.ContainsFunc(position, func(e cursor.Entry) bool { return e.Tag.SameSource(tag) })
}

// anew is the start of a client of a bucket that has been here before, and gets the state once more.
func (s *Source) anew(inc *feed.Incarnation) Opened {
	return Opened{Start: flow.Snapshot, From: cursor.Entry{Tag: inc.Tag}, State: &State{initial: s.freshState()}}
}

// first is the start of a client that comes for the first time.
func (s *Source) first(inc *feed.Incarnation) Opened {
	if s.Bucket() || s.spec.Initial.Mode != flow.NoSnapshot {
		return Opened{Start: flow.Snapshot, From: cursor.Entry{Tag: inc.Tag}, State: &State{initial: s.firstState()}}
	}
	return Opened{Start: flow.Live, From: cursor.Entry{Tag: inc.Tag, Seq: cursor.Live}, State: &State{bounded: true}}
}

// resume judges a position. What has been lost behind it is found out when it is read.
func (s *Source) resume(ctx context.Context, now feed.State, position cursor.Position) (Opened, error) {
	inc := now.Inc
	seq, certain, known := inc.Seq(position)
	if !known {
		if sameSource(position, inc.Tag) {
			return s.hole(inc, gap.Reset, 0), nil
		}
		return s.hole(inc, gap.UnknownPosition, cursor.Live), nil
	}
	if seq > now.Cursor {
		// Another replica may be ahead of this one; but nobody is ahead of the stream.
		last, err := s.last(ctx, inc, seq)
		if err != nil {
			return Opened{}, err
		}
		if seq > last {
			return s.hole(inc, gap.Rewound, last), nil
		}
	}
	if s.Bucket() && (!certain || doubtful(now, seq)) {
		o := s.anew(inc) // a state needs no history of itself
		o.State.initial.notBefore(inc, seq)
		return o, nil
	}
	if err := s.finished(ctx, inc, seq); err != nil {
		return Opened{}, err
	}
	return Opened{Start: flow.Replay, From: cursor.Entry{Tag: inc.Tag, Seq: seq}, State: &State{}}, nil
}

// doubtful says whether a client of a bucket that is at a sequence may lack changes, or have a value that is no more.
func doubtful(now feed.State, seq uint64) bool { return seq < now.Floor || seq <= now.Doubt }

// hole is the start of a client of whose position nothing certain is known: behind a gap, or with a fresh state.
func (s *Source) hole(inc *feed.Incarnation, r gap.Reason, from uint64) Opened {
	if s.Bucket() {
		return s.anew(inc)
	}
	o := Opened{Start: flow.Replay, From: cursor.Entry{Tag: inc.Tag, Seq: from}, State: &State{}}
	if from == cursor.Live {
		o.Start, o.State.bounded = flow.Live, true
	}
	if s.fresh() {
		o = Opened{Start: flow.Snapshot, From: cursor.Entry{Tag: inc.Tag}, State: &State{initial: s.freshState()}}
	}
	o.Gap = s.gap(gap.Hole{Reason: r, Snapshot: s.fresh()})
	return o
}

// last is the stream's last sequence by its leader, which is asked twice, some time apart, when it has less than a client has seen: one
// that was just elected may not know everything yet.
func (s *Source) last(ctx context.Context, inc *feed.Incarnation, seen uint64) (uint64, error) {
	for again := false; ; again = true {
		nc := s.streams.asking()
		if nc == nil {
			return 0, flow.ErrUnavailable
		}
		info, err := s.streams.api.Info(ctx, nc, s.stream)
		switch {
		case errors.Is(err, jsapi.ErrNoStream):
			return 0, fmt.Errorf("%w: %s: %w", flow.ErrMissing, s.stream, err)
		case err != nil:
			return 0, fmt.Errorf("%w: %w", flow.ErrUnavailable, err)
		case !info.Created.Equal(inc.Created):
			return 0, fmt.Errorf("%w: %s has just been created again", flow.ErrUnavailable, s.stream)
		case info.LastSeq >= seen || again:
			return info.LastSeq, nil
		}
		select {
		case <-ctx.Done():
			return 0, ctx.Err()
		case <-time.After(recheckWait):
		}
	}
}

const recheckWait = 300 * time.Millisecond

func (s *Streams) asking() *nats.Conn {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.nc
}

// finished fails with flow.ErrFinished when the client has seen the last event that there will be.
func (s *Source) finished(ctx context.Context, inc *feed.Incarnation, seq uint64) error {
	if s.format.EndField == "" {
		return nil
	}
	// What is in memory may not be in the stream any more.
	if now := s.feed.State(); seq > now.Floor {
		items, _, ok := s.feed.Tail(inc, s.filters, now.Floor, seq, math.MaxInt)
		if n := len(items); ok && n > 0 {
			return s.finishedBy(items[n-1], inc)
		}
	}
	a, err := await(ctx, func(done func(history.Answer)) {
		s.streams.history.Last(s.request(inc, 0, seq, 0), done)
	})
	if err != nil {
		return err
	}
	if n := len(a.Items); n > 0 {
		return s.finishedBy(a.Items[n-1], inc)
	}
	return nil
}

func (s *Source) finishedBy(last *encode.Item, inc *feed.Incarnation) error {
	if s.event(last, inc).End == flow.Done {
		return flow.ErrFinished
	}
	return nil
}

func (s *Source) seqBefore(ctx context.Context, inc *feed.Incarnation, at time.Time) (uint64, error) {
	a, err := await(ctx, func(done func(history.Answer)) {
		s.streams.history.SeqBefore(s.stream, inc.Created, at, func(seq uint64, err error) { done(history.Answer{Upto: seq, Err: err}) })
	})
	return a.Upto, err
}

// await waits for an answer of history.
func await(ctx context.Context, ask func(done func(history.Answer))) (history.Answer, error) {
	answers := make(chan history.Answer, 1)
	ask(func(a history.Answer) { answers <- a })
	select {
	case a := <-answers:
		if a.Err != nil {
			return a, fmt.Errorf("%w: %w", flow.ErrUnavailable, a.Err)
		}
		return a, nil
	case <-ctx.Done():
		return history.Answer{}, ctx.Err()
	}
}

func (s *Source) request(inc *feed.Incarnation, from, to uint64, maxBytes int) history.Request {
	epoch := inc.Epoch()<<32 + s.feed.State().Doubts // what was read before something went without a message is not the answer any more
	return history.Request{Stream: s.stream, Created: inc.Created, Epoch: epoch, Direct: inc.Direct, Filters: s.filters, From: from, To: to,
		MaxBytes: maxBytes, User: s.user}
}
