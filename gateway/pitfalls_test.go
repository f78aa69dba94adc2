package gateway_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go/jetstream"

	"headgate/internal/config"
	"headgate/internal/cursor"
	"headgate/internal/devnats"
	"headgate/internal/sse"
)

// The pitfalls of reading streams for others, with clients on real sockets: docs/pitfalls.md. Those of core subjects, 7 to 9, are in
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
	ns, err := devnats.Start(devnats.Options{JetStream: true, NextFree: true, Port: modelPort(), Configure: func(o *server.Options) { change(o, &config.Config{}) }})
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
	t.Parallel()
	p := newPit(t, streamA(), nil)
	p.put("a.one", 10)
	for _, n := range []int{5, 5, 8, 3, 3, 20} { // fewer, as many, more, and once more
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
	t.Parallel()
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
	t.Parallel()
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
	w.mustEventually("a.one")
	rd.seqs(last+1, last+1)
}

func (w *world) mustEventually(subject string) {
	w.t.Helper()
	eventually(w.t, "a leader", func() bool { return w.publish("A", subject, "after") == nil })
}

// The same silence has several causes: there is nothing more, there are no direct gets, there is no stream, or nobody answers. Of the
// last nothing is told: what was asked for comes when somebody does.
func TestPitfall04_NothingMoreOrNothingThere(t *testing.T) {
	t.Parallel()
	for _, direct := range []bool{true, false} {
		p := newPit(t, streamA(func(c *jetstream.StreamConfig) { c.AllowDirect = direct }),
			func(_ *server.Options, c *config.Config) {
				c.JetStream.TailBytes, c.NATS.ConfirmTimeout = 1<<10, time.Second
			})
		p.put("a.one", 100)
		p.put("a.two", 1)
		rd := p.open("/one?since=1h", "")
		begin := rd.want("$ready").ID
		rd.seqs(1, 100)
		id := rd.dec.LastEventID()
		caughtUp := p.open("/one", id)
		caughtUp.want("$ready")
		caughtUp.want("$live")
		p.ns.Stop()
		nobody := p.open("/all", begin) // of which nothing has been read yet
		nobody.want("$ready")
		for range 2 {
			if e, err := nobody.dec.NextBlock(); err != nil || !e.Silent {
				t.Fatalf("%+v, %v while nobody answers", e, err)
			}
		}
		restart(t, p.ns)
		nobody.seqs(1, 101)
		nobody.want("$live")
		p.remove("A")
		rd.liveOr("$gap")
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
	t.Parallel()
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
	t.Parallel()
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
