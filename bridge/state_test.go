package bridge

import (
	"cmp"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"headgate/internal/cursor"
	"headgate/internal/devnats"
	"headgate/internal/flow"
)

// stateWorld is a NATS with a stream S of which little fits into memory, and a bridge that reads it.
type stateWorld struct {
	t  *testing.T
	js jetstream.JetStream
	r  *running

	url string
}

func newStateWorld(t *testing.T, messages int) *stateWorld {
	t.Helper()
	ns := startNATS(t, devnats.Options{JetStream: true})
	js, err := jetstream.New(publisherOf(t, ns.URL()))
	if err != nil {
		t.Fatal(err)
	}
	w := &stateWorld{t: t, js: js, url: ns.URL()}
	w.make(messages)
	w.r = streamBridge(t, ns.URL())
	return w
}

// make makes the stream, with numbered messages on s.0 to s.9.
func (w *stateWorld) make(messages int) {
	w.t.Helper()
	cfg := jetstream.StreamConfig{Name: "S", Subjects: []string{"s.>"}, AllowDirect: true}
	if _, err := w.js.CreateStream(w.t.Context(), cfg); err != nil {
		w.t.Fatal(err)
	}
	w.publish(messages)
}

func (w *stateWorld) publish(messages int) {
	w.t.Helper()
	for n := range messages {
		if _, err := w.js.PublishAsync(fmt.Sprintf("s.%d", n%10), fmt.Appendf(nil, "%0300d", n)); err != nil {
			w.t.Fatal(err)
		}
		if n%1000 == 999 { // more of them at a time nats.go refuses, where the machine is busy
			w.stored()
		}
	}
	w.stored()
}

func (w *stateWorld) stored() {
	w.t.Helper()
	select {
	case <-w.js.PublishAsyncComplete():
	case <-time.After(patience):
		w.t.Fatal("the messages are not stored")
	}
}

func (w *stateWorld) purge(upto uint64) {
	w.t.Helper()
	s, err := w.js.Stream(w.t.Context(), "S")
	if err != nil {
		w.t.Fatal(err)
	}
	if err := s.Purge(w.t.Context(), jetstream.WithPurgeSequence(upto+1)); err != nil {
		w.t.Fatal(err)
	}
}

// open opens s.> with an initial state.
func (w *stateWorld) open(spec flow.Spec, format flow.Format, at string) flow.Opened {
	w.t.Helper()
	spec.Name, spec.Kind, spec.Stream, spec.Subjects = "s", flow.Stream, "S", []string{"s.*"}
	format.Data, format.Token, format.IDs = "text", -1, true
	o, err := w.r.Open(w.t.Context(), flow.Request{Sources: []flow.Spec{spec}, Format: format, Cursor: at})
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(o.Source.Close)
	return o
}

// stepper reads like a client whose socket takes little at a time.
type stepper struct {
	t        *testing.T
	o        flow.Opened
	from, to cursor.Position
	state    any
	got      []string // the first line of each event
	done     bool
	ended    bool
	live     *recorder // what comes behind to
	maxBytes int       // of a step; 0 = 2000
	mayEnd   bool      // a read may fail: then err says why, and it is done
	err      error
}

func (w *stateWorld) read(o flow.Opened) *stepper {
	s := &stepper{t: w.t, o: o, from: append(cursor.Position(nil), o.From...), state: o.State, live: &recorder{}}
	s.to = append(cursor.Position(nil), o.Source.Attach(s.live)...)
	return s
}

// step is one read of about a few events.
func (s *stepper) step() {
	s.t.Helper()
	batches := make(chan flow.Batch, 1)
	s.o.Source.(flow.History).Read(flow.Ask{From: s.from, To: s.to, MaxBytes: cmp.Or(s.maxBytes, 2000), State: s.state}, func(b flow.Batch) { batches <- b })
	select {
	case b := <-batches:
		if b.Err != nil && s.mayEnd {
			s.err, s.done = b.Err, true
			return
		}
		if b.Err != nil {
			s.t.Fatal(b.Err)
		}
		s.state, s.done = b.State, b.Done
		for _, e := range b.Events {
			if e.Tag != (cursor.Tag{}) {
				s.from[e.Entry].Tag = e.Tag
			}
			s.from[e.Entry].Seq = e.Seq
			s.ended = s.ended || e.End == flow.Done
			if e.Frame != nil {
				s.got = append(s.got, strings.SplitN(string(e.Frame.AppendBlock(nil, nil)), "\n\n", 2)[0])
			}
		}
	case <-time.After(patience):
		s.t.Fatal("no answer to a read")
	}
}

// finish reads until the state has been given, and what was missed.
func (s *stepper) finish() string {
	s.t.Helper()
	for range 10000 {
		if s.done || s.ended {
			return strings.Join(s.got, "\n")
		}
		s.step()
	}
	s.t.Fatal("it does not end")
	return ""
}

func (s *stepper) count(text string) (n int) {
	for _, g := range s.got {
		if strings.Contains(g, text) {
			n++
		}
	}
	return n
}

func TestState_AllMessagesSaysWhatRetentionTakesWhileItIsRead(t *testing.T) {
	w := newStateWorld(t, 6000) // more than is read ahead
	s := w.read(w.open(flow.Spec{Initial: flow.Initial{Mode: flow.AllMessages}}, flow.Format{}, ""))
	for s.count("data: 0") == 0 {
		s.step()
	}
	if given := s.count("data: 0"); given > 1000 {
		t.Fatalf("%d events in the first step", given)
	}
	w.purge(5500)
	text := s.finish()
	if !strings.Contains(text, `"reason":"expired"`) {
		t.Fatalf("no $gap: %d events, last %q", len(s.got), s.got[len(s.got)-1])
	}
	want := fmt.Sprintf(`{"count":%d}`, s.count("data: 0"))
	if !strings.Contains(text, want) {
		t.Fatalf("want %s; got %q", want, s.got[len(s.got)-1])
	}
}

