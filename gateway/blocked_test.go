package gateway_test

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"headgate/internal/config"
	"headgate/internal/devnats"
	"headgate/internal/sse"
)

// bucketsPage is the page of a client of two buckets, whose keys begin with the names of the route's sources.
type bucketsPage struct {
	*reader
	keys  map[string]string
	state map[string]bool // of which a state is being given
	given int             // states
	slow  int             // jumps
	rate  int             // those for want of budget
}

func bothRoute(policy string, change ...func(*modelRoute)) modelRoute {
	return streamRoute("both", "", "", func(r *modelRoute) {
		r.Sources = []config.Source{{Name: "one", Type: "kv", Stream: "ONE", Subject: "one.>"}, {Name: "two", Type: "kv", Stream: "TWO", Subject: "two.>"}}
		r.SlowConsumer = policy
		for _, f := range change {
			f(r)
		}
	})
}

// read takes events until ok.
func (b *bucketsPage) read(ok func() bool) {
	b.t.Helper()
	for !ok() {
		b.take(b.next())
	}
}

func (b *bucketsPage) take(e sse.Event) {
	b.t.Helper()
	switch e.Type {
	case "$ready", "$live":
	case "$snapshot":
		clear(b.state)
		b.given++
	case "$gap":
		var g struct{ Reason, Source, Next string }
		if err := json.Unmarshal([]byte(e.Data), &g); err != nil {
			b.t.Fatal(err)
		}
		if g.Next == "snapshot" {
			b.state[g.Source] = true
			maps.DeleteFunc(b.keys, func(key, _ string) bool { return strings.HasPrefix(key, g.Source+".") })
		}
		switch g.Reason {
		case "slow":
			b.slow++
		case "rate":
			b.rate++
		}
	case "put":
		var m message
		if err := json.Unmarshal([]byte(e.Data), &m); err != nil {
			b.t.Fatal(err)
		}
		b.keys[m.Key] = fmt.Sprint(m.Data)
	case "delete":
		var m message
		if err := json.Unmarshal([]byte(e.Data), &m); err != nil {
			b.t.Fatal(err)
		}
		delete(b.keys, m.Key)
	default:
		b.t.Fatalf("got %s %q", e.Type, e.Data)
	}
}

// has says whether a key has a value, and no state is being given.
func (b *bucketsPage) has(key, value string) func() bool {
	return func() bool { return len(b.state) == 0 && b.keys[key] == value }
}

// TestBucket_ABlockedClientOfTwoThatBeginAgain lets both buckets of a route begin again while a client takes nothing: they are deleted and
// made again, or a key goes without a message. The client passes over one new beginning or both, and has exactly what the buckets have in
// the end.
func TestBucket_ABlockedClientOfTwoThatBeginAgain(t *testing.T) {
	for _, c := range []struct {
		name, policy string
		silent       bool
	}{{"made again", "disconnect", false}, {"made again, and jumped over", "drop_oldest", false}, {"keys gone in silence", "disconnect", true},
		{"keys gone in silence, and jumped over", "drop_oldest", true}} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			w := newBlockedWorld(t, c.policy)
			w.flood(100)
			for _, name := range []string{"one", "two"} {
				w.begin(name, c.silent)
			}
			if c.policy == "drop_oldest" {
				w.flood(150)
			}
			w.put("one.last", "1")
			w.put("two.last", "1")
			w.same(w.quick)
			w.same(w.blocked)
			if jumped := w.blocked.slow > 0; jumped != (c.policy == "drop_oldest") {
				t.Errorf("%d gaps for jumps", w.blocked.slow)
			}
		})
	}
}

// TestBucket_AClientThatJumpsOverADeletion lets a key go, among more than a blocked client is kept and than a limited one is sent. In the end
// each has exactly what the buckets have.
func TestBucket_AClientThatJumpsOverADeletion(t *testing.T) {
	t.Run("slow", func(t *testing.T) {
		t.Parallel()
		w := newBlockedWorld(t, "drop_oldest")
		w.flood(100)
		w.delete("one.gone")
		w.flood(150)
		w.jumped(&w.blocked.slow)
		w.put("one.last", "1")
		w.put("two.last", "1")
		w.same(w.quick)
		w.same(w.blocked)
	})
	t.Run("rate", func(t *testing.T) {
		t.Parallel()
		w := newBlockedWorld(t, "drop_oldest", func(r *modelRoute) { r.Limits.EventsPerSecond = 20 })
		for n := range 100 {
			w.put("one.often", fmt.Sprint(n))
		}
		w.delete("one.gone")
		for n := range 100 {
			w.put("two.often", fmt.Sprint(n))
		}
		w.jumped(&w.blocked.rate)
		w.put("one.last", "1")
		w.put("two.last", "1")
		w.same(w.blocked)
	})
}

