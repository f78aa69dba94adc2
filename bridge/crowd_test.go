package bridge

import (
	"fmt"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"headgate/internal/config"
	"headgate/internal/cursor"
	"headgate/internal/devnats"
	"headgate/internal/flow"
)

// begin reads until the first event of a state has been given, or says that it has to wait.
func (s *stepper) begin(most int) bool {
	s.t.Helper()
	for range most {
		if s.step(); s.count("data:") > 0 {
			return true
		}
	}
	return false
}

// States of clients that read slowly are bounded together: who comes when there is no room waits, and gets the whole state when there
// is, also where those before have gone away in the middle.
func TestState_OfManySlowClientsIsBounded(t *testing.T) {
	const subjects, payload, tail = 40, 20 << 10, 1 << 20
	ns := startNATS(t, devnats.Options{JetStream: true})
	js := ok[jetstream.JetStream](t)(jetstream.New(publisherOf(t, ns.URL())))
	ok[jetstream.Stream](t)(js.CreateStream(t.Context(), jetstream.StreamConfig{Name: "S", Subjects: []string{"s.>"}, AllowDirect: true}))
	for i := range subjects {
		ok[*jetstream.PubAck](t)(js.Publish(t.Context(), fmt.Sprint("s.", i), []byte(strings.Repeat("x", payload))))
	}
	r := bridgeOf(t, ns.URL(), tail, config.Source{Name: "s", Type: "stream", Stream: "S", Subject: "s.{id}"})
	format := plain
	format.IDs = true
	open := func(i int) *stepper {
		spec := flow.Spec{Name: "s", Kind: flow.Stream, Stream: "S", Initial: flow.Initial{Mode: flow.LastPerSubject},
			Subjects: []string{fmt.Sprint("s.", i), fmt.Sprint("s.", i+1), fmt.Sprint("s.", i+2)}}
		w := &stateWorld{t: t, r: r}
		return w.read(r.open(flow.Request{Format: format, Sources: []flow.Spec{spec}}))
	}
	const each = 3 * 2 * payload
	var slow, waiting []*stepper
	for i := range 9 {
		c := open(i)
		if c.begin(2) {
			slow = append(slow, c)
		} else {
			waiting = append(waiting, c)
		}
		if n := r.metric("headgate_state_bytes"); n > tail/4+each*3/2 { // and one that may be beyond
			t.Fatalf("%v bytes of states", n)
		}
	}
	if len(slow) < 2 || len(waiting) < 4 {
		t.Fatalf("%d are served, %d wait", len(slow), len(waiting))
	}
	for _, c := range slow[:len(slow)-1] {
		c.finish()
	}
	runtime.KeepAlive(slow)
	slow[len(slow)-1].state = nil // it goes away in the middle
	slow = nil
	for _, c := range waiting {
		if text := c.finish(); c.count("data: xxx") != 3 || !strings.Contains(text, `{"count":3}`) {
			t.Fatalf("%d events", c.count("data: xxx"))
		}
	}
	eventually(t, "all room to be given back", func() bool { runtime.GC(); return r.metric("headgate_state_bytes") == 0 })
}

// What vanishes from a bucket of which no table fits is told to those who are there, and those who come back get a state without it,
// also right behind one that was read before.
func TestState_OfALargeBucketNeverHasAKeyThatVanished(t *testing.T) {
	ns := startNATS(t, devnats.Options{JetStream: true})
	js := ok[jetstream.JetStream](t)(jetstream.New(publisherOf(t, ns.URL())))
	kv := ok[jetstream.KeyValue](t)(js.CreateKeyValue(t.Context(), jetstream.KeyValueConfig{Bucket: "B"}))
	for i := range 100 {
		ok[uint64](t)(kv.Put(t.Context(), fmt.Sprint("k", i), []byte(strings.Repeat("x", 10_000))))
	}
	r := bridgeOf(t, ns.URL(), 1<<20, config.Source{Name: "b", Type: "kv", Stream: "B", Subject: ">"})
	format := plain
	format.IDs, format.Envelope = true, "headgate"
	spec := flow.Spec{Name: "b", Kind: flow.KV, Stream: "B", Subjects: []string{"k1", "k2", "k3"}}
	w := &stateWorld{t: t, r: r}
	first := r.open(flow.Request{Format: format, Sources: []flow.Spec{spec}})
	again := make(chan flow.Event, 1)
	c := w.read(first)
	first.Source.Attach(sinkFunc(func(e flow.Event) {
		if e.Again != nil {
			select {
			case again <- e:
			default:
			}
		}
	}))
	c.finish()
	if c.count(`"key":"k`) != 3 {
		t.Fatalf("got %q", c.got)
	}
	at := append(cursor.Position(nil), c.from...)
	if n := r.metric("headgate_history_reads_total"); n == 0 {
		t.Fatal("the state was in memory")
	}
	s := ok[jetstream.Stream](t)(js.Stream(t.Context(), "KV_B"))
	if err := s.Purge(t.Context(), jetstream.WithPurgeSubject("$KV.B.k2")); err != nil {
		t.Fatal(err)
	}
	select {
	case e := <-again:
		if text := string(e.Frame.AppendBlock(nil, nil)); !strings.Contains(text, `"reset"`) || !strings.Contains(text, `"next":"snapshot"`) {
			t.Errorf("got %q", text)
		}
	case <-time.After(patience):
		t.Fatal("nobody is told")
	}
	for name, cursor := range map[string]string{"a new one": "", "one that was here": at.String()} {
		o := r.open(flow.Request{Format: format, Sources: []flow.Spec{spec}, Cursor: cursor})
		c := w.read(o)
		c.finish()
		keys := slices.DeleteFunc(slices.Clone(c.got), func(g string) bool { return !strings.Contains(g, `"key":`) })
		if o.Start != flow.Snapshot || len(keys) != 2 || c.count(`"key":"k2"`) > 0 {
			t.Errorf("%s: start %v, %q", name, o.Start, keys)
		}
	}
}
