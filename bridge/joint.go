package bridge

import (
	"context"
	"fmt"
	"slices"
	"strconv"

	"headgate/bridge/internal/core"
	"headgate/bridge/internal/stream"
	"headgate/internal/cursor"
	"headgate/internal/flow"
	"headgate/internal/sse"
)

// joint is several sources as one: the core subjects of a request, then each of its streams and buckets. Their entries of the position
// stand in that order.
type joint struct {
	core    *core.Source // nil: no core subjects
	entries int          // of core
	streams []*stream.Source
	replays *replays // nil: they go as fast as they can
}

// jointState is what is noted of one reading client.
type jointState struct {
	streams []*stream.State
	giving  bool           // an initial state
	count   []int          // events of it, by stream
	at      []cursor.Entry // of the streams whose initial state has been given: what it is the state of
	ended   bool           // nothing will follow it
	user    string         // whose budget it is; "" = nobody's
	part    int            // those before it have given everything that was asked for
}

func (j *joint) newState() *jointState {
	st := &jointState{at: make([]cursor.Entry, len(j.streams)), count: make([]int, len(j.streams))}
	for range j.streams {
		st.streams = append(st.streams, stream.Reading())
	}
	return st
}

// openJoint opens the sources of a request that has streams or buckets.
func (b *Bridge) openJoint(ctx context.Context, req flow.Request) (flow.Opened, error) {
	j := &joint{replays: b.replays}
	o := flow.Opened{Source: j, Start: flow.Live}
	err := j.open(ctx, b, req, &o)
	if err != nil {
		j.Close()
		return flow.Opened{}, err
	}
	if o.Start == flow.Live {
		o.From, o.State = nil, nil
	}
	return o, nil
}

func (j *joint) open(ctx context.Context, b *Bridge, req flow.Request, o *flow.Opened) error {
	if err := j.openCore(ctx, b, req, o); err != nil {
		return err
	}
	position, _ := cursor.Parse(req.Cursor) // one that cannot be read says nothing about any source
	st := &jointState{user: req.User}
	for _, spec := range req.Sources {
		if spec.Kind == flow.Core {
			continue
		}
		src, at, err := b.streams.Open(ctx, spec, req, position)
		if err != nil {
			return err
		}
		j.streams = append(j.streams, src)
		st.streams = append(st.streams, at.State)
		o.From = append(o.From, at.From)
		if at.Gap != nil {
			o.Gaps = append(o.Gaps, at.Gap)
		}
		if at.Start == flow.Snapshot || at.Start == flow.Replay && o.Start == flow.Live {
			o.Start = at.Start
		}
	}
	st.at, st.count = make([]cursor.Entry, len(j.streams)), make([]int, len(j.streams))
	o.State = st
	if o.Start == flow.Snapshot {
		j.allBuckets(st, o)
	}
	return nil
}

// allBuckets gives the state of every bucket where that of any source is given: $ready says only that there is one, and whoever forgets
// what he had must be given all of it.
func (j *joint) allBuckets(st *jointState, o *flow.Opened) {
	for i, s := range j.streams {
		if s.Bucket() && !st.streams[i].Initial() {
			from := &o.From[j.entries+i]
			st.streams[i], *from = s.Fresh(), cursor.Entry{Tag: from.Tag}
		}
	}
}

func (j *joint) openCore(ctx context.Context, b *Bridge, req flow.Request, o *flow.Opened) error {
	own := req
	own.Sources = slices.DeleteFunc(slices.Clone(req.Sources), func(s flow.Spec) bool { return s.Kind != flow.Core })
	if len(own.Sources) == 0 {
		return nil
	}
	opened, err := b.core.Open(ctx, own)
	if err != nil {
		return err
	}
	j.core = opened.Source.(*core.Source)
	j.entries = j.core.Entries()
	o.Start, o.Gaps, o.From = opened.Start, opened.Gaps, opened.From
	for len(o.From) < j.entries {
		o.From = append(o.From, cursor.Entry{Seq: cursor.Live})
	}
	return nil
}

// Attach implements flow.Source.
func (j *joint) Attach(sink flow.Sink) cursor.Position {
	var p cursor.Position
	if j.core != nil {
		p = j.core.Attach(sink)
	}
	for i, s := range j.streams {
		p = append(p, s.Attach(sink, len(p), func(state any) any { return j.afresh(i, state) }))
	}
	return p
}

// States implements flow.Stateful.
func (j *joint) States() (states []flow.StateEntry) {
	for i, s := range j.streams {
		if name, ok := s.Stateful(); ok {
			states = append(states, flow.StateEntry{Entry: j.entries + i, Source: name, Again: func(state any) any { return j.afresh(i, state) }})
		}
	}
	return states
}

