package gateway_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"headgate/internal/config"
	"headgate/internal/cursor"
	"headgate/internal/devnats"
	"headgate/internal/sse"
)

// The pitfalls of reading streams for others, one test each, with clients on real sockets. Those of core subjects, 7 to 9, are in
// package bridge.

// pit is a server, a stream A and a gateway.
type pit struct {
	*world
	t  *testing.T
	ns *devnats.Server
	gw *replica
}

func newPit(t *testing.T, stream jetstream.StreamConfig, change func(*server.Options, *config.Config), routes ...modelRoute) *pit {
	t.Helper()
	if change == nil {
		change = func(*server.Options, *config.Config) {}
	}
	ns, err := devnats.Start(devnats.Options{JetStream: true, Configure: func(o *server.Options) { change(o, &config.Config{}) }})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(ns.Shutdown)
	p := &pit{world: newWorld(t, ns.URL()), t: t, ns: ns}
	p.create(stream)
	if routes == nil {
		routes = []modelRoute{streamRoute("all", "a.>", "a.>"), streamRoute("one", "a.one", "a.one")}
	}
	cfg := modelConfig(ns.URL(), routesOf(routes))
	change(&server.Options{}, &cfg)
	p.gw = startReplica(t, cfg).ready()
	return p
}

// put publishes n numbered messages.
func (p *pit) put(subject string, n int) {
	p.t.Helper()
	for i := range n {
		p.mustPublish("A", subject, fmt.Sprint(i+1))
	}
}

// open opens a stream, with an id if there is one.
func (p *pit) open(path, id string) *reader {
	p.t.Helper()
	req, err := http.NewRequestWithContext(p.t.Context(), http.MethodGet, "http://"+*p.gw.addr.Load()+path, nil)
	if err != nil {
		p.t.Fatal(err)
	}
	if id != "" {
		req.Header.Set("Last-Event-ID", id)
	}
	r := &rig{t: p.t}
	return r.openWith(&http.Client{Transport: &http.Transport{DisableKeepAlives: true}}, req)
}

// seq reads the next message and gives its sequence.
func (rd *reader) seq() uint64 {
	rd.t.Helper()
	e := rd.next()
	for e.Type == "$live" {
		e = rd.next()
	}
	return rd.seqOf(e)
}

func (rd *reader) seqOf(e sse.Event) uint64 {
	rd.t.Helper()
	var m message
	if err := json.Unmarshal([]byte(e.Data), &m); err != nil || e.Type != sse.Message {
		rd.t.Fatalf("got %s %s, want a message", e.Type, e.Data)
	}
	at, err := cursor.Parse(m.ID)
	if err != nil {
		rd.t.Fatal(err)
	}
	return at[0].Seq
}

// seqs reads messages from one sequence to another, in order and without anything between.
func (rd *reader) seqs(from, to uint64) {
	rd.t.Helper()
	for want := from; want <= to; want++ {
		if got := rd.seq(); got != want {
			rd.t.Fatalf("got %d, want %d", got, want)
		}
	}
}

func (rd *reader) gap(reason string) string {
	rd.t.Helper()
	e := rd.want("$gap")
	if !strings.Contains(e.Data, `"reason":"`+reason+`"`) {
		rd.t.Fatalf("$gap %s, want %s", e.Data, reason)
	}
	return e.Data
}

// A stream is deleted and made again, with fewer, as many and more messages than a client's position. Whoever is connected, and whoever
// comes back, hears of it and gets everything that the new one has.
func TestPitfall01_StreamMadeAgain(t *testing.T) {
	p := newPit(t, streamA(), nil)
	p.put("a.one", 10)
	for _, n := range []int{5, 10, 15, 20} {
		stays := p.open("/all?since=1h", "")
		stays.want("$ready")
		stays.seqs(1, p.lastOf("A"))
		id := stays.dec.LastEventID()
		p.remove("A")
		p.create(streamA())
		p.put("a.one", n)
		stays.liveOr("$gap")
		stays.seqs(1, uint64(n))
		back := p.open("/all", id)
		back.want("$ready")
		back.gap("reset")
		back.seqs(1, uint64(n))
		stays.stop()
		back.stop()
	}
}

// liveOr reads $live, if that comes, and then an event of a type.
func (rd *reader) liveOr(kind string) sse.Event {
	rd.t.Helper()
	e := rd.next()
	if e.Type == "$live" {
		e = rd.next()
	}
	if e.Type != kind {
		rd.t.Fatalf("got %s %s, want %s", e.Type, e.Data, kind)
	}
	return e
}

