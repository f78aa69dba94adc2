package stream

import (
	"errors"
	"sort"
	"time"

	"headgate/bridge/internal/encode"
	"headgate/bridge/internal/feed"
	"headgate/bridge/internal/history"
	"headgate/bridge/internal/jsapi"
	"headgate/internal/cursor"
	"headgate/internal/flow"
	"headgate/internal/gap"
)

// State is what a source notes of one reading client between two reads. One read at a time uses it.
type State struct {
	initial *initial // being given; nil = none
	bounded bool     // the bounds of the replay have been applied
	bytes   int64    // given in this replay
	walks   int      // states of a bucket that were read message by message
	ahead   *ahead   // read already, to see whether it is within the bounds; nil = nothing
}

// Reading is the state of a client that reads what comes behind its position, without bounds.
func Reading() *State { return &State{bounded: true} }

// Initial says whether the client is to be given an initial state before anything else.
func (st *State) Initial() bool { return st.initial != nil }

// Batch is what one read gives of one source. Its events have no entry yet.
type Batch struct {
	Events []flow.Event
	Done   bool // everything that was asked for has been given
	Err    error
}

// errAgain says that what was asked for cannot be told now: the stream is just beginning again, or NATS is away.
var errAgain = errors.New("not now")

const (
	awayPause  = 500 * time.Millisecond // before a read is tried again
	againPause = 100 * time.Millisecond
	roomPause  = 200 * time.Millisecond // before room is looked for again
)

// Read gives what the source has in (from, to], or something of it. It asks memory first and history for what is older. done is called
// exactly once, from any goroutine. While NATS is away it waits: the client's stream stays open.
func (s *Source) Read(st *State, from, to cursor.Entry, maxBytes int, done func(Batch)) {
	if from == to {
		done(Batch{Done: true})
		return
	}
	s.streams.readers.do(func() { s.read(st, from, to, maxBytes, done) })
}

func (s *Source) read(st *State, from, to cursor.Entry, maxBytes int, done func(Batch)) {
	now := s.feed.State()
	inc := now.Inc
	switch {
	case s.closed.Load(), inc == nil:
		done(Batch{Err: flow.ErrClosed})
	case !inc.Has(to.Tag) || to.Seq > now.Cursor:
		done(s.begunAgain(from, to, inc))
	case !inc.Has(from.Tag):
		done(s.holeAt(st, gap.Hole{Reason: gap.Reset}, flow.Event{Tag: inc.Tag}))
	case s.Bucket() && !st.bounded && doubtful(now, from.Seq): // it has become so since Open
		done(s.holeAt(st, gap.Hole{Reason: gap.Reset}, flow.Event{Seq: from.Seq}))
	case from.Seq >= to.Seq:
		done(Batch{Done: true})
	case from.Tag == inc.Certain && inc.Tag == inc.Doubted: // what comes now is given under that. The other way round a client must have met what was found
		done(Batch{Events: []flow.Event{{Tag: inc.Tag, Seq: from.Seq}}})
	case s.Bucket() && from.Seq < now.Floor:
		done(s.holeAt(st, gap.Hole{Reason: gap.Expired, Unsure: true}, flow.Event{Seq: from.Seq}))
	case !st.bounded:
		s.bound(st, now, from.Seq, to.Seq, done)
	default:
		s.next(st, inc, from.Seq, to.Seq, maxBytes, done)
	}
}

// begunAgain answers for a range whose end is of an incarnation that has gone. What follows in the log says so; but what was still to be
// read before is gone too, and is named here, so that no position passes over it in silence.
func (s *Source) begunAgain(from, to cursor.Entry, inc *feed.Incarnation) Batch {
	reason := gap.Reset
	if inc.Has(to.Tag) {
		reason = gap.Rewound // the stream may grow beyond the range again
	}
	if from.Tag != to.Tag && !(inc.Has(from.Tag) && inc.Has(to.Tag)) {
		return Batch{Done: true}
	}
	return s.lost(reason, from.Seq, to.Seq)
}

// lost answers for a range that cannot be read any more, not even its beginning.
func (s *Source) lost(reason gap.Reason, from, to uint64) Batch {
	if from >= to || reason == gap.Reset && s.Bucket() { // the state that follows is passed over by nobody, and what lay in between has no meaning for it
		return Batch{Done: true}
	}
	frame := s.gap(gap.Hole{Reason: reason, From: from + 1, To: to})
	return Batch{Events: []flow.Event{{Frame: frame, Seq: to}}, Done: true}
}

