package stream

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"headgate/bridge/internal/encode"
	"headgate/bridge/internal/feed"
	"headgate/bridge/internal/history"
	"headgate/bridge/internal/kv"
	"headgate/internal/cursor"
	"headgate/internal/flow"
	"headgate/internal/gap"
)

// initial is an initial state on its way to one client: the messages that are it, as of one sequence.
type initial struct {
	mode  flow.SnapshotMode
	inc   *feed.Incarnation // nil: nothing has been read yet
	least uint64            // how young it must be: a client that has been here before never goes back
	of    *feed.Incarnation // least is one of its sequences; nil = the feed has got there
	at    uint64            // what it is the state of: everything up to here
	items []*encode.Item    // still to be given
	from  uint64            // modes all and since: read up to here
	walks bool              // there is still something to be read: in modes all and since, and of what is too large to be held
	list  *history.List     // what is too large to be held, unless every message in (from, at] is a part of it: where its messages are
	place int               // in list: read up to here
	ended bool              // its last message is one that ends the stream
	gaps  []gap.Hole        // to be told before the next of them
	use   *feed.Use         // of the memory of items, or of list; nil = they are others' anyway
	since time.Time         // when there was first no room for it; zero = there was
}

// firstState is the initial state before anything of it has been read.
func (s *Source) firstState() *initial {
	if s.Bucket() || s.spec.Initial.Mode == flow.NoSnapshot {
		return &initial{mode: flow.LastPerSubject}
	}
	return &initial{mode: s.spec.Initial.Mode}
}

// freshState is that of a client that has been given something already.
func (s *Source) freshState() *initial {
	i := s.firstState()
	i.least = s.feed.State().Cursor
	return i
}

// notBefore makes it a state of a sequence at the earliest, which another replica may have got to before this one.
func (i *initial) notBefore(inc *feed.Incarnation, seq uint64) {
	if seq > i.least {
		i.of, i.least = inc, seq
	}
}

// InitialBatch is a part of an initial state. Its events carry no id.
type InitialBatch struct {
	Events []flow.Event
	Count  int          // of the events, those that are part of the state
	Done   bool         // that was all
	At     cursor.Entry // Done: what it is the state of
	Ended  bool         // Done: nothing will ever follow
	Anew   bool         // what was given before does not count
	Err    error
}

// Initial gives the next part of the initial state that st.Initial() announced. done is called exactly once, from any goroutine.
func (s *Source) Initial(st *State, maxBytes int, done func(InitialBatch)) {
	s.streams.readers.do(func() { s.state(st, maxBytes, done) })
}

func (s *Source) state(st *State, maxBytes int, done func(InitialBatch)) {
	i := st.initial
	switch {
	case s.closed.Load():
		done(InitialBatch{Err: flow.ErrClosed})
	case i.inc == nil:
		s.load(i, func(err error) {
			if err != nil {
				s.retry(st, err, done)
				return
			}
			if s.Bucket() && i.walks {
				if st.walks++; st.walks > mostWalks {
					s.retry(st, errInVain, done)
					return
				}
			}
			s.give(st, maxBytes, done)
		})
	case i.walks && len(i.items) == 0:
		s.walk(st, maxBytes, done)
	default:
		s.give(st, maxBytes, done)
	}
}

// mostWalks is how often a client goes through a bucket that is too large to be held, before its stream ends: what has changed meanwhile must
// be in the tail, or the state was in vain.
const mostWalks = 3

var errInVain = fmt.Errorf("memory does not reach back to where its state began, %d times in a row", mostWalks)

// crowdedWait is how long a client waits for room for its state before its stream ends.
const crowdedWait = 30 * time.Second

