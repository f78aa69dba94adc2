package bridge

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"headgate/internal/cursor"
	"headgate/internal/devnats"
	"headgate/internal/flow"
)

func TestCursor_Verdicts(t *testing.T) {
	s := startNATS(t, devnats.Options{})
	cfg := testNATS(s.URL())
	cfg.TopicLinger = time.Minute
	r := connectedBridge(t, cfg, 0)
	nc := publisherOf(t, s.URL())
	ring := func(cursor string, size int, age time.Duration, subjects ...string) flow.Request {
		req := request(cursor, subjects...)
		req.Sources[0].RingSize, req.Sources[0].RingAge = size, age
		return req
	}
	sink, _, pos := r.follow(ring("", 3, time.Minute, "a"))
	for i := range 5 {
		publish(t, nc, "a", fmt.Sprint(i+1))
	}
	sink.waitFor(t, "1", "2", "3", "4", "5")
	events := sink.all()
	other := cursor.Position{{Tag: cursor.MakeTag("another replica"), Seq: 3}}.String()
	ahead := append(cursor.Position(nil), pos...)
	ahead[0].Seq = events[4].Seq + 1000

	for _, c := range []struct {
		name, cursor string
		start        flow.Start
		want         string
	}{
		{"none", "", flow.Live, ""},
		{"malformed", "what?", flow.Live, "$gap unknown-position false s"},
		{"too long", strings.Repeat("1", 300), flow.Live, "$gap unknown-position false s"},
		{"of another replica", other, flow.Live, "$gap unknown-position false s"},
		{"ahead of us", ahead.String(), flow.Live, "$gap unknown-position false s"},
		{"of the last event", at(pos, events[4]), flow.Replay, ""},
		{"within the ring", at(pos, events[2]), flow.Replay, "4|5"},
		{"at the edge of the ring", at(pos, events[1]), flow.Replay, "3|4|5"},
		{"evicted from the ring", at(pos, events[0]), flow.Replay, "$gap expired true s|3|4|5"},
	} {
		t.Run(c.name, func(t *testing.T) {
			start, got, _ := r.resumed(ring(c.cursor, 3, time.Minute, "a"))
			if start != c.start || strings.Join(got, "|") != c.want {
				t.Fatalf("%s %q", start, got)
			}
		})
	}

	t.Run("before the subscription of a new topic", func(t *testing.T) {
		// The position is known, but nobody was subscribed to b at that time.
		start, got, _ := r.resumed(ring(at(pos, events[2]), 3, time.Minute, "b"))
		if start != flow.Replay || strings.Join(got, "|") != "$gap unknown-position false s" {
			t.Fatalf("%s %q", start, got)
		}
	})
	t.Run("behind the gap the ring still replays", func(t *testing.T) {
		publish(t, nc, "b", "b1")
		eventually(t, "the message", func() bool { return r.metric("headgate_nats_messages_total") == 6 })
		_, got, _ := r.resumed(ring(at(pos, events[2]), 3, time.Minute, "b"))
		if strings.Join(got, "|") != "$gap unknown-position false s|b1" {
			t.Fatalf("%q", got)
		}
	})
	t.Run("several topics in the order of arrival", func(t *testing.T) {
		publish(t, nc, "a", "6")
		publish(t, nc, "b", "b2")
		eventually(t, "the messages", func() bool { return r.metric("headgate_nats_messages_total") == 8 })
		// The hole has the number of the last message before the subscription: it must not come before that.
		_, got, _ := r.resumed(ring(at(pos, events[2]), 3, time.Minute, "b", "a"))
		if strings.Join(got, "|") != "4|5|$gap unknown-position false s|b1|6|b2" {
			t.Fatalf("%q", got)
		}
	})
	t.Run("without ring nothing is replayed", func(t *testing.T) {
		start, got, _ := r.resumed(ring(at(pos, events[2]), 0, 0, "a"))
		if start != flow.Live || strings.Join(got, "|") != "$gap unknown-position false s" {
			t.Fatalf("%s %q", start, got)
		}
	})
	if n := r.metric("headgate_gaps_total", "expired"); n != 1 {
		t.Fatalf("counted %v expired", n)
	}
}

