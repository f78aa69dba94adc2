package gateway_test

import (
	"encoding/json"
	"maps"
	"slices"

	"headgate/internal/cursor"
	"headgate/internal/sse"
)

// message is the envelope of an event.
type message struct {
	Subject, Key, ID string
	Data             any
}

// block takes one block.
func (c *modelClient) block(e sse.Event) {
	text := e.Data
	if len(text) > 150 {
		text = text[:150] + "…"
	}
	c.log("%s %s id=%v %s", e.Type, text, e.HasID, e.ID)
	switch {
	case e.Silent && !e.HasID: // retry, or a heartbeat
		return
	case e.Silent, e.Type == "$end":
	case e.Type == "$ready":
		c.ready(e)
	case e.Type == "$gap":
		c.gap(e)
	case e.Type == "$live":
		c.open.live = true
	case e.Type == "$snapshot":
		c.snapshot(e)
	default:
		c.event(e)
		return
	}
	if e.HasID {
		c.moved(e.ID, nil, stored{})
	}
}

func (c *modelClient) ready(e sse.Event) {
	var ready struct{ Position string }
	if err := json.Unmarshal([]byte(e.Data), &ready); err != nil {
		c.fail("%v", err)
	}
	c.open.replay = ready.Position == "replay"
	c.open.live = ready.Position == "live"
	if ready.Position != "snapshot" {
		return
	}
	if e.HasID {
		c.fail("$ready before a state has an id")
	}
	for _, tr := range c.tracks {
		if tr.kv || tr.mode != "" && c.open.fresh {
			c.open.inState[tr] = true
		}
	}
}

func (c *modelClient) gap(e sse.Event) {
	var g struct {
		Reason, Source, Next string
		Certain              bool
		From, To             uint64
	}
	if err := json.Unmarshal([]byte(e.Data), &g); err != nil {
		c.fail("%v", err)
	}
	c.gaps++
	for _, tr := range c.tracks {
		if tr.source != g.Source {
			continue
		}
		tr.pending = append(tr.pending, told{g.Reason, g.From, g.To, g.Next == "snapshot", g.Certain})
		tr.gone = tr.gone || g.Reason == "reset"
		if g.Reason == "rewound" {
			c.rewinds++
		}
		if g.Next == "snapshot" {
			c.open.inState[tr] = true
			c.open.states[tr] = nil
			if e.HasID {
				c.fail("a gap before a state has an id")
			}
		}
	}
}

// snapshot is the end of the states that are being given.
func (c *modelClient) snapshot(e sse.Event) {
	c.states++
	if !e.HasID {
		c.fail("$snapshot without an id")
		return
	}
	p, err := cursor.Parse(e.ID)
	if err != nil {
		c.fail("id %q: %v", e.ID, err)
		return
	}
	for tr := range c.open.inState {
		at, ok := c.entry(tr, p)
		if !ok {
			c.fail("no entry for %s in %s", tr.stream, e.ID)
			continue
		}
		if tr.known && tr.at.Tag == at.Tag && at.Seq < tr.at.Seq && !c.rewound(tr) {
			c.fail("a state of %s as of %d behind %d", tr.stream, at.Seq, tr.at.Seq)
		}
		if c.rewound(tr) {
			tr.forget(at.Tag)
		}
		tr.whole = append(tr.whole, wholeState{at, tr.pending, c.open.states[tr], c.recent(25)})
		if tr.kv {
			c.stateOfKeys(tr, c.open.states[tr])
		}
		tr.at, tr.known, tr.pending, tr.gone = at, true, nil, false
		if tr.kv {
			c.point(tr)
		}
	}
	c.open.live = true // of what has been given a state
	clear(c.open.inState)
	clear(c.open.states)
}

func (c *modelClient) point(tr *track) {
	tr.points = append(tr.points, keyPoint{tr.at, maps.Clone(tr.keys), c.recent(12)})
}

func (c *modelClient) rewound(tr *track) bool {
	for _, g := range tr.pending {
		if g.reason == "rewound" {
			return true
		}
	}
	return false
}

// forget drops what was given and claimed of an incarnation that was rewound: it may be of what is lost, whose sequences mean something
// else now, also where the client heard of it by a state.
func (tr *track) forget(tag cursor.Tag) {
	delete(tr.claims, tag)
	maps.DeleteFunc(tr.given, func(given cursor.Entry, _ stored) bool { return given.Tag == tag })
	tr.whole = slices.DeleteFunc(tr.whole, func(st wholeState) bool { return st.at.Tag == tag })
}

