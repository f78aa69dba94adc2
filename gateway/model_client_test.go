package gateway_test

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"headgate/internal/config"
	"headgate/internal/cursor"
	"headgate/internal/sse"
)

// modelRoute is a route and how a client asks for it.
type modelRoute struct {
	config.Route
	ask     string   // path and query
	filters []string // what it gets of streams, in the order of the sources
}

// modelClient is a browser: it opens its route, is cut at a random moment, and comes back with the last id that it has seen.
type modelClient struct {
	t     testing.TB
	w     *world
	at    []*replica
	route modelRoute
	rnd   *rand.Rand
	name  string
	slow  bool     // stops reading now and then
	loyal bool     // never forgets its id
	begin []string // of its streams: what they began with

	enough func() bool // asked behind every block; nil = it never has

	id     string
	tracks map[string]*track // by stream
	past   []*track          // from before it forgot its id
	open   *opened

	sessions, events, gaps, states, rewinds int
	ended                                   bool // 204
	trace                                   []string
	wrong                                   int
}

// track is what a client knows of one stream.
type track struct {
	source, stream, filter string
	kv                     bool
	mode                   string // of its initial state; "" = none

	at      cursor.Entry // behind what it has been given
	known   bool
	pending []told // gaps since the last id
	gone    bool   // a gap reset was told, and nothing of the old incarnation has come since

	given  map[cursor.Entry]stored
	ranges map[cursor.Tag][]span // that gaps named
	sure   map[cursor.Tag][]span // those in which something is certainly missing
	reborn map[cursor.Tag][]span // before its first position in an incarnation: like claims, but what was purged need not be told
	claims map[cursor.Tag][]span // everything in them has been sent, or a gap has named it
	whole  []wholeState

	keys   map[string]kvValue // of a bucket
	points []keyPoint
}

// keyPoint is what a client knew of a bucket at a position.
type keyPoint struct {
	at   cursor.Entry
	keys map[string]kvValue
	why  string
}

// span is (from, to].
type span struct {
	from, to uint64
	why      string
}

type told struct {
	reason   string
	from, to uint64
	snapshot bool
	certain  bool
}

// wholeState is an initial state that was given to its end.
type wholeState struct {
	at     cursor.Entry
	events []stateEvent
	why    string
}

type stateEvent struct {
	at cursor.Entry
	stored
}

type kvValue struct {
	rev  uint64
	data string
}

// opened is one connection.
type opened struct {
	replay  bool
	inState map[*track]bool // a state is being given
	states  map[*track][]stateEvent
	live    bool // $live has come, or there was nothing to replay
	fresh   bool // it came without an id
}

func (w *world) client(t testing.TB, number int, route modelRoute, at ...*replica) *modelClient {
	c := &modelClient{t: t, w: w, at: at, route: route, rnd: w.rand(uint64(number)), name: fmt.Sprintf("client %d of %s", number, route.Name)}
	c.forget()
	return c
}

// forget makes it a client that comes for the first time.
func (c *modelClient) forget() {
	for _, tr := range c.tracks {
		c.past = append(c.past, tr)
	}
	c.id, c.tracks = "", map[string]*track{}
	route := c.route
	n := 0
	for _, s := range route.Sources {
		if s.Type == "core" {
			continue
		}
		tr := &track{source: s.Name, stream: s.Stream, kv: s.Type == "kv", mode: route.Snapshot.Mode, filter: route.filters[n],
			given: map[cursor.Entry]stored{}, ranges: map[cursor.Tag][]span{},
			sure: map[cursor.Tag][]span{}, claims: map[cursor.Tag][]span{}, reborn: map[cursor.Tag][]span{}}
		if tr.kv {
			tr.stream, tr.mode, tr.keys = "KV_"+s.Stream, "kv", map[string]kvValue{}
		}
		c.tracks[tr.stream] = tr
		n++
	}
}

func (c *modelClient) log(format string, a ...any) {
	c.trace = append(c.trace, fmt.Sprintf("%s ", time.Now().Format("05.000"))+fmt.Sprintf(format, a...))
	if strings.Contains(format, "opened") || strings.Contains(format, "no answer") || strings.Contains(format, "refused") || strings.Contains(c.trace[len(c.trace)-1], "$") {
		c.begin = append(c.begin, c.trace[len(c.trace)-1])
	}
	if len(c.trace) > 160 {
		c.trace = c.trace[40:]
	}
}

const traceShown = 30

// fail reports what is wrong, with what the client had seen before.
func (c *modelClient) fail(format string, a ...any) {
	if c.wrong++; c.wrong > 3 {
		return
	}
	c.t.Errorf("%s: %s%s", c.name, fmt.Sprintf(format, a...), c.recent(traceShown))
}

// recent is the end of what the client has seen.
func (c *modelClient) recent(n int) string {
	return "\n  " + strings.Join(c.trace[max(0, len(c.trace)-n):], "\n  ")
}

