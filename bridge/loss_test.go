package bridge

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"

	"headgate/internal/devnats"
	"headgate/internal/flow"
)

// Pitfall 8: the channel of a connection is full, and only the topics whose messages were dropped are told.
func TestPitfall08_OverflowIsToldToExactlyTheTopicsHit(t *testing.T) {
	const room = 16
	s := startNATS(t, devnats.Options{})
	cfg := testNATS(s.URL())
	cfg.PendingMsgs = room
	r := connectedBridge(t, cfg, 0)
	nc := publisherOf(t, s.URL())
	entered, gate := make(chan struct{}, 1), make(chan struct{})
	filling := &recorder{hook: func() {
		select {
		case entered <- struct{}{}:
		default:
		}
		<-gate
	}}
	r.open(request("", "filling")).Source.Attach(filling)
	hit, _, pos := r.follow(request("", "hit"))
	hitToo, _, _ := r.follow(request("", "hit"))
	spared, _, _ := r.follow(request("", "spared"))

	publish(t, nc, "hit", "0")
	hit.waitFor(t, "0")
	publish(t, nc, "filling", "first")
	<-entered // the loop is stuck in this Push from now on
	want := []string{"first"}
	for i := range room {
		want = append(want, fmt.Sprint(i))
		publish(t, nc, "filling", want[i+1])
	}
	for range 10 {
		publish(t, nc, "hit", "lost")
	}
	// Everything has reached nats.go when an answer has come back the same way.
	if _, err := r.Open(t.Context(), request("", "elsewhere")); err != nil {
		t.Fatal(err)
	}
	close(gate)
	filling.waitFor(t, want...)
	hit.waitFor(t, "0", "$gap overflow true s")
	publish(t, nc, "hit", "1")
	publish(t, nc, "spared", "x")
	hit.waitFor(t, "0", "$gap overflow true s", "1")
	hitToo.waitFor(t, "0", "$gap overflow true s", "1")
	spared.waitFor(t, "x")
	filling.waitFor(t, want...)
	if n := r.metric("headgate_nats_dropped_total"); n != 10 {
		t.Fatalf("counted %v dropped", n)
	}
	if n := strings.Count(r.log.String(), "messages lost between NATS and headgate"); n != 1 {
		t.Fatalf("%d lines in the log", n)
	}
	_, got, _ := r.resumed(request(at(pos, hit.all()[0]), "hit"))
	if strings.Join(got, "|") != "$gap unknown-position false s|1" {
		t.Fatalf("a cursor from before the loss: %q", got)
	}
}

// TestOverflow_EveryHoleIsTold publishes far more than fits while the sink is slow. A gap covers the holes among the messages that
// waited when it was told: so there must be one before each hole, not further back than the channel is long, and where the end was
// lost, a gap is the last thing.
func TestOverflow_EveryHoleIsTold(t *testing.T) {
	s := startNATS(t, devnats.Options{})
	cfg := testNATS(s.URL())
	cfg.PendingMsgs = 8
	r := connectedBridge(t, cfg, 0)
	nc := publisherOf(t, s.URL())
	const topics, messages = 3, 4000
	var sinks [topics]*recorder
	for i := range topics {
		sinks[i] = &recorder{hook: func() { time.Sleep(30 * time.Microsecond) }}
		r.open(request("", fmt.Sprint("t.", i))).Source.Attach(sinks[i])
	}
	for n := range messages {
		if err := nc.Publish(fmt.Sprint("t.", n%topics), []byte(fmt.Sprint(n/topics))); err != nil {
			t.Fatal(err)
		}
	}
	if err := nc.Flush(); err != nil {
		t.Fatal(err)
	}
	for i := range topics {
		end := fmt.Sprint((messages - 1 - i) / topics)
		eventually(t, "the end to be told", func() bool {
			got := sinks[i].texts()
			return len(got) > 0 && (got[len(got)-1] == end || strings.HasPrefix(got[len(got)-1], "$gap"))
		})
		next, since, gaps := 0, cfg.PendingMsgs+1, 0
		for _, text := range sinks[i].texts() {
			if strings.HasPrefix(text, "$gap overflow") {
				since = 0
				gaps++
				continue
			}
			var n int
			fmt.Sscan(text, &n)
			if n < next || n != next && since > cfg.PendingMsgs {
				t.Fatalf("topic %d: %d follows %d, the last gap %d messages before", i, n, next-1, since)
			}
			next = n + 1
			since++
		}
		if holes := messages / topics; gaps > holes {
			t.Fatalf("%d gaps", gaps)
		}
	}
	if r.metric("headgate_nats_dropped_total") == 0 {
		t.Fatal("nothing was lost: the test shows nothing")
	}
}

