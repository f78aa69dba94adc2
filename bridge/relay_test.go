package bridge

import (
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"headgate/internal/cursor"
	"headgate/internal/devnats"
	"headgate/internal/flow"
)

func TestOpen_NothingPublishedAfterItReturnsIsMissed(t *testing.T) {
	s := startNATS(t, devnats.Options{})
	r := connectedBridge(t, testNATS(s.URL()), 0)
	nc := publisherOf(t, s.URL())
	for i := range 50 {
		sink, src, _ := r.follow(request("", fmt.Sprintf("a.%d", i)))
		publish(t, nc, fmt.Sprintf("a.%d", i), "x")
		sink.waitFor(t, "x")
		src.Close()
	}
}

func TestTopic_IsSharedByAllWhoFollowIt(t *testing.T) {
	s := startNATS(t, devnats.Options{})
	r := connectedBridge(t, testNATS(s.URL()), 0)
	nc := publisherOf(t, s.URL())
	before := s.NATS().NumSubscriptions()
	var sinks []*recorder
	for range 20 {
		sink, _, _ := r.follow(request("", "a.*"))
		sinks = append(sinks, sink)
	}
	if n := s.NATS().NumSubscriptions(); n != before+1 {
		t.Fatalf("%d upstream subscriptions", n-before)
	}
	publish(t, nc, "a.b", "x")
	publish(t, nc, "a.c", "y")
	for _, sink := range sinks {
		sink.waitFor(t, "x", "y")
	}
	if n := r.metric("headgate_nats_messages_total"); n != 2 {
		t.Fatalf("%v messages from NATS", n)
	}
	f := sinks[0].all()[0].Frame
	for _, sink := range sinks {
		if sink.all()[0].Frame != f {
			t.Fatal("the message was encoded more than once")
		}
	}
}

func TestFormats_EachIsEncodedForThoseWhoUseIt(t *testing.T) {
	s := startNATS(t, devnats.Options{})
	r := connectedBridge(t, testNATS(s.URL()), 0)
	nc := publisherOf(t, s.URL())
	json, envelope := plain, plain
	json.Data = "json"
	envelope.Envelope, envelope.IDs = "headgate", true
	follow := func(f flow.Format) (*recorder, cursor.Position) {
		req := request("", "a")
		req.Format = f
		sink, _, p := r.follow(req)
		return sink, p
	}
	text, _ := follow(plain)
	checked, _ := follow(json)
	wrapped, pos := follow(envelope)
	publish(t, nc, "a", "no json")
	publish(t, nc, "a", "{}")
	text.waitFor(t, "no json", "{}")
	checked.waitFor(t, "$gap invalid true s", "{}")
	eventually(t, "two envelopes", func() bool { return len(wrapped.all()) == 2 })
	for i, e := range wrapped.all() {
		if id := `"id":"` + at(pos, e) + `"`; !strings.Contains(wrapped.texts()[i], id) {
			t.Fatalf("no %s in %s", id, wrapped.texts()[i])
		}
	}
	if n := r.metric("headgate_gaps_total", "invalid"); n != 1 {
		t.Fatalf("counted %v", n)
	}
	if !strings.Contains(r.log.String(), "not JSON") {
		t.Fatalf("no line in the log: %s", r.log)
	}
}

func TestTooLarge_BecomesAGap(t *testing.T) {
	s := startNATS(t, devnats.Options{})
	r := connectedBridge(t, testNATS(s.URL()), 0)
	nc := publisherOf(t, s.URL())
	req := request("", "a")
	req.Format.MaxBytes = 3
	sink, _, pos := r.follow(req)
	publish(t, nc, "a", "abc")
	publish(t, nc, "a", "abcd")
	sink.waitFor(t, "abc", "$gap too-large true s")
	req.Cursor = at(pos, sink.all()[0])
	if _, got, _ := r.resumed(req); len(got) != 1 || got[0] != "$gap too-large true s" {
		t.Fatalf("a reader of the ring got %q", got)
	}
}

func TestEventType_FromHeaderIsUsedAndBadOnesAreCounted(t *testing.T) {
	s := startNATS(t, devnats.Options{})
	r := connectedBridge(t, testNATS(s.URL()), 0)
	nc := publisherOf(t, s.URL())
	sink, _, _ := r.follow(request("", "a"))
	for _, kind := range []string{"price", "$end", "open"} {
		m := nats.NewMsg("a")
		m.Header.Set("Sse-Event", kind)
		m.Data = []byte("x")
		if err := nc.PublishMsg(m); err != nil {
			t.Fatal(err)
		}
	}
	sink.waitFor(t, "price: x", "x", "x")
	if n := r.metric("headgate_event_types_replaced_total"); n != 2 {
		t.Fatalf("counted %v", n)
	}
}