// afresh makes a client read a fresh state of a stream first, beside those of other streams that it is still to be given.
func (j *joint) afresh(i int, state any) any {
	st, ok := state.(*jointState)
	if !ok {
		st = j.newState()
	}
	st.streams[i], st.at[i], st.count[i] = j.streams[i].Fresh(), cursor.Entry{}, 0
	st.part = 0
	return st
}

// Progress implements flow.Source.
func (j *joint) Progress(p cursor.Position) {
	if j.core != nil {
		j.core.Progress(p[:j.entries])
	}
	for i, s := range j.streams {
		s.Progress(&p[j.entries+i])
	}
}

// Close implements flow.Source.
func (j *joint) Close() {
	if j.core != nil {
		j.core.Close()
	}
	for _, s := range j.streams {
		s.Close()
	}
}

// Read implements flow.History: initial states first, then what was missed, source by source.
func (j *joint) Read(ask flow.Ask, done func(flow.Batch)) {
	st, ok := ask.State.(*jointState)
	if !ok {
		st = j.newState()
	}
	j.replays.read(st.user, ask, done, func(ask flow.Ask, done func(flow.Batch)) { j.read(st, ask, done) })
}

func (j *joint) read(st *jointState, ask flow.Ask, done func(flow.Batch)) {
	if len(ask.From) != j.entries+len(j.streams) || len(ask.To) != len(ask.From) {
		done(flow.Batch{Err: fmt.Errorf("bridge: %w: a position with %d entries", flow.ErrClosed, len(ask.From))})
		return
	}
	for i, s := range st.streams {
		if s.Initial() {
			j.initial(i, st, ask, done)
			return
		}
	}
	if st.giving {
		done(flow.Batch{Events: j.given(st), State: st})
		return
	}
	j.replay(ask, st, done)
}

// initial gives a part of a stream's initial state.
func (j *joint) initial(i int, st *jointState, ask flow.Ask, done func(flow.Batch)) {
	st.giving = true
	j.streams[i].Initial(st.streams[i], ask.MaxBytes, func(b stream.InitialBatch) {
		if b.Anew {
			st.count[i] = 0
		}
		st.count[i] += b.Count
		if b.Done {
			st.at[i], st.ended = b.At, st.ended || b.Ended
		}
		done(flow.Batch{Events: entered(b.Events, j.entries+i), State: st, Err: b.Err})
	})
}

// given is the end of the initial state: the positions that it is the state of, and $snapshot.
func (j *joint) given(st *jointState) []flow.Event {
	var events []flow.Event
	count := 0
	for i, at := range st.at {
		count += st.count[i]
		if at != (cursor.Entry{}) {
			events = append(events, flow.Event{Entry: j.entries + i, Tag: at.Tag, Seq: at.Seq})
		}
	}
	last := &events[len(events)-1]
	last.Frame = sse.NewFrame("$snapshot", []byte(`{"count":`+strconv.Itoa(count)+`}`))
	if st.ended {
		last.End = flow.Done
	}
	st.giving, st.ended = false, false
	clear(st.at)
	clear(st.count)
	return events
}

// replay reads what was missed of the first source that has something.
func (j *joint) replay(ask flow.Ask, st *jointState, done func(flow.Batch)) {
	if st.part == 0 && j.core != nil {
		st.part = 1
		own := flow.Ask{From: ask.From[:j.entries], To: ask.To[:j.entries], MaxBytes: ask.MaxBytes}
		j.core.Read(own, func(b flow.Batch) { j.replayed(ask, st, b, 0, done) })
		return
	}
	i := max(st.part-1, 0)
	if i >= len(j.streams) {
		st.part = 0
		done(flow.Batch{Done: true, State: st})
		return
	}
	st.part = i + 2
	at := j.entries + i
	j.streams[i].Read(st.streams[i], ask.From[at], ask.To[at], ask.MaxBytes, func(b stream.Batch) {
		j.replayed(ask, st, flow.Batch{Events: entered(b.Events, at), Done: b.Done, Err: b.Err}, i+1, done)
	})
}

// replayed takes what the source with a number gave. When that was nothing and all, the next one is asked.
func (j *joint) replayed(ask flow.Ask, st *jointState, b flow.Batch, part int, done func(flow.Batch)) {
	b.State = st
	switch {
	case b.Err != nil:
	case !b.Done:
		st.part = part // once more
	case len(b.Events) == 0:
		j.replay(ask, st, done)
		return
	default:
		b.Done = false // of this source only
	}
	done(b)
}

// entered are events with their entry of the position.
func entered(events []flow.Event, entry int) []flow.Event {
	for i := range events {
		events[i].Entry = entry
	}
	return events
}