func TestRing_IsFreedWhenItIsOld(t *testing.T) {
	s := startNATS(t, devnats.Options{})
	cfg := testNATS(s.URL())
	cfg.TopicLinger = time.Minute
	r := connectedBridge(t, cfg, 0)
	nc := publisherOf(t, s.URL())
	req := request("", "a")
	req.Sources[0].RingAge = 30 * time.Millisecond
	sink, _, pos := r.follow(req)
	publish(t, nc, "a", "1")
	publish(t, nc, "a", "2")
	sink.waitFor(t, "1", "2")
	req.Cursor = at(pos, sink.all()[0])
	eventually(t, "the ring to be emptied", func() bool {
		_, got, src := r.resumed(req)
		src.Close()
		return strings.Join(got, "|") == "$gap expired true s"
	})
	req.Cursor = at(pos, sink.all()[1])
	if _, got, _ := r.resumed(req); len(got) != 0 {
		t.Fatalf("the last event was seen, and yet %q", got)
	}
}

func TestRead_GivesPartsOfAboutTheSizeAskedFor(t *testing.T) {
	s := startNATS(t, devnats.Options{})
	r := connectedBridge(t, testNATS(s.URL()), 0)
	nc := publisherOf(t, s.URL())
	sink, src, pos := r.follow(request("", "a.*"))
	var want []string
	for i := range 40 {
		want = append(want, fmt.Sprintf("%03d", i))
		publish(t, nc, fmt.Sprintf("a.%d", i%3), want[i])
	}
	sink.waitFor(t, want...)
	to := append(cursor.Position(nil), pos...)
	to[0].Seq = sink.last().Seq
	frame := sink.last().Frame.Len()
	var part flow.Batch
	src.Read(flow.Ask{From: pos, To: to, MaxBytes: 3 * frame}, func(b flow.Batch) { part = b })
	if part.Done || len(part.Events) != 3 {
		t.Fatalf("%d events, done %v", len(part.Events), part.Done)
	}
	if got := texts(readAll(t, src, pos, to, 3*frame)); strings.Join(got, "|") != strings.Join(want, "|") {
		t.Fatalf("got %q", got)
	}
	src.Close()
	src.Read(flow.Ask{From: pos, To: to, MaxBytes: 1}, func(b flow.Batch) { part = b })
	if part.Err == nil {
		t.Fatal("a closed source reads")
	}
}

func TestRead_MergesConnectionsByArrival(t *testing.T) {
	s := startNATS(t, devnats.Options{})
	cfg := testNATS(s.URL())
	cfg.DataConnections = 3
	r := connectedBridge(t, cfg, 0)
	nc := publisherOf(t, s.URL())
	var subjects, want []string
	for i := range 8 {
		subjects = append(subjects, fmt.Sprintf("m.%d", i))
	}
	sink, src, pos := r.follow(request("", subjects...))
	if len(pos) < 2 {
		t.Skipf("all subjects on one of 3 connections")
	}
	for i := range 30 {
		want = append(want, fmt.Sprint(i))
		publish(t, nc, subjects[i%8], want[i])
		eventually(t, "the event", func() bool { return len(sink.all()) == i+1 })
	}
	to := append(cursor.Position(nil), pos...)
	src.Progress(to)
	for _, size := range []int{1, 1 << 20} {
		if got := texts(readAll(t, src, pos, to, size)); strings.Join(got, "|") != strings.Join(want, "|") {
			t.Fatalf("got %q", got)
		}
	}
	// A cursor knows only some of the connections: those start live, with a gap, and the others replay.
	partial := append(cursor.Position(nil), pos[1:]...)
	start, got, _ := r.resumed(request(partial.String(), subjects...))
	if start != flow.Replay || got[0] != "$gap unknown-position false s" || len(got) < 2 || len(got) > 30 {
		t.Fatalf("%s %q", start, got)
	}
}
