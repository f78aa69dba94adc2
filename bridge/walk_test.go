package bridge

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/nats-io/nats.go/jetstream"

	"headgate/internal/config"
	"headgate/internal/devnats"
	"headgate/internal/flow"
)

// A bucket that neither fits into memory nor may be read at once is given message by message: its values and nothing else, and behind them
// what has changed since.
func TestState_OfABucketThatIsTooLargeToBeHeldIsWalkedThrough(t *testing.T) {
	if testing.Short() {
		t.Skip("SKIPPED with -short: 70 MiB of values")
	}
	for _, history := range []uint8{1, 3} {
		t.Run(fmt.Sprint("history ", history), func(t *testing.T) { walkThrough(t, history) })
	}
}

func walkThrough(t *testing.T, history uint8) {
	ns := startNATS(t, devnats.Options{JetStream: true})
	js, err := jetstream.New(publisherOf(t, ns.URL()))
	if err != nil {
		t.Fatal(err)
	}
	kv, err := js.CreateKeyValue(t.Context(), jetstream.KeyValueConfig{Bucket: "LARGE", History: history})
	if err != nil {
		t.Fatal(err)
	}
	value := strings.Repeat("x", 1000<<10)
	set := func(key string) {
		t.Helper()
		if _, err := kv.PutString(t.Context(), key, key+" "+value); err != nil {
			t.Fatal(err)
		}
	}
	remove := func(key string) {
		t.Helper()
		if err := kv.Delete(t.Context(), key); err != nil {
			t.Fatal(err)
		}
	}
	for n := range 10 { // what a history keeps is no value
		if _, err := kv.PutString(t.Context(), fmt.Sprint("k", n), "old"); err != nil {
			t.Fatal(err)
		}
	}
	for n := range 72 {
		set(fmt.Sprint("k", n))
	}
	remove("k3") // known to be no more before anybody comes
	spec := flow.Spec{Name: "large", Kind: flow.KV, Stream: "LARGE", Subjects: []string{">"}}
	w := &stateWorld{t: t, js: js, r: bridgeOf(t, ns.URL(), 32<<20, config.Source{Name: "large", Type: "kv", Stream: "LARGE", Subject: ">"}), url: ns.URL()}
	open := func() *stepper {
		t.Helper()
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		defer cancel()
		o, err := w.r.Open(ctx, flow.Request{Sources: []flow.Spec{spec}, Format: flow.Format{Data: "text", Envelope: "headgate", Token: -1, IDs: true}})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(o.Source.Close)
		if o.Start != flow.Snapshot {
			t.Fatalf("it starts %s", o.Start)
		}
		return w.read(o)
	}
	first := open()
	for first.count("event: put") < 10 {
		first.step()
	}
	remove("k1")  // given already
	remove("k60") // not yet: it is no more, and may be missing
	set("k61")
	second := open()
	eventually(t, "the changes to be pushed", func() bool { return len(first.live.all()) >= 3 })
	for name, s := range map[string]*stepper{"first": first, "second": second} {
		s.finish()
		have, state := map[string]bool{}, true
		blocks := s.got
		for _, e := range s.live.all() {
			if e.Frame != nil {
				blocks = append(blocks, string(e.Frame.AppendBlock(nil, nil)))
			}
		}
		for _, block := range blocks {
			_, key, _ := strings.Cut(block, `"key":"`)
			key, _, _ = strings.Cut(key, `"`)
			switch {
			case strings.HasPrefix(block, "event: put"):
				if have[key] && state {
					t.Errorf("%s: the state has %s twice", name, key)
				}
				have[key] = strings.Contains(block, `"data":"`+key+" xxx")
			case strings.HasPrefix(block, "event: delete") && !state:
				delete(have, key)
			case strings.HasPrefix(block, "event: $snapshot"):
				state = false
				if len(have) < 68 || have["k3"] {
					t.Errorf("%s: the state has %d keys", name, len(have))
				}
			default:
				t.Errorf("%s: %.80s", name, block)
			}
		}
		if len(have) != 69 || have["k1"] || have["k3"] || have["k60"] {
			t.Errorf("%s has %d keys", name, len(have))
		}
	}
}