// event is a message.
func (c *modelClient) event(e sse.Event) {
	var m message
	if err := json.Unmarshal([]byte(e.Data), &m); err != nil {
		c.fail("data %q: %v", e.Data, err)
		return
	}
	c.events++
	p, err := cursor.Parse(m.ID)
	if err != nil || len(p) != 1 {
		c.fail("id %q of a message: %v", m.ID, err)
		return
	}
	life := c.w.lifeOf(p[0].Tag)
	if life == nil { // of a core subject
		if e.HasID {
			c.moved(e.ID, nil, stored{})
		}
		return
	}
	tr := c.tracks[life.stream]
	if tr == nil {
		c.fail("an event of %s, which is not of the route", life.stream)
		return
	}
	text, _ := m.Data.(string)
	got := stored{m.Subject, text}
	if tr.kv {
		got.subject = m.Key
	}
	if c.open.inState[tr] {
		if e.HasID {
			c.fail("an event of a state has an id")
		}
		c.open.states[tr] = append(c.open.states[tr], stateEvent{p[0], got})
		return
	}
	if !e.HasID {
		c.fail("an event without an id: %s", e.Data)
		return
	}
	if tr.kv {
		c.change(tr, e.Type, p[0], got)
		if e.Type != "put" {
			got = stored{}
		}
	}
	c.moved(e.ID, &p[0], got)
}

// entry finds a stream's entry in a position.
func (c *modelClient) entry(tr *track, p cursor.Position) (cursor.Entry, bool) {
	for _, at := range p {
		if l := c.w.lifeOf(at.Tag); l != nil && l.stream == tr.stream {
			return cursor.Entry{Tag: l.tag, Seq: at.Seq}, true // also of a position in doubt
		}
	}
	return cursor.Entry{}, false
}

// moved takes an id: everything up to there that the client is subscribed to has been sent. own is the position of the event that has
// it, if it is one.
func (c *modelClient) moved(id string, own *cursor.Entry, m stored) {
	p, err := cursor.Parse(id)
	if err != nil {
		c.fail("id %q: %v", id, err)
		return
	}
	for _, tr := range c.tracks {
		at, ok := c.entry(tr, p)
		if !ok {
			c.fail("no entry for %s in %s", tr.stream, id)
			continue
		}
		mine := own != nil && c.w.lifeOf(own.Tag).stream == tr.stream
		if mine && *own != at {
			c.fail("the event %v has the id %v", *own, at)
		}
		tr.claim(c, at)
		if mine && tr.known && tr.at == at {
			c.fail("%s %d twice or out of order", tr.stream, at.Seq)
		}
		if mine {
			tr.given[at] = m
			tr.gone = false
		}
		tr.at, tr.known, tr.pending = at, true, nil
	}
}

// claim notes what a new position says, and whether it may.
func (tr *track) claim(c *modelClient, at cursor.Entry) {
	from := tr.at.Seq
	excused := false
	for _, g := range tr.pending {
		if g.to > 0 && g.reason == "reset" && tr.known { // of what the client has not had of the old incarnation
			tr.ranges[tr.at.Tag] = append(tr.ranges[tr.at.Tag], span{g.from - 1, g.to, c.recent(8)})
		}
		if g.to > 0 && g.reason != "rewound" && g.reason != "reset" { // these are of sequences that mean something else now
			tr.ranges[at.Tag] = append(tr.ranges[at.Tag], span{g.from - 1, g.to, c.recent(8)})
			if tr.known && tr.at.Tag != at.Tag {
				tr.ranges[tr.at.Tag] = append(tr.ranges[tr.at.Tag], span{g.from - 1, g.to, c.recent(8)})
			}
			if g.certain {
				tr.sure[at.Tag] = append(tr.sure[at.Tag], span{g.from - 1, g.to, c.recent(8)})
			}
			continue
		}
		excused = excused || g.reason != "reset"
	}
	switch {
	case !tr.known:
		return
	case tr.at.Tag != at.Tag:
		if !tr.gone && !excused {
			c.fail("%s goes from %v to %v without a gap", tr.stream, tr.at, at)
		}
		if !excused { // everything of the new one is to come
			tr.reborn[at.Tag] = append(tr.reborn[at.Tag], span{0, at.Seq, c.recent(8)})
		}
		return
	case c.rewound(tr):
		tr.forget(at.Tag)
		return
	case at.Seq < tr.at.Seq:
		c.fail("the position of %s goes back from %d to %d", tr.stream, tr.at.Seq, at.Seq)
		return
	}
	if at.Seq > from && !excused {
		tr.claims[at.Tag] = append(tr.claims[at.Tag], span{from, at.Seq, c.recent(8)})
	}
}