// retry goes on with an initial state after a pause. When the stream has begun again meanwhile, the state of the new one is given, and
// the client is told to forget what it has of the old one. A state that is too large for anybody to hold ends the stream.
func (s *Source) retry(st *State, err error, done func(InitialBatch)) {
	if errors.Is(err, history.ErrTooLarge) || errors.Is(err, errInVain) {
		s.streams.tooLarge.Do(func() { s.sayEnded(err) })
		done(InitialBatch{Err: err})
		return
	}
	if i := st.initial; errors.Is(err, history.ErrCrowded) {
		if i.since.IsZero() {
			i.since = time.Now()
		}
		if time.Since(i.since) > crowdedWait {
			done(InitialBatch{Err: err})
			return
		}
	}
	s.again(err, func(Batch) {
		b := InitialBatch{}
		if inc := st.initial.inc; inc != nil && !inc.Same(s.feed.State().Inc) {
			st.initial.use.End()
			st.initial = s.freshState()
			st.initial.gaps = []gap.Hole{{Reason: gap.Reset, Snapshot: true}}
			b.Anew = true
		}
		done(b)
	})
}

// sayEnded tells the log why streams are ended for want of a state.
func (s *Source) sayEnded(why error) {
	what, remedy := "a state is too large to be read from NATS: its streams are ended",
		"raise JETSTREAM_TAIL_BYTES, a quarter of which a list of its subjects may take, or let the route match fewer of them"
	if errors.Is(why, errInVain) {
		what, remedy = "a bucket changes faster than its state can be given: its streams are ended",
			"raise JETSTREAM_TAIL_BYTES, so that memory reaches back further or has the bucket's values, or let the route's key match fewer keys"
	}
	s.streams.cfg.Log.Error(what, "stream", s.stream, "source", s.spec.Name, "cause", why, "remedy", remedy)
}

// load finds out what the state is made of.
func (s *Source) load(i *initial, done func(error)) {
	now := s.feed.State()
	if !now.Ready || now.Inc == nil || i.of.Same(now.Inc) && now.Cursor < i.least {
		done(errAgain)
		return
	}
	if s.Bucket() {
		rows, err := s.feed.Table(s.filters)
		if errors.Is(err, feed.ErrCrowded) {
			s.streams.states.reclaim()
			done(fmt.Errorf("%w: %w", history.ErrCrowded, err))
			return
		}
		if err == nil {
			i.items, i.at, i.inc, i.use = rows.Items, rows.At, rows.Inc, rows.Use
			done(nil)
			return
		}
	}
	keep := func(a historyAnswer, use *feed.Use) {
		if a.Err == nil && !now.Inc.Same(s.feed.State().Inc) {
			a.Err = errAgain // the stream has begun again meanwhile
		}
		if a.Err == nil && i.mode != flow.LastMessage {
			now.Cursor = a.Upto // that of the state, which others may have asked for
		}
		if a.Err != nil {
			use.End()
			if errors.Is(a.Err, history.ErrTooLarge) && s.walkable(now.Inc) {
				i.inc, i.at, i.from, i.walks = now.Inc, a.Upto, 0, true
				a.Err = nil
			}
			done(a.Err)
			return
		}
		i.inc, i.at, i.items, i.use = now.Inc, now.Cursor, a.Items, use
		i.list, i.walks = a.List, a.List != nil && a.List.Len() > 0
		done(nil)
	}
	r := s.request(now.Inc, 0, now.Cursor, 0)
	switch i.mode {
	case flow.LastMessage:
		s.streams.history.Last(r, func(a historyAnswer) { keep(a, nil) })
	case flow.AllMessages:
		s.loadWalk(i, now, 0, done)
	case flow.SnapshotSince:
		s.streams.history.SeqBefore(s.stream, now.Inc.Created, time.Now().Add(-s.spec.Initial.Since), func(seq uint64, err error) {
			if err != nil {
				done(err)
				return
			}
			s.loadWalk(i, now, seq, done)
		})
	default:
		s.streams.states.get(s, now, i.least, keep)
	}
}

// walkable says whether a state that is too large to be held by anybody can be given by going through the messages: that of a bucket
// which keeps one message of each key, so that every message is a value, or says that there is none. Who reads it holds one part at a time. A key
// that changes while the state is on its way may be missing in it, and is among the changes that follow.
func (s *Source) walkable(inc *feed.Incarnation) bool {
	return s.Bucket() && inc.Config.MaxMsgsPerSubject == 1
}