// Whatever ends a consumer, the stream may be another one by then: every new beginning looks when it was created. The consumer is
// deleted first, which hides the cause; and when only that happened, nothing is told.
func TestPitfall02_CauseOfAResetIsLookedFor(t *testing.T) {
	p := newPit(t, streamA(), nil)
	rd := p.open("/all", "")
	rd.want("$ready")
	for range 3 {
		p.deleteConsumers("A")
		p.put("a.one", 1)
		rd.seq()
		p.deleteConsumers("A")
		p.remove("A")
		p.create(streamA())
		p.put("a.one", 3)
		rd.gap("reset")
		rd.seqs(1, 3)
	}
}

// The leader changes, again and again, while a client catches up from history over replicas that may lag.
func TestPitfall03_LeaderChangesInACatchUp(t *testing.T) {
	members, url := cluster(t)
	w := newWorld(t, url)
	p := &pit{world: w, t: t}
	p.create(streamA(func(c *jetstream.StreamConfig) { c.Replicas = 3 }))
	cfg := modelConfig(members[0].url(), routesOf([]modelRoute{streamRoute("all", "a.>", "a.>")}))
	cfg.JetStream.TailBytes = 2 << 10
	p.gw = startReplica(t, cfg).ready()
	const n = 1500
	for range n {
		eventually(t, "room", func() bool { return w.publish("A", "a.one", strings.Repeat("x", 500)) == nil })
	}
	last := w.lastOf("A")
	rd := p.open("/all?since=1h", "")
	rd.want("$ready")
	for at := uint64(1); at <= last; {
		w.stepDown(t.Context(), "STREAM.LEADER.STEPDOWN.A")
		to := min(last, at+last/4)
		rd.seqs(at, to)
		at = to + 1
	}
	rd.want("$live")
	w.mustEventually("a.one")
	rd.seqs(last+1, last+1)
}

func (w *world) mustEventually(subject string) {
	w.t.Helper()
	eventually(w.t, "a leader", func() bool { return w.publish("A", subject, "after") == nil })
}

// The same silence has several causes: there is nothing more, there are no direct gets, there is no stream.
func TestPitfall04_NothingMoreOrNothingThere(t *testing.T) {
	for _, direct := range []bool{true, false} {
		p := newPit(t, streamA(func(c *jetstream.StreamConfig) { c.AllowDirect = direct }),
			func(_ *server.Options, c *config.Config) {
				c.JetStream.TailBytes, c.NATS.ConfirmTimeout = 1<<10, time.Second
			})
		p.put("a.one", 100)
		p.put("a.two", 1)
		rd := p.open("/one?since=1h", "")
		rd.want("$ready")
		rd.seqs(1, 100)
		id := rd.want("$live").ID
		caughtUp := p.open("/one", id)
		caughtUp.want("$ready")
		caughtUp.want("$live")
		p.remove("A")
		rd.gap("reset")
		eventually(t, "the refusal", func() bool {
			resp, err := http.Get("http://" + *p.gw.addr.Load() + "/one")
			if err != nil {
				return false
			}
			defer resp.Body.Close()
			return resp.StatusCode == http.StatusServiceUnavailable
		})
	}
}

// However many clients read however much history, the server has one consumer of the feed and a few of scans, and none when the gateway
// has ended. Those that a crash leaves end by themselves.
func TestPitfall05_ConsumersDoNotGrowWithClients(t *testing.T) {
	tenant := streamRoute("t", "a.{t}", "", func(r *modelRoute) { r.Path = "/t/{t}" })
	p := newPit(t, streamA(), func(_ *server.Options, c *config.Config) { c.JetStream.TailBytes = 1 << 10 }, tenant)
	for i := range 600 {
		p.put(fmt.Sprintf("a.t%d", i%60), 1)
	}
	var all []*reader
	for i := range 60 {
		all = append(all, p.open(fmt.Sprintf("/t/t%d?since=1h", i), ""))
	}
	most := 0
	for _, rd := range all {
		rd.want("$ready")
		for range 10 {
			rd.seq()
		}
		most = max(most, len(p.consumers()))
	}
	if most > 1+p.gw.cfg.JetStream.HistoryParallel {
		t.Errorf("%d consumers", most)
	}
	for _, c := range p.consumers() {
		if d := c.Config.InactiveThreshold; d <= 0 || d > time.Minute {
			t.Errorf("%s stays for %v without us", c.Name, d)
		}
	}
	p.gw.stop()
	if left := p.consumers(); len(left) > 0 {
		t.Errorf("%d consumers are left, %s among them", len(left), left[0].Name)
	}
}

func (p *pit) consumers() (list []*jetstream.ConsumerInfo) {
	p.do("list consumers", func(ctx context.Context) error {
		list = nil
		s, err := p.js.Stream(ctx, "A")
		if err != nil {
			return err
		}
		l := s.ListConsumers(ctx)
		for c := range l.Info() {
			list = append(list, c)
		}
		return l.Err()
	})
	return list
}