func TestState_AllMessagesBeginsAnewWithAnotherIncarnation(t *testing.T) {
	w := newStateWorld(t, 6000) // more than is read ahead
	s := w.read(w.open(flow.Spec{Initial: flow.Initial{Mode: flow.AllMessages}}, flow.Format{}, ""))
	for s.count("data: 0") == 0 {
		s.step()
	}
	if err := w.js.DeleteStream(t.Context(), "S"); err != nil {
		t.Fatal(err)
	}
	w.make(30)
	eventually(t, "the feed to notice", func() bool { return strings.Contains(w.r.log.String(), "may be missing") })
	for range 10000 {
		if s.count("$snapshot") > 0 {
			break
		}
		s.step()
	}
	at := -1
	for i, g := range s.got {
		if strings.Contains(g, `"reason":"reset"`) && strings.Contains(g, `"next":"snapshot"`) {
			at = i
		}
	}
	if at < 0 {
		t.Fatalf("no $gap reset with next snapshot in %d events", len(s.got))
	}
	behind := 0
	for _, g := range s.got[at+1:] {
		if strings.Contains(g, "data: 0") {
			behind++
		}
	}
	if behind != 30 || s.count(`{"count":30}`) != 1 {
		t.Fatalf("%d events behind the $gap, want 30; last %q", behind, s.got[len(s.got)-1])
	}
}

// A replay that its stream is taken away from ends with the id of where it would have ended. So what it has not given is named before, also
// where a fresh state follows: a client that is cut in between must not seem to have had it.
func TestReplay_OfAStreamThatIsMadeAnewNamesWhatItHasNotGiven(t *testing.T) {
	for _, fresh := range []bool{false, true} {
		w := newStateWorld(t, 6000)
		spec := flow.Spec{Initial: flow.Initial{Mode: flow.LastPerSubject}, Bounds: flow.Bounds{Snapshot: fresh}}
		at := cursor.Position{{Tag: w.read(w.open(spec, flow.Format{}, "")).to[0].Tag, Seq: 3}}.String()
		s := w.read(w.open(spec, flow.Format{}, at))
		for s.count("data: 0") == 0 {
			s.step()
		}
		given := s.from[0].Seq
		if err := w.js.DeleteStream(t.Context(), "S"); err != nil {
			t.Fatal(err)
		}
		w.make(30)
		eventually(t, "the feed to notice", func() bool { return strings.Contains(w.r.log.String(), "may be missing") })
		text := s.finish()
		want := fmt.Sprintf(`"from":%d,"to":6000`, given+1)
		if !strings.Contains(text, `"reason":"reset"`) || !strings.Contains(text, want) {
			t.Errorf("fresh %v: %d events, the last %q, want %s", fresh, len(s.got), s.got[len(s.got)-1], want)
		}
	}
}

func TestState_OfManySubjectsIsReadOnceForThoseWhoComeTogether(t *testing.T) {
	w := newStateWorld(t, 50)
	for range 20 {
		s := w.read(w.open(flow.Spec{Initial: flow.Initial{Mode: flow.LastPerSubject}}, flow.Format{}, ""))
		if text := s.finish(); s.count("data: 0") < 10 || !strings.Contains(text, "$snapshot") {
			t.Fatalf("got %q", text)
		}
		w.publish(1) // so that nobody asks as of the same sequence
	}
	if n := w.r.metric("headgate_history_direct_gets_total"); n > 8 {
		t.Errorf("%v direct gets for 20 clients that asked for the same state", n)
	}
}

func TestReplay_BoundsNeverLeaveOutTheEnd(t *testing.T) {
	w := newStateWorld(t, 20)
	end := flow.Format{EndField: "status", EndIn: `"done"`}
	o := w.open(flow.Spec{}, end, "")
	at := cursor.Position{{Tag: w.read(o).to[0].Tag, Seq: 3}}.String()
	if _, err := w.js.Publish(t.Context(), "s.1", []byte(`{"status":"done"}`)); err != nil {
		t.Fatal(err)
	}
	for _, bounds := range []flow.Bounds{{MaxEvents: 2}, {MaxBytes: 1000}, {MaxAge: time.Nanosecond}} {
		eventually(t, "the last message to be read", func() bool {
			s := w.read(w.open(flow.Spec{Bounds: bounds}, end, at))
			text := s.finish()
			return s.ended && strings.Contains(text, `"status":"done"`)
		})
	}
}

// sinkFunc is a sink.
type sinkFunc func(flow.Event)

func (f sinkFunc) Push(e flow.Event) { f(e) }

func TestState_IsGivenAgainWhenAStreamIsMadeAnew(t *testing.T) {
	w := newStateWorld(t, 5)
	spec := flow.Spec{Initial: flow.Initial{Mode: flow.LastPerSubject}, Bounds: flow.Bounds{Snapshot: true}}
	o := w.open(spec, flow.Format{}, "")
	again := make(chan flow.Event, 100)
	o.Source.Attach(sinkFunc(func(e flow.Event) {
		if e.Again != nil {
			again <- e
		}
	}))
	if err := w.js.DeleteStream(t.Context(), "S"); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the feed to notice", func() bool { return strings.Contains(w.r.log.String(), "may be missing") })
	w.make(3)
	select {
	case e := <-again:
		if text := string(e.Frame.AppendBlock(nil, nil)); !e.Bare || !strings.Contains(text, `"next":"snapshot"`) {
			t.Fatalf("got %q", text)
		}
	case <-time.After(patience):
		t.Fatal("no fresh state")
	}
}