// So is the state of a stream, and that of so many keys that nobody lists them at once.
func TestState_OfAStreamThatIsTooLargeToBeHeldIsGivenPartByPart(t *testing.T) {
	if testing.Short() {
		t.Skip("SKIPPED with -short: 140 MiB of messages")
	}
	w := newStateWorld(t, 0)
	if _, err := w.js.CreateStream(t.Context(), jetstream.StreamConfig{Name: "LARGE", Subjects: []string{"large.*"}, AllowDirect: true}); err != nil {
		t.Fatal(err)
	}
	value := strings.Repeat("x", 1000<<10)
	put := func(subject, text string) {
		t.Helper()
		if _, err := w.js.Publish(t.Context(), "large."+subject, []byte(text)); err != nil {
			t.Fatal(err)
		}
	}
	for n := range 140 {
		put(fmt.Sprint("s", n%70), fmt.Sprint(n/70, " ", value))
	}
	r := bridgeOf(t, w.url, 32<<20, config.Source{Name: "large", Type: "stream", Stream: "LARGE", Subject: "large.*"})
	spec := flow.Spec{Name: "large", Kind: flow.Stream, Stream: "LARGE", Subjects: []string{"large.*"}, Initial: flow.Initial{Mode: flow.LastPerSubject}}
	o, err := r.Open(t.Context(), flow.Request{Sources: []flow.Spec{spec}, Format: flow.Format{Data: "text", Envelope: "headgate", Token: -1, IDs: true}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(o.Source.Close)
	s := w.read(o)
	for s.count(`"subject"`) < 10 {
		s.step()
	}
	put("s3", "changed")  // given already
	put("s60", "changed") // not yet
	put("s70", "new")
	eventually(t, "the changes to be pushed", func() bool { return len(s.live.all()) >= 3 })
	s.finish()
	blocks := s.got
	for _, e := range s.live.all() {
		if e.Frame != nil {
			blocks = append(blocks, string(e.Frame.AppendBlock(nil, nil)))
		}
	}
	given, state, changes := map[string]int{}, 0, []string{}
	for _, block := range blocks {
		_, subj, _ := strings.Cut(block, `"subject":"large.`)
		subj, _, _ = strings.Cut(subj, `"`)
		switch {
		case strings.Contains(block, `"data":"1 xxx`) && state == 0:
			given[subj]++
		case strings.HasPrefix(block, "event: $snapshot"):
			state++
		case state == 1 && (strings.Contains(block, `"data":"changed"`) || strings.Contains(block, `"data":"new"`)):
			changes = append(changes, subj)
		default:
			t.Errorf("%.80s", block)
		}
	}
	if len(given) < 69 || slices.Max(slices.Collect(maps.Values(given))) > 1 || strings.Join(changes, " ") != "s3 s60 s70" {
		t.Errorf("%d subjects in the state, %v behind it", len(given), changes)
	}
}

func TestState_OfABucketWithMoreKeysThanAreListedAtOnce(t *testing.T) {
	if testing.Short() {
		t.Skip("SKIPPED with -short: 107,000 messages")
	}
	const keys, twice = 105_000, 2000
	w := newStateWorld(t, 0)
	kv, err := w.js.CreateKeyValue(t.Context(), jetstream.KeyValueConfig{Bucket: "MANY", History: 2})
	if err != nil {
		t.Fatal(err)
	}
	for n := range keys + twice {
		if _, err := w.js.PublishAsync(fmt.Sprint("$KV.MANY.k", n%keys), fmt.Append(nil, n/keys)); err != nil {
			t.Fatal(err)
		}
		if n%1000 == 999 { // more of them at a time nats.go refuses, where the machine is busy
			<-w.js.PublishAsyncComplete()
		}
	}
	if err := kv.Delete(t.Context(), "k7"); err != nil {
		t.Fatal(err)
	}
	r := bridgeOf(t, w.url, 8<<20, config.Source{Name: "many", Type: "kv", Stream: "MANY", Subject: ">"})
	spec := flow.Spec{Name: "many", Kind: flow.KV, Stream: "MANY", Subjects: []string{">"}}
	o, err := r.Open(t.Context(), flow.Request{Sources: []flow.Spec{spec}, Format: flow.Format{Data: "text", Envelope: "headgate", Token: -1, IDs: true}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(o.Source.Close)
	s := w.read(o)
	s.maxBytes = 64 << 10
	s.finish()
	old, now := s.count(`"data":"0"`), s.count(`"data":"1"`)
	if old != keys-twice || now != twice-1 || s.count("event: $snapshot") != 1 || s.count("event: put") != old+now || s.count(`"key":"k7"`) != 0 {
		t.Errorf("%d values and %d that were changed, of %d keys, and %d events", old, now, keys-1, len(s.got))
	}
	if n := r.metric("headgate_state_bytes"); n != 0 && n < keys*40 {
		t.Errorf("%v bytes for a list of %d keys", n, keys)
	}
}

// A bucket that changes, while a client is given its state, by more than memory reaches back to, is given again; three times in vain, and the
// client's stream ends with a line in the log that says what to do. Nothing goes on for ever, and no client keeps half a state.
func TestState_ThatWasGivenInVainThreeTimesEndsTheStream(t *testing.T) {
	if testing.Short() {
		t.Skip("SKIPPED with -short: 140 MiB of values")
	}
	for _, history := range []uint8{1, 2} {
		t.Run(fmt.Sprint("history ", history), func(t *testing.T) { inVain(t, history) })
	}
}

func inVain(t *testing.T, history uint8) {
	const tail = 8 << 20
	w := newStateWorld(t, 0)
	kv, err := w.js.CreateKeyValue(t.Context(), jetstream.KeyValueConfig{Bucket: "LARGE", History: history})
	if err != nil {
		t.Fatal(err)
	}
	value := strings.Repeat("x", 1000<<10)
	change := func(from, to int) {
		t.Helper()
		for n := from; n < to; n++ {
			if _, err := kv.PutString(t.Context(), fmt.Sprint("k", n), value); err != nil {
				t.Fatal(err)
			}
		}
	}
	change(0, 70)
	r := bridgeOf(t, w.url, tail, config.Source{Name: "large", Type: "kv", Stream: "LARGE", Subject: ">"})
	spec := flow.Spec{Name: "large", Kind: flow.KV, Stream: "LARGE", Subjects: []string{">"}}
	o, err := r.Open(t.Context(), flow.Request{Sources: []flow.Spec{spec}, Format: flow.Format{Data: "text", Envelope: "headgate", Token: -1, IDs: true}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(o.Source.Close)
	s := w.read(o)
	s.mayEnd = true
	snapshots := func() int { return s.count("event: $snapshot") }
	for n := 1; n <= 3; n++ {
		begun := s.count("event: put")
		for s.count("event: put") == begun {
			s.step()
		}
		pushed := len(s.live.all())
		change(0, 20)
		eventually(t, "the changes to be pushed", func() bool { return len(s.live.all()) >= pushed+20 })
		all := s.live.all()
		s.to[0].Seq = all[len(all)-1].Seq // it is behind, as a client that is given a large state is
		for snapshots() < n && !s.done {
			s.step()
		}
		if s.done {
			t.Fatalf("it ended in its walk %d: %v", n, s.err)
		}
	}
	s.finish()
	if s.err == nil || snapshots() != 3 || s.count(`"next":"snapshot"`) != 3 {
		t.Errorf("error %v, behind %d states and %d gaps", s.err, snapshots(), s.count(`"next":"snapshot"`))
	}
	if log := r.log.String(); !strings.Contains(log, "changes faster than its state can be given") || !strings.Contains(log, "raise JETSTREAM_TAIL_BYTES") {
		t.Error("the log does not say why, and what to do")
	}
}