// loadWalk prepares a state that is all messages behind from, within the bounds of a replay by number and size.
func (s *Source) loadWalk(i *initial, now feed.State, from uint64, done func(error)) {
	begin := func(from uint64) {
		i.inc, i.at, i.from, i.walks = now.Inc, now.Cursor, from, true
		done(nil)
	}
	from = max(from, max(now.First, 1)-1) // what retention took before is no part of the state
	if now.Cursor <= from || !s.mayExceed(now, from, now.Cursor) {
		begin(min(from, now.Cursor))
		return
	}
	s.streams.history.Newest(s.request(now.Inc, from, now.Cursor, 0), s.most(), func(newest uint64, missed bool, err error) {
		if err != nil {
			done(err)
			return
		}
		if missed {
			i.gaps = append(i.gaps, gap.Hole{Reason: gap.Limit, From: from + 1, To: newest})
		}
		begin(newest)
	})
}

// walk reads the next messages of a state that is made of all of them.
func (s *Source) walk(st *State, maxBytes int, done func(InitialBatch)) {
	i := st.initial
	if i.list != nil {
		s.walkList(st, maxBytes, done)
		return
	}
	s.walked(i, maxBytes, func(items []*encode.Item, upto, first uint64, err error) {
		if err != nil {
			s.retry(st, err, done)
			return
		}
		if s.Bucket() {
			items = slices.DeleteFunc(slices.Clone(items), func(it *encode.Item) bool { return kv.Gone(it.Header) })
		} else if first > i.from+1 {
			i.gaps = append(i.gaps, gap.Hole{Reason: gap.Expired, From: i.from + 1, To: min(first-1, i.at), Unsure: !s.everything(i.inc)})
		}
		i.items, i.from = slices.Clone(items), upto
		i.walks = upto < i.at
		s.give(st, maxBytes, done)
	})
}

// walkList reads the next messages of a state by the list of where they are. What has changed meanwhile may be missing, and is among the
// changes that follow.
func (s *Source) walkList(st *State, maxBytes int, done func(InitialBatch)) {
	i := st.initial
	s.streams.history.Part(i.list, s.request(i.inc, 0, i.at, maxBytes), i.place, func(items []*encode.Item, next int, err error) {
		if err == nil && !i.inc.Same(s.feed.State().Inc) {
			err = errAgain // the stream has begun again meanwhile
		}
		if err != nil {
			s.retry(st, err, done)
			return
		}
		i.items, i.place = slices.Clone(items), next
		if s.Bucket() {
			i.items = slices.DeleteFunc(i.items, func(it *encode.Item) bool { return kv.Gone(it.Header) })
		}
		i.walks = next < i.list.Len()
		s.give(st, maxBytes, done)
	})
}

// walked reads the next messages of (i.from, i.at]. Those of a bucket come from the stream, and not from memory, which has what was replaced: so
// each is the last of its key, or was when the walk began.
func (s *Source) walked(i *initial, maxBytes int, done func(items []*encode.Item, upto, first uint64, err error)) {
	if !s.Bucket() {
		s.messages(i.inc, i.from, i.at, maxBytes, done)
		return
	}
	r := s.request(i.inc, i.from, i.at, maxBytes)
	r.AsOf = i.at
	s.streams.history.Read(r, func(a historyAnswer) {
		if a.Err == nil && !i.inc.Same(s.feed.State().Inc) {
			a.Err = errAgain
		}
		done(a.Items, a.Upto, a.First, a.Err)
	})
}

// give hands out what has been read.
func (s *Source) give(st *State, maxBytes int, done func(InitialBatch)) {
	i := st.initial
	var b InitialBatch
	for _, h := range i.gaps {
		b.Events = append(b.Events, flow.Event{Frame: s.gap(h), Bare: true})
	}
	i.gaps = nil
	size, n := 0, 0
	for ; n < len(i.items) && size < maxBytes; n++ {
		e := s.event(i.items[n], i.inc)
		i.ended = e.End == flow.Done
		b.Count++
		size += e.Frame.Len()
		b.Events = append(b.Events, flow.Event{Frame: e.Frame, Bare: true})
	}
	if i.items = i.items[n:]; len(i.items) == 0 {
		i.items = nil
	}
	if len(i.items) == 0 && !i.walks {
		i.use.End()
		i.use = nil
		b.Done, b.Ended = true, i.ended
		b.At = cursor.Entry{Tag: i.inc.Tag, Seq: i.at}
		st.initial, st.bounded = nil, true
	}
	done(b)
}