// jumped reads until the blocked client has been told of a jump.
func (w *blockedWorld) jumped(told *int) {
	w.t.Helper()
	w.blocked.read(func() bool { return *told > 0 })
	if !w.blocked.state["one"] {
		w.t.Error("the jump is told without a state")
	}
}

func (w *blockedWorld) delete(key string) {
	w.t.Helper()
	name, _, _ := strings.Cut(key, ".")
	w.do("delete "+key, func(ctx context.Context) error { return w.buckets[name].Delete(ctx, key) })
}

// blockedWorld is two buckets, a gateway, and two clients that have been given the first state. One of them takes nothing more.
type blockedWorld struct {
	*pit
	buckets        map[string]jetstream.KeyValue
	blocked, quick *bucketsPage
}

func newBlockedWorld(t *testing.T, policy string, change ...func(*modelRoute)) *blockedWorld {
	ns, err := devnats.Start(devnats.Options{JetStream: true, NextFree: true, Port: modelPort()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(ns.Shutdown)
	w := &blockedWorld{pit: &pit{world: newWorld(t, ns.URL()), t: t, ns: ns}, buckets: map[string]jetstream.KeyValue{}}
	for _, name := range []string{"one", "two"} {
		w.make(name)
		w.put(name+".gone", "1")
	}
	cfg := modelConfig(ns.URL(), routesOf([]modelRoute{bothRoute(policy, change...)}))
	cfg.SSE.BufferBytes, cfg.SSE.BufferAge, cfg.SSE.WriteTimeout = 8<<20, time.Minute, time.Minute
	w.gw = startReplica(t, cfg).ready()
	w.blocked, w.quick = w.open(), w.open()
	return w
}

func (w *blockedWorld) make(name string) {
	w.buckets[name] = w.bucket(jetstream.KeyValueConfig{Bucket: strings.ToUpper(name), Storage: jetstream.MemoryStorage})
}

func (w *blockedWorld) open() *bucketsPage {
	b := &bucketsPage{reader: w.pit.open("/both", ""), keys: map[string]string{}, state: map[string]bool{"one": true, "two": true}}
	b.read(func() bool { return b.given == 1 })
	return b
}

func (w *blockedWorld) put(key, value string) {
	w.t.Helper()
	name, _, _ := strings.Cut(key, ".")
	w.do("put "+key, func(ctx context.Context) error {
		_, err := w.buckets[name].PutString(ctx, key, value)
		return err
	})
}

// flood changes a key so often. The quick client takes each value before the next one is made.
func (w *blockedWorld) flood(values int) {
	w.t.Helper()
	for n := range values {
		value := fmt.Sprint(n, strings.Repeat("x", 64<<10))
		w.put("one.big", value)
		w.quick.read(w.quick.has("one.big", value))
	}
}

// begin makes a bucket begin again without the key that is gone, and waits until the quick client has its state.
func (w *blockedWorld) begin(name string, silent bool) {
	w.t.Helper()
	given := w.quick.given
	stream := "KV_" + strings.ToUpper(name)
	if silent {
		w.purge(stream, "$KV."+strings.ToUpper(name)+"."+name+".gone", 0)
	} else {
		w.remove(stream)
		w.make(name)
	}
	w.put(name+".new", "1")
	w.quick.read(func() bool { return w.quick.given > given && w.quick.has(name+".new", "1")() })
}

// same reads the last changes, and compares.
func (w *blockedWorld) same(b *bucketsPage) {
	w.t.Helper()
	b.read(func() bool { return b.has("one.last", "1")() && b.has("two.last", "1")() })
	want := map[string]string{}
	for _, kv := range w.buckets {
		for key, v := range w.keys(kv) {
			want[key] = v.data
		}
	}
	if !maps.Equal(b.keys, want) {
		w.t.Errorf("it has %.300v, and the buckets %.300v", b.keys, want)
	}
}