// holeAt is a hole in what is being read, and where a fresh state follows holes, the beginning of that.
func (s *Source) holeAt(st *State, h gap.Hole, e flow.Event) Batch {
	if s.fresh() {
		h.Snapshot, e.Bare = true, true
		st.initial = s.freshState()
		if s.Bucket() {
			h.From, h.To = 0, 0
		}
	}
	e.Frame = s.gap(h)
	return Batch{Events: []flow.Event{e}}
}

// next reads on.
func (s *Source) next(st *State, inc *feed.Incarnation, from, to uint64, maxBytes int, done func(Batch)) {
	if items, upto, ok := st.ahead.take(inc, from, to, maxBytes); ok {
		b := s.batch(st, inc, items, from, to, upto, st.ahead.first)
		if upto >= st.ahead.to {
			st.forget()
		}
		done(b)
		return
	}
	st.forget()
	s.messages(inc, from, to, maxBytes, func(items []*encode.Item, upto, first uint64, err error) {
		switch {
		case err != nil && errors.Is(s.feed.State().Missing, jsapi.ErrNoStream):
			done(s.lost(gap.Reset, from, to)) // it has been deleted
			return
		case err != nil:
			s.again(err, done)
			return
		}
		done(s.batch(st, inc, items, from, to, upto, first))
	})
}

// batch is what was read of (from, to]: everything up to upto, in a stream that began with first when it was read.
func (s *Source) batch(st *State, inc *feed.Incarnation, items []*encode.Item, from, to, upto, first uint64) (b Batch) {
	if first > from+1 {
		b = s.holeAt(st, gap.Hole{Reason: gap.Expired, From: from + 1, To: min(first-1, to), Unsure: !s.everything(inc)},
			flow.Event{Seq: min(first-1, to)})
		if st.Initial() {
			return b
		}
		// Some of it may have been read before it was removed. Whether all of it was, nobody knows.
		items = items[sort.Search(len(items), func(i int) bool { return items[i].Seq >= first }):]
	}
	for _, it := range items {
		e := s.event(it, inc)
		b.Events = append(b.Events, e)
		st.bytes += int64(e.Frame.Len())
		if e.End != flow.GoesOn {
			return b
		}
	}
	b.Events = append(b.Events, flow.Event{Seq: upto})
	b.Done = upto >= to
	if most := s.spec.Bounds.MaxBytes; most > 0 && st.bytes > most+most/4 && !b.Done && s.format.EndField == "" { // see bounded
		rest := s.holeAt(st, gap.Hole{Reason: gap.Limit, From: upto + 1, To: to, Unsure: !s.everything(inc)}, flow.Event{Seq: to})
		b.Events, b.Done = append(b.Events, rest.Events...), !st.Initial()
	}
	return b
}

// messages reads (from, to], or a part of it up to upto, from memory or from history. first is the stream's first sequence where that
// matters, else 0.
func (s *Source) messages(inc *feed.Incarnation, from, to uint64, maxBytes int, done func(items []*encode.Item, upto, first uint64, err error)) {
	now := s.feed.State()
	if !inc.Same(now.Inc) {
		done(nil, 0, 0, errAgain)
		return
	}
	if from >= now.Floor {
		items, all, ok := s.feed.Tail(inc, s.filters, from, to, maxBytes)
		switch {
		case ok && all:
			done(items, to, 0, nil)
			return
		case ok && len(items) > 0:
			done(items, items[len(items)-1].Seq, 0, nil)
			return
		}
		now = s.feed.State() // the tail has moved on
	}
	r := s.request(inc, from, min(to, max(now.Floor, from+1)), maxBytes)
	s.streams.history.Read(r, func(a historyAnswer) {
		if a.Err == nil && !inc.Same(s.feed.State().Inc) {
			a.Err = errAgain // the stream has begun again meanwhile
		}
		done(a.Items, a.Upto, a.First, a.Err)
	})
}

// again answers with nothing after a pause, so that the client asks again; not at all for long while NATS is away.
func (s *Source) again(err error, done func(Batch)) {
	pause := awayPause
	if errors.Is(err, errAgain) || isReset(err) {
		pause = againPause
	} else if errors.Is(err, history.ErrCrowded) {
		pause = roomPause
	}
	s.streams.retries.later(pause, func() { done(Batch{}) })
}