// A feed that began with what is new would miss what comes while it begins. It begins behind a sequence.
func TestPitfall06_NothingIsMissedWhileAFeedBegins(t *testing.T) {
	p := newPit(t, streamA(), func(_ *server.Options, c *config.Config) { c.JetStream.TailAge = 0 })
	rd := p.open("/all", "")
	id := rd.want("$ready").ID
	rd.stop()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		p.publishing(ctx, "A", 1, 2000)
	}()
	for range 3 {
		p.gw.stop()
		p.gw.start()
		p.gw.ready()
		rd := p.open("/all", id)
		rd.want("$ready")
		from, _ := cursor.Parse(id)
		rd.seqs(from[0].Seq+1, from[0].Seq+200)
		id = rd.dec.LastEventID()
		rd.stop()
	}
	cancel()
	<-done
}

// A heartbeat moves the id of an idle client forward, over what is not for it; whoever comes back with that id gets the next message. A
// client that has not been given everything is told no position behind that.
func TestPitfall10_HeartbeatsNeverPassWhatWasNotSent(t *testing.T) {
	p := newPit(t, streamA(), func(_ *server.Options, c *config.Config) { c.JetStream.TailBytes = 1 << 10 })
	p.put("a.one", 1)
	rd := p.open("/one?since=1h", "")
	rd.want("$ready")
	rd.seqs(1, 1)
	rd.want("$live")
	p.put("a.two", 500)
	before := uint64(1)
	for before < 501 {
		e, err := rd.dec.NextBlock()
		if err != nil {
			t.Fatal(err)
		}
		if !e.Silent {
			t.Fatalf("%+v", e)
		}
		if !e.HasID {
			continue
		}
		at, _ := cursor.Parse(e.ID)
		if at[0].Seq < before {
			t.Fatalf("from %d back to %d", before, at[0].Seq)
		}
		before = at[0].Seq
	}
	id := rd.dec.LastEventID()
	rd.stop()
	p.put("a.one", 1)
	back := p.open("/one", id)
	back.want("$ready")
	back.seqs(502, 502)
	// One that reads history, and is idle to its group meanwhile: every id is that of the message before it.
	slow := p.open("/all?since=1h", "")
	last := uint64(0)
	for last < 502 {
		e, err := slow.dec.NextBlock()
		if err != nil {
			t.Fatal(err)
		}
		at, _ := cursor.Parse(e.ID)
		switch {
		case e.Type == sse.Message && slow.seqOf(e) == last+1:
			last++
		case e.HasID && at[0].Seq > last:
			t.Fatalf("%+v behind message %d", e, last)
		}
	}
}

// Payloads and headers that are hard to carry in lines of text.
func TestPitfall11_PayloadsOfAllKinds(t *testing.T) {
	text := streamRoute("text", "a.>", "a.>", func(r *modelRoute) { r.Envelope = "none" })
	exact := streamRoute("exact", "a.>", "a.>", func(r *modelRoute) { r.Envelope, r.Data = "none", "base64" })
	p := newPit(t, streamA(), nil, text, exact)
	payloads := []struct{ data, text string }{
		{"a\rb", "a\nb"}, {"a\nb\r\nc", "a\nb\nc"}, {"\n\n", "\n\n"}, {"a\x00b", "a\x00b"}, {"\xff\xfeok", "\uFFFD\uFFFDok"}, {"", ""},
		{"data: x\n\nid: 9", "data: x\n\nid: 9"}, {strings.Repeat("m", 1<<20), strings.Repeat("m", 1<<20)},
	}
	lines, bytesOf := p.open("/text", ""), p.open("/exact", "")
	lines.want("$ready")
	bytesOf.want("$ready")
	for i, pl := range payloads {
		m := nats.NewMsg("a.one")
		m.Data = []byte(pl.data)
		for h := range 100 {
			if len(pl.data) < 1<<10 {
				m.Header.Set(fmt.Sprintf("X-%d", h), strings.Repeat("v", 50))
			}
		}
		if len(m.Header) == 0 {
			m.Header = nil
		}
		if _, err := p.js.PublishMsg(t.Context(), m); err != nil {
			t.Fatal(err)
		}
		if e := lines.want("message"); e.Data != pl.text {
			t.Errorf("payload %d: %d bytes of text", i, len(e.Data))
		}
		e := bytesOf.want("message")
		if got, err := base64.StdEncoding.DecodeString(e.Data); err != nil || !bytes.Equal(got, m.Data) {
			t.Errorf("payload %d: %d bytes: %v", i, len(got), err)
		}
	}
}