func TestOverlap_IsDeliveredOnceToTheFirst(t *testing.T) {
	s := startNATS(t, devnats.Options{})
	for _, conns := range []int{1, 4} {
		t.Run(fmt.Sprint(conns, " connections"), func(t *testing.T) {
			cfg := testNATS(s.URL())
			cfg.DataConnections = conns
			r := connectedBridge(t, cfg, 0)
			nc := publisherOf(t, s.URL())
			req := flow.Request{Format: plain, Sources: []flow.Spec{
				{Name: "one", Subjects: []string{"orders.eu.*", "orders.*.big"}},
				{Name: "two", Subjects: []string{"orders.>", "other"}},
				{Name: "three", Subjects: []string{"other"}},
			}}
			sink, _, _ := r.follow(req)
			for _, subj := range []string{"orders.eu.big", "orders.eu.small", "orders.us.big", "orders.us.small", "other"} {
				publish(t, nc, subj, subj)
			}
			eventually(t, "five events", func() bool { return len(sink.all()) >= 5 })
			eventually(t, "all copies to pass", func() bool { return r.metric("headgate_nats_messages_total") == 3+2+2+1+1 })
			seen := map[string]int{}
			for _, text := range sink.texts() {
				seen[text]++
			}
			if len(seen) != 5 || len(sink.all()) != 5 {
				t.Fatalf("got %v", seen)
			}
		})
	}
}

func TestInternalSubjects_AreNotRelayed(t *testing.T) {
	s := startNATS(t, devnats.Options{})
	r := connectedBridge(t, testNATS(s.URL()), 0)
	nc := publisherOf(t, s.URL())
	sink, _, _ := r.follow(request("", ">"))
	publish(t, nc, "_INBOX.x", "secret")
	publish(t, nc, "$KV.b.k", "secret")
	publish(t, nc, "a", "open")
	sink.waitFor(t, "open")
	if n := r.metric("headgate_nats_not_relayed_total"); n < 2 {
		t.Fatalf("counted %v", n)
	}
}

func TestLinger_KeepsTopicAndRingForTheNext(t *testing.T) {
	s := startNATS(t, devnats.Options{})
	cfg := testNATS(s.URL())
	cfg.TopicLinger = time.Minute
	r := connectedBridge(t, cfg, 0)
	nc := publisherOf(t, s.URL())
	sink, src, pos := r.follow(request("", "a"))
	publish(t, nc, "a", "1")
	sink.waitFor(t, "1")
	src.Close()
	publish(t, nc, "a", "2")
	publish(t, nc, "a", "3")
	eventually(t, "the ring to fill", func() bool { return r.metric("headgate_nats_messages_total") == 3 })
	start, got, _ := r.resumed(request(at(pos, sink.last()), "a"))
	if start != flow.Replay || strings.Join(got, " ") != "2 3" {
		t.Fatalf("%s %q", start, got)
	}
	sink.waitFor(t, "1") // nothing comes after Close
}

func TestLinger_EndsTopicAndSubscription(t *testing.T) {
	s := startNATS(t, devnats.Options{})
	r := connectedBridge(t, testNATS(s.URL()), 0)
	before := s.NATS().NumSubscriptions()
	var sources []flow.Source
	for i := range 300 {
		_, src, _ := r.follow(request("", fmt.Sprintf("a.%d", i)))
		sources = append(sources, src)
	}
	if n := r.metric("headgate_nats_topics"); n != 300 {
		t.Fatalf("%v topics", n)
	}
	for _, src := range sources {
		src.Close()
		src.Close() // a second one does nothing
	}
	eventually(t, "the topics to go", func() bool { return r.metric("headgate_nats_topics") == 0 })
	eventually(t, "the subscriptions to go", func() bool { return s.NATS().NumSubscriptions() == before })
}

func TestClose_NoPushComesAfterIt(t *testing.T) {
	s := startNATS(t, devnats.Options{})
	r := connectedBridge(t, testNATS(s.URL()), 0)
	nc := publisherOf(t, s.URL())
	stop := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
				nc.Publish("a", []byte("x"))
				nc.Flush()
			}
		}
	})
	defer wg.Wait()
	defer close(stop)
	for range 200 {
		o := r.open(request("", "a"))
		var mu sync.Mutex
		closed := false
		late := false
		sink := &recorder{hook: func() {
			mu.Lock()
			late = late || closed
			mu.Unlock()
		}}
		o.Source.Attach(sink)
		eventually(t, "a message", func() bool { return len(sink.all()) > 0 })
		o.Source.Close()
		mu.Lock()
		closed = true
		mu.Unlock()
		n := len(sink.all())
		if mu.Lock(); late || len(sink.all()) != n {
			t.Fatal("pushed after Close")
		}
		mu.Unlock()
	}
}

func TestProgress_MovesWithOtherTopicsOfTheConnection(t *testing.T) {
	s := startNATS(t, devnats.Options{})
	r := connectedBridge(t, testNATS(s.URL()), 0)
	nc := publisherOf(t, s.URL())
	_, src, pos := r.follow(request("", "quiet"))
	busy, _, _ := r.follow(request("", "busy"))
	publish(t, nc, "busy", "x")
	busy.waitFor(t, "x")
	p := append(cursor.Position(nil), pos...)
	eventually(t, "the position to move", func() bool { src.Progress(p); return p[0].Seq > pos[0].Seq })
	start, got, _ := r.resumed(request(p.String(), "quiet"))
	if start != flow.Replay || len(got) != 0 {
		t.Fatalf("%s %q", start, got)
	}
}
