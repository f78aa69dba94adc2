package bridge

import (
	"context"
	"fmt"
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
	ns := startNATS(t, devnats.Options{JetStream: true})
	js, err := jetstream.New(publisherOf(t, ns.URL()))
	if err != nil {
		t.Fatal(err)
	}
	kv, err := js.CreateKeyValue(t.Context(), jetstream.KeyValueConfig{Bucket: "LARGE"})
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
				have[key] = true
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
