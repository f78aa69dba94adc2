package stream

import (
	"sync/atomic"
	"time"

	"headgate/bridge/internal/encode"
	"headgate/bridge/internal/feed"
	"headgate/internal/cursor"
	"headgate/internal/flow"
	"headgate/internal/gap"
	"headgate/internal/sse"
	"headgate/internal/subject"
)

// Source is one stream or bucket of one request. It has one entry of the position.
type Source struct {
	// fixed after Open
	streams *Streams
	feed    *feed.Feed
	spec    flow.Spec
	stream  string
	filters []string // subjects of the stream
	format  *encode.Format
	user    string

	// fixed after Attach
	sink  flow.Sink
	entry int
	link  *feed.Link

	fresher func(state any) any // adds a fresh state to the notes on a client

	closed atomic.Bool
}

// Bucket says whether it is one.
func (s *Source) Bucket() bool { return s.spec.Kind == flow.KV }

// fresh says whether a hole is followed by a fresh state.
func (s *Source) fresh() bool { return s.Bucket() || s.spec.Bounds.Snapshot }

// Stateful says whether a hole is followed by a fresh state, and gives the route's name for the source.
func (s *Source) Stateful() (name string, ok bool) { return s.spec.Name, s.fresh() }

// Fresh is the state of a client that is to be given an initial state.
func (s *Source) Fresh() *State { return &State{initial: s.freshState()} }

// Attach makes every match from now on go to sink, as events of an entry of the position. It returns where they start. A stream that
// has gone missing since Open is lost at once. fresher is flow.Event.Again of the holes behind which a fresh state is read.
func (s *Source) Attach(sink flow.Sink, entry int, fresher func(state any) any) cursor.Entry {
	s.sink, s.entry, s.fresher = sink, entry, fresher
	link, inc, at, err := s.feed.Follow(s.filters, s)
	if err != nil {
		sink.Push(flow.Event{Entry: entry, End: flow.Lost})
		return cursor.Entry{}
	}
	s.link = link
	return cursor.Entry{Tag: inc.Tag, Seq: at}
}

// Progress raises e to what has certainly been pushed, and to another incarnation where the stream has begun again.
func (s *Source) Progress(e *cursor.Entry) {
	inc, seq := s.feed.Pushed()
	switch {
	case inc == nil:
	case inc.Tag != e.Tag:
		*e = cursor.Entry{Tag: inc.Tag, Seq: seq}
	default:
		e.Seq = max(e.Seq, seq)
	}
}

// Close detaches the sink. After it returns no Push comes any more. It must not be called by the sink's Push.
func (s *Source) Close() {
	if !s.closed.Swap(true) && s.link != nil {
		s.link.Close()
	}
}

// Message implements feed.Follower.
func (s *Source) Message(it *encode.Item, inc *feed.Incarnation) {
	e := s.event(it, inc)
	e.At = time.Now().UnixNano()
	s.sink.Push(e)
}

// event is a message as it is sent, or the gap that takes its place.
func (s *Source) event(it *encode.Item, inc *feed.Incarnation) flow.Event {
	r, made := it.Frame(s.format, inc.IDPrefix)
	if made && s.streams.cfg.Encoded != nil {
		s.streams.cfg.Encoded(it, r)
	}
	e := flow.Event{Frame: r.Frame, Entry: s.entry, Seq: it.Seq}
	if r.Refused {
		h := gap.Hole{Reason: r.Reason, From: it.Seq, To: it.Seq}
		if s.Bucket() {
			h.From, h.To = 0, 0 // numbers mean nothing for a state
		}
		e.Frame = s.gap(h)
	}
	if r.Last {
		e.End = flow.Done
	}
	return e
}

// Hole implements feed.Follower. Where a fresh state follows, everybody reads it.
func (s *Source) Hole(h feed.Hole, inc *feed.Incarnation, position uint64) {
	e := flow.Event{Entry: s.entry, Tag: inc.Tag, Seq: position}
	if h.Renamed {
		s.sink.Push(e)
		return
	}
	// While the stream is gone there is nothing to give; when it is back, that is what the silent hole is for.
	fresh := s.fresh() && (h.Silent || s.feed.State().Missing == nil)
	if h.Silent && !fresh {
		s.sink.Push(e)
		return
	}
	hole := gap.Hole{Reason: h.Reason, From: h.From, To: h.To, Unsure: !h.Certain, Snapshot: fresh}
	if s.Bucket() {
		hole.From, hole.To = 0, 0 // what is missing in between has no meaning for a state
	}
	e.Frame = s.gap(hole)
	if fresh {
		e.Bare = true
		e.Again = s.fresher
	}
	s.sink.Push(e)
}

// Lost implements feed.Follower.
func (s *Source) Lost() { s.sink.Push(flow.Event{Entry: s.entry, End: flow.Lost}) }

// gap counts a hole and makes its event.
func (s *Source) gap(h gap.Hole) *sse.Frame {
	h.Source = s.spec.Name
	s.streams.cfg.Gaps.Add(h.Reason, 1)
	return gap.Frame(h)
}

// everything says whether every message of the stream is one of the source's: then a missing sequence is a missing event.
func (s *Source) everything(inc *feed.Incarnation) bool {
	if len(inc.Config.Subjects) == 0 {
		return false // it has other streams' messages
	}
	for _, subj := range inc.Config.Subjects {
		covered := false
		for _, f := range s.filters {
			covered = covered || subject.Covers(f, subj)
		}
		if !covered {
			return false
		}
	}
	return true
}
