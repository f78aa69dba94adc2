package gateway_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
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
	gaps   []told // before it
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

// silenceMore is how much longer than the heartbeat a stream may be silent, on a busy machine.
const silenceMore = 2 * time.Second

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
	for _, tr := range c.tracks {
		tr.pending = nil // what was told behind the id is told again, or has become otherwise
	}
	d := sse.NewDecoder(resp.Body)
	for n := 0; n < most; n++ {
		waits := time.Now()
		e, err := d.NextBlock()
		if silent := time.Since(waits); silent > c.route.Heartbeat+silenceMore {
			c.fail("nothing came for %v, and the heartbeat is %v", silent, c.route.Heartbeat)
		}
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