// live is the life of a client until ctx ends.
func (c *modelClient) live(ctx context.Context) {
	for ctx.Err() == nil && !c.ended {
		if c.rnd.IntN(12) == 0 && !c.loyal {
			c.forget()
		}
		most, long := 1<<30, time.Duration(10+c.rnd.IntN(10+c.rnd.IntN(400)))*time.Millisecond
		switch c.rnd.IntN(5) {
		case 0:
			most = 1 + c.rnd.IntN(6) // in the middle of the beginning
		case 1:
			most = 1 + c.rnd.IntN(300)
		case 2:
			long *= time.Duration(1 + c.rnd.IntN(12)) // through whatever happens
		}
		c.session(ctx, most, long)
		nap(ctx, time.Duration(c.rnd.IntN(1+c.rnd.IntN(1+c.rnd.IntN(600))))*time.Millisecond)
	}
}

// session opens the route and reads blocks until it has most, or some time has passed, or the stream ends.
func (c *modelClient) session(ctx context.Context, most int, long time.Duration) {
	conn, r := c.request(ctx)
	if conn == nil {
		nap(ctx, 20*time.Millisecond)
		return
	}
	defer conn.Close()
	stop := context.AfterFunc(ctx, func() { _ = conn.SetReadDeadline(time.Unix(1, 0)) })
	defer stop()
	_ = conn.SetReadDeadline(time.Now().Add(patience))
	resp, err := http.ReadResponse(r, nil)
	if err != nil {
		c.log("no answer to %q: %v", c.id, err)
		return
	}
	defer resp.Body.Close()
	_ = conn.SetReadDeadline(time.Now().Add(long))
	if ctx.Err() != nil {
		return // the deadline of its end was just replaced
	}
	switch resp.StatusCode {
	case http.StatusOK:
	case http.StatusNoContent:
		c.ended = true
		return
	case http.StatusServiceUnavailable, http.StatusTooManyRequests:
		body, _ := io.ReadAll(resp.Body)
		c.log("refused: %s", body)
		nap(ctx, 20*time.Millisecond)
		return
	default:
		body, _ := io.ReadAll(resp.Body)
		c.fail("status %d: %s", resp.StatusCode, body)
		return
	}
	c.sessions++
	c.log("opened with %q", c.id)
	c.open = &opened{inState: map[*track]bool{}, states: map[*track][]stateEvent{}, fresh: c.id == ""}
	d := sse.NewDecoder(resp.Body)
	for n := 0; n < most; n++ {
		e, err := d.NextBlock()
		if err != nil {
			if nerr := net.Error(nil); !errors.As(err, &nerr) {
				c.log("end of the connection: %v", err)
			}
			break
		}
		c.block(e)
		if e.HasID {
			c.id = e.ID
		}
		if c.enough != nil && c.enough() {
			break
		}
		if c.slow && c.rnd.IntN(40) == 0 {
			nap(ctx, time.Duration(c.rnd.IntN(150))*time.Millisecond)
		}
	}
	c.log("cut at %q", c.id)
	for _, tr := range c.tracks {
		if tr.kv && tr.known && c.open.live && !c.open.inState[tr] {
			c.point(tr)
		}
	}
}

func (c *modelClient) request(ctx context.Context) (net.Conn, *bufio.Reader) {
	addr := *c.at[c.rnd.IntN(len(c.at))].addr.Load()
	if addr == "" {
		return nil, nil
	}
	conn, err := (&net.Dialer{Timeout: time.Second}).DialContext(ctx, "tcp", addr)
	if err != nil {
		return nil, nil
	}
	size := 64 << 10
	if tcp, ok := conn.(*net.TCPConn); ok && c.slow {
		size = 4 << 10
		_ = tcp.SetReadBuffer(size)
	}
	text := "GET " + c.route.ask + " HTTP/1.1\r\nHost: h\r\n"
	if c.id != "" {
		text += "Last-Event-ID: " + c.id + "\r\n"
	}
	if _, err := io.WriteString(conn, text+"\r\n"); err != nil {
		conn.Close()
		return nil, nil
	}
	return conn, bufio.NewReaderSize(conn, size)
}

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
		tr.whole = append(tr.whole, wholeState{at, c.open.states[tr], c.recent(25)})
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
			return at, true
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
			tr.reborn[at.Tag] = append(tr.reborn[at.Tag], span{0, at.Seq, ""})
		}
		return
	case c.rewound(tr): // what it was given until now may be of what is lost
		delete(tr.claims, at.Tag)
		maps.DeleteFunc(tr.given, func(given cursor.Entry, _ stored) bool { return given.Tag == at.Tag })
		return
	case at.Seq < tr.at.Seq:
		c.fail("the position of %s goes back from %d to %d", tr.stream, tr.at.Seq, at.Seq)
		return
	}
	if at.Seq > from && !excused {
		tr.claims[at.Tag] = append(tr.claims[at.Tag], span{from, at.Seq, ""})
	}
}