// Sequences jump for many reasons. What was removed in the middle is no gap; what was removed at the beginning is one for whoever has
// not had it.
func TestPitfall12_SequencesJump(t *testing.T) {
	p := newPit(t, streamA(func(c *jetstream.StreamConfig) {
		c.MaxMsgsPerSubject, c.AllowMsgTTL, c.SubjectDeleteMarkerTTL = 2, true, time.Hour
	}), func(_ *server.Options, c *config.Config) { c.JetStream.TailBytes = 1 }) // memory still has what was removed
	rd := p.open("/all", "")
	begin := rd.want("$ready").ID
	p.put("a.keep", 1) // 1
	p.put("a.one", 5)  // 2 to 6, of which 5 and 6 stay
	p.put("a.two", 2)  // 7, 8
	rd.seqs(1, 8)      // whoever is connected gets them all
	p.purge("A", "a.two", 0)
	p.put("a.one", 1) // 9, and 5 goes
	rd.seqs(9, 9)
	back := p.open("/all", begin)
	back.want("$ready")
	for _, want := range []uint64{1, 6, 9} {
		if got := back.seq(); got != want {
			t.Fatalf("got %d, want %d", got, want)
		}
	}
	p.purge("A", "", 1)           // only 9 is left
	late := p.open("/one", begin) // of which nothing has been read yet
	late.want("$ready")
	if g := late.gap("expired"); !strings.Contains(g, `"from":1,"to":8`) {
		t.Errorf("$gap %s", g)
	}
	late.seqs(9, 9)
	m := nats.NewMsg("a.short")
	m.Header.Set("Nats-TTL", "1s")
	if _, err := p.js.PublishMsg(t.Context(), m); err != nil { // 10, which goes by itself
		t.Fatal(err)
	}
	rd.seqs(10, 10)
	p.put("a.one", 1)
	if got := rd.seq(); got < 11 { // behind a marker, or not
		t.Fatalf("got %d behind 10", got)
	}
}

// NATS removes a consumer that nobody has pulled from for longer than its threshold, as in an outage of the connection. It is made
// again behind what was read.
func TestPitfall13_TheOutageIsLongerThanTheThreshold(t *testing.T) {
	p := newPit(t, streamA(func(c *jetstream.StreamConfig) { c.ConsumerLimits.InactiveThreshold = 500 * time.Millisecond }),
		func(_ *server.Options, c *config.Config) { c.NATS.ReconnectWait = 2 * time.Second })
	rd := p.open("/all", "")
	rd.want("$ready")
	p.put("a.one", 1)
	rd.seqs(1, 1)
	kicked := 0
	conns, err := p.ns.NATS().Connz(nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range conns.Conns {
		if strings.Contains(c.Name, "feed") {
			kicked++
			if err := p.ns.NATS().DisconnectClientByID(c.Cid); err != nil {
				t.Fatal(err)
			}
		}
	}
	if kicked != 1 {
		t.Fatalf("%d connections of feeds", kicked)
	}
	p.put("a.one", 3)
	eventually(t, "the consumer to go", func() bool { return len(p.consumers()) == 0 })
	rd.seqs(2, 4)
	p.put("a.one", 1)
	rd.seqs(5, 5)
}

// A stream in memory is gone when its server restarts, and whoever makes it again begins at 1. That is a reset, and never silence.
func TestPitfall14_MemoryStreamAfterARestart(t *testing.T) {
	inMemory := streamA(func(c *jetstream.StreamConfig) { c.Storage = jetstream.MemoryStorage })
	p := newPit(t, inMemory, nil)
	rd := p.open("/all", "")
	rd.want("$ready")
	p.put("a.one", 5)
	rd.seqs(1, 5)
	id := rd.dec.LastEventID()
	if err := p.ns.Restart(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the publisher", p.nc.IsConnected)
	p.create(inMemory)
	p.put("a.one", 7)
	rd.gap("reset")
	rd.seqs(1, 7)
	back := p.open("/all", id)
	back.want("$ready")
	back.gap("reset")
	back.seqs(1, 7)
}

// The subject that tells a message's sequence has more tokens where JetStream has a domain.
func TestPitfall15_StreamOfADomain(t *testing.T) {
	p := newPit(t, streamA(), func(o *server.Options, c *config.Config) {
		o.JetStreamDomain, c.JetStream.Domain, c.JetStream.TailBytes = "hub", "hub", 1<<10
	})
	p.put("a.one", 50)
	rd := p.open("/all?since=1h", "")
	rd.want("$ready")
	rd.seqs(1, 50)
	rd.want("$live")
	p.put("a.one", 1)
	rd.seqs(51, 51)
}