// userWith is a server configuration with one user who may subscribe to and publish on these.
func userWith(subscribe, publish []string) func(*server.Options) {
	return func(o *server.Options) {
		o.Users = []*server.User{
			{Username: "gate", Password: "s3cret-pass", Permissions: &server.Permissions{
				Subscribe: &server.SubjectPermission{Allow: subscribe},
				Publish:   &server.SubjectPermission{Allow: publish},
			}},
			{Username: "admin", Password: "admin"},
		}
	}
}

func TestRefused_BeforeReadyFailsTheOpen(t *testing.T) {
	s := startNATS(t, devnats.Options{Configure: userWith([]string{"open.>"}, []string{"open.>"})})
	cfg := testNATS(s.URL())
	cfg.User, cfg.Password = "gate", "s3cret-pass"
	r := connectedBridge(t, cfg, 0)
	for range 20 {
		if _, err := r.Open(t.Context(), request("", "open.a", "closed.a")); !errors.Is(err, flow.ErrRefused) {
			t.Fatalf("got %v", err)
		}
	}
	nc := publisherOf(t, s.URL(), nats.UserInfo("admin", "admin"))
	sink, _, _ := r.follow(request("", "open.a"))
	publish(t, nc, "open.a", "x")
	sink.waitFor(t, "x")
	if n := r.metric("headgate_nats_refused_total", "data-0"); n < 20 {
		t.Fatalf("counted %v", n)
	}
}

func TestRefused_LaterIsAGapAndHeals(t *testing.T) {
	s := startNATS(t, devnats.Options{Configure: userWith([]string{"a", "b"}, nil)})
	cfg := testNATS(s.URL())
	cfg.User, cfg.Password = "gate", "s3cret-pass"
	r := connectedBridge(t, cfg, 0)
	nc := publisherOf(t, s.URL(), nats.UserInfo("admin", "admin"))
	hit, _, _ := r.follow(request("", "a"))
	spared, _, _ := r.follow(request("", "b"))
	publish(t, nc, "a", "1")
	hit.waitFor(t, "1")
	if err := s.Reload(userWith([]string{"b"}, nil)); err != nil {
		t.Fatal(err)
	}
	hit.waitFor(t, "1", reconnectGap)
	publish(t, nc, "a", "unseen")
	publish(t, nc, "b", "2")
	spared.waitFor(t, "2")
	if _, err := r.Open(t.Context(), request("", "a")); !errors.Is(err, flow.ErrRefused) {
		t.Fatalf("Open of a refused topic: %v", err)
	}
	if err := s.Reload(userWith([]string{"a", "b"}, nil)); err != nil {
		t.Fatal(err)
	}
	hit.waitFor(t, "1", reconnectGap, reconnectGap) // one when it began, one behind all that is missing
	publish(t, nc, "a", "3")
	hit.waitFor(t, "1", reconnectGap, reconnectGap, "3")
	spared.waitFor(t, "2")
}

func TestLimit_EvictsIdleTopicsAndThenRefuses(t *testing.T) {
	s := startNATS(t, devnats.Options{})
	for _, conns := range []int{1, 3} {
		cfg := testNATS(s.URL())
		cfg.TopicLinger = time.Hour
		cfg.DataConnections = conns
		r := connectedBridge(t, cfg, 10)
		var sources []flow.Source
		for i := range 10 {
			sources = append(sources, r.open(request("", fmt.Sprint("a.", i))).Source)
		}
		if _, err := r.Open(t.Context(), request("", "b.0")); !errors.Is(err, flow.ErrTopics) {
			t.Fatalf("got %v", err)
		}
		r.open(request("", "a.3")) // those that are there are open to everybody
		sources[5].Close()
		sources[7].Close()
		r.open(request("", "b.1"))
		r.open(request("", "a.7")) // a.5 went first, as it was idle for longer
		if _, err := r.Open(t.Context(), request("", "b.2")); !errors.Is(err, flow.ErrTopics) {
			t.Fatalf("got %v", err)
		}
		if n := r.metric("headgate_nats_topics"); n != 10 {
			t.Fatalf("%v topics", n)
		}
	}
}

func TestOpen_GivesBackWhatItTookWhenItFails(t *testing.T) {
	s := startNATS(t, devnats.Options{})
	cfg := testNATS(s.URL())
	cfg.TopicLinger = time.Millisecond
	r := connectedBridge(t, cfg, 3)
	if _, err := r.Open(t.Context(), request("", "a", "b", "c", "d")); !errors.Is(err, flow.ErrTopics) {
		t.Fatalf("got %v", err)
	}
	eventually(t, "the topics to go", func() bool { return r.metric("headgate_nats_topics") == 0 })
	for _, bad := range []string{"", "a..b", "a b", "a.>.b", "$SYS.>", "_INBOX.x", strings.Repeat("x", 5000)} {
		if _, err := r.Open(t.Context(), request("", bad)); !errors.Is(err, flow.ErrRefused) {
			t.Fatalf("%.20q: %v", bad, err)
		}
	}
}
