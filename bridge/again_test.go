package bridge

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"headgate/internal/config"
	"headgate/internal/cursor"
	"headgate/internal/devnats"
	"headgate/internal/flow"
)

// A client in the middle of what it missed is told what of the old stream it has not had before its position passes that, and then that
// the stream was made again.
func TestReplay_OfAStreamThatIsMadeAgain(t *testing.T) {
	for name, wait := range map[string]bool{"at once": false, "later": true} {
		t.Run(name, func(t *testing.T) {
			w := newStateWorld(t, 3000)
			tag := w.read(w.open(flow.Spec{}, flow.Format{}, "")).to[0].Tag
			s := w.read(w.open(flow.Spec{}, flow.Format{}, cursor.Position{{Tag: tag, Seq: 1}}.String()))
			for s.count("data: 0") == 0 {
				s.step()
			}
			if err := w.js.DeleteStream(t.Context(), "S"); err != nil {
				t.Fatal(err)
			}
			if wait {
				eventually(t, "the feed to notice", func() bool { return strings.Contains(w.r.log.String(), "may be missing") })
			}
			w.make(5)
			eventually(t, "the new messages", func() bool { return strings.Count(strings.Join(s.live.texts(), " "), "000") >= 5 })
			s.finish()
			again := 0
			for _, text := range s.live.texts() {
				if strings.HasPrefix(text, "$gap reset") {
					again++
				}
			}
			if rest := s.count(`"reason":"reset","certain":false,"source":"s","from":`); rest != 1 || again != 1 {
				t.Errorf("told %d times of the rest, %d times of the new one: %q, then %q", rest, again, s.got[len(s.got)-1], s.live.texts())
			}
		})
	}
}

// Of a stream that is deleted, and not made again, a client in the middle of what it missed is told the same, and it hears of the end.
func TestReplay_OfAStreamThatIsDeleted(t *testing.T) {
	w := newStateWorld(t, 9000) // more than is read ahead
	tag := w.read(w.open(flow.Spec{}, flow.Format{}, "")).to[0].Tag
	s := w.read(w.open(flow.Spec{}, flow.Format{}, cursor.Position{{Tag: tag, Seq: 1}}.String()))
	for s.count("data: 0") == 0 {
		s.step()
	}
	if err := w.js.DeleteStream(t.Context(), "S"); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the feed to notice", func() bool { return strings.Contains(w.r.log.String(), "may be missing") })
	s.finish()
	if n := s.count(`"reason":"reset","certain":false,"source":"s","from":`); n != 1 {
		t.Errorf("told %d times: %q", n, s.got[len(s.got)-1])
	}
}

// A stream that has just been made is found by the first request for it.
func TestOpen_RightBehindTheCreationOfAStream(t *testing.T) {
	ns := startNATS(t, devnats.Options{JetStream: true})
	js := ok[jetstream.JetStream](t)(jetstream.New(publisherOf(t, ns.URL())))
	r := bridgeOf(t, ns.URL(), config.DefaultConfig().JetStream.TailBytes, config.Source{Name: "s", Type: "stream", Stream: "S", Subject: "s.{id}"})
	format := plain
	format.IDs = true
	req := flow.Request{Format: format, Sources: []flow.Spec{{Name: "s", Kind: flow.Stream, Stream: "S", Subjects: []string{"s.1"}}}}
	for range 3 {
		if _, err := r.Open(t.Context(), req); !errors.Is(err, flow.ErrMissing) {
			t.Fatal(err)
		}
		time.Sleep(150 * time.Millisecond) // of the second until the feed looks by itself
		ok[jetstream.Stream](t)(js.CreateStream(t.Context(), jetstream.StreamConfig{Name: "S", Subjects: []string{"s.>"}}))
		began := time.Now()
		r.open(req).Source.Close()
		if took := time.Since(began); took > 500*time.Millisecond {
			t.Errorf("it took %v", took)
		}
		if err := js.DeleteStream(t.Context(), "S"); err != nil {
			t.Fatal(err)
		}
		eventually(t, "the feed to notice", func() bool {
			_, err := r.Open(t.Context(), req)
			return errors.Is(err, flow.ErrMissing)
		})
	}
}

func TestFinished_AlsoWhereTheEndIsOnlyInMemoryOrBeforeSince(t *testing.T) {
	w := newStateWorld(t, 5)
	end := flow.Format{EndField: "status", EndIn: `"done"`, Data: "text", Token: -1, IDs: true}
	spec := flow.Spec{Name: "s", Kind: flow.Stream, Stream: "S", Subjects: []string{"s.1"}}
	tag := w.read(w.open(flow.Spec{}, end, "")).to[0].Tag
	ack := ok[*jetstream.PubAck](t)(w.js.Publish(t.Context(), "s.1", []byte(`{"status":"done"}`)))
	if ack.Sequence != 6 {
		t.Fatal(ack.Sequence)
	}
	w.publish(1) // s.0
	time.Sleep(20 * time.Millisecond)
	since := time.Now()
	w.publish(1)
	check := func(req flow.Request, finished bool) {
		t.Helper()
		req.Format, req.Sources = end, []flow.Spec{spec}
		eventually(t, fmt.Sprint("finished: ", finished), func() bool {
			o, err := w.r.Open(t.Context(), req)
			if err == nil {
				o.Source.Close()
			}
			return errors.Is(err, flow.ErrFinished) == finished
		})
	}
	at := func(seq uint64) string { return cursor.Position{{Tag: tag, Seq: seq}}.String() }
	check(flow.Request{Since: since}, true)
	check(flow.Request{Since: since.Add(-time.Hour)}, false)
	check(flow.Request{Cursor: at(7)}, true)
	check(flow.Request{Cursor: at(5)}, false)
	s := ok[jetstream.Stream](t)(w.js.Stream(t.Context(), "S"))
	if err := s.DeleteMsg(t.Context(), 6); err != nil {
		t.Fatal(err)
	}
	check(flow.Request{Cursor: at(7)}, true)
	check(flow.Request{Cursor: at(6)}, true)
	check(flow.Request{Cursor: at(5)}, false)
}

// Whoever passes over changes reads the state anew of a stream whose route says on_gap: snapshot, and of no other stream.
func TestStates_OfAStream(t *testing.T) {
	w := newStateWorld(t, 3)
	for _, onGap := range []bool{false, true} {
		o := w.open(flow.Spec{Initial: flow.Initial{Mode: flow.LastPerSubject}, Bounds: flow.Bounds{Snapshot: onGap}}, flow.Format{}, "")
		o.Source.Attach(sinkFunc(func(flow.Event) {}))
		states := o.Source.(flow.Stateful).States()
		if !onGap {
			if len(states) != 0 {
				t.Errorf("on_gap: event has %d states", len(states))
			}
			continue
		}
		if len(states) != 1 || states[0].Entry != 0 || states[0].Source != "s" {
			t.Fatalf("on_gap: snapshot has the states %+v", states)
		}
		head := make(cursor.Position, 1)
		o.Source.Progress(head)
		answers := make(chan flow.Batch, 1)
		o.Source.Read(flow.Ask{From: head, To: head, MaxBytes: 1 << 20, State: states[0].Again(nil)}, func(b flow.Batch) { answers <- b })
		if b := <-answers; b.Err != nil || b.Done || len(b.Events) == 0 || !b.Events[0].Bare {
			t.Errorf("a client that is live then reads %+v", b)
		}
	}
}
