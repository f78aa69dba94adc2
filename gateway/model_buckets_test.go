package gateway_test

import (
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"headgate/internal/devnats"
	"headgate/internal/subject"
)

func losing(bucket string) jetstream.KeyValueConfig {
	return jetstream.KeyValueConfig{Bucket: bucket, History: 2, Storage: jetstream.FileStorage, LimitMarkerTTL: time.Minute}
}

// TestModel_BucketsThatLoseKeys runs clients of a bucket from which keys disappear in every way, also without a message that says so.
// Whenever nothing changes, every client must have what the bucket has: never a key that is no more.
func TestModel_BucketsThatLoseKeys(t *testing.T) {
	t.Parallel()
	ns, err := devnats.Start(devnats.Options{JetStream: true, NextFree: true, Port: modelPort()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(ns.Shutdown)
	w := newWorld(t, ns.URL())
	kv, more := w.bucket(losing("FLAGS")), w.bucket(losing("MORE"))
	routes := kvRoutes()[:4] // those of nothing but buckets
	cfg := modelConfig(ns.URL(), routesOf(routes))
	cfg.JetStream.VerifyEvery = 1100 * time.Millisecond
	one := startReplica(t, cfg).ready()
	cfg.JetStream.VerifyEvery = 700 * time.Millisecond // so that now one and now the other is the first to notice
	two := startReplica(t, cfg).ready()
	var clients []*modelClient
	for n := range 6 * len(routes) {
		clients = append(clients, w.client(t, n, routes[n%len(routes)], one, two))
	}
	steady := []*modelClient{w.client(t, 100, routes[0], one), w.client(t, 101, routes[1], two), w.client(t, 102, routes[2], two),
		w.client(t, 103, routes[3], one), w.client(t, 104, routes[3], two)}
	rnd := w.rand(3000)
	acts := []struct {
		name string
		do   func()
	}{
		{"purge of resting keys", w.purgeResting},
		{"another purge of resting keys", w.purgeResting},
		{"purge of the stream", func() { w.purge("KV_FLAGS", "", 0) }},
		{"purge of both", func() { w.purge("KV_FLAGS", "", 0); w.purge("KV_MORE", "", 3) }},
		{"purge of a subject", func() { w.purge("KV_FLAGS", fmt.Sprintf("$KV.FLAGS.*.k%d", rnd.IntN(6)), 0) }},
		{"deleted messages", func() { w.deleteSome("KV_FLAGS", rnd) }},
		{"another bucket", func() { w.anotherBucket("FLAGS", rnd) }},
		{"two other buckets", func() { w.anotherBucket("MORE", rnd); w.anotherBucket("FLAGS", rnd) }},
		{"deleted consumers", func() { w.deleteConsumers("KV_FLAGS", "KV_MORE") }},
		{"restart of NATS", func() {
			if err := ns.Restart(); err != nil {
				t.Error(err)
			}
		}},
	}
	for _, n := range rnd.Perm(len(acts)) {
		w.t.Logf("%s %s", time.Now().Format("05.000"), acts[n].name)
		quiet, wait := w.staying(steady)
		long := 900 * time.Millisecond
		if n < 2 { // and while the replicas notice it, one after the other, clients come back to other ones, behind the loss
			w.putResting(kv)
			long += 2 * time.Second
		}
		ctx, cancel := context.WithTimeout(t.Context(), long)
		everybody(ctx, w, clients,
			func(ctx context.Context) { w.changing(ctx, kv, uint64(10+n), 100) },
			func(ctx context.Context) { w.changing(ctx, more, uint64(30+n), 50) },
			func(ctx context.Context) { w.expiring(ctx, rnd.Uint64()) },
			func(ctx context.Context) {
				nap(ctx, 400*time.Millisecond)
				w.quiet.Lock()
				acts[n].do()
				w.quiet.Unlock()
			})
		cancel()
		quiet()
		w.converge(clients)
		wait()
	}
}

// staying lets clients follow their buckets without a cut, until they have what those have, some time after quiet was called.
func (w *world) staying(clients []*modelClient) (quiet, wait func()) {
	var is atomic.Pointer[buckets] // what they have, once nothing changes them any more
	ctx, cancel := context.WithTimeout(context.Background(), 2*patience)
	var wg, poll sync.WaitGroup
	for _, c := range clients {
		got := false
		c.enough = func() bool {
			b := is.Load()
			got = b != nil && c.open.live && len(c.open.inState) == 0 && c.has(*b)
			return got
		}
		wg.Go(func() {
			for !got && ctx.Err() == nil {
				c.session(ctx, 1<<30, 2*patience)
			}
			if !got {
				c.fail("stays, and %s", c.lacks(*is.Load()))
			}
		})
	}
	quiet = func() {
		poll.Go(func() {
			for ctx.Err() == nil {
				b := w.buckets()
				is.Store(&b)
				nap(ctx, 100*time.Millisecond)
			}
		})
	}
	return quiet, func() { wg.Wait(); cancel(); poll.Wait() }
}

// putResting puts keys that nothing changes any more, and purgeResting takes them away without a message: only a state says that they are gone.
func (w *world) putResting(kv jetstream.KeyValue) {
	for n := range 6 {
		w.do("put", func(ctx context.Context) error {
			_, err := kv.Put(ctx, fmt.Sprintf("eu.resting%d", n), []byte("rests"))
			return err
		})
	}
}

func (w *world) purgeResting() {
	for n := range 6 {
		w.purge("KV_FLAGS", fmt.Sprintf("$KV.FLAGS.eu.resting%d", n), 0)
	}
}

func matching(keys map[string]kvValue, filter string) map[string]kvValue {
	mine := maps.Clone(keys)
	maps.DeleteFunc(mine, func(key string, _ kvValue) bool { return !subject.Match(filter, key) })
	return mine
}

// anotherBucket deletes the bucket and makes it again, perhaps with some keys.
func (w *world) anotherBucket(name string, rnd *rand.Rand) {
	w.remove("KV_" + name)
	nap(context.Background(), time.Duration(rnd.IntN(2)*rnd.IntN(1000))*time.Millisecond)
	kv := w.bucket(losing(name))
	for range rnd.IntN(100) {
		w.do("put", func(ctx context.Context) error {
			_, err := kv.Put(ctx, fmt.Sprintf("eu.k%d", rnd.IntN(12)), []byte("again"))
			return err
		})
	}
}

// expiring puts keys that live for a second.
func (w *world) expiring(ctx context.Context, seed uint64) {
	rnd := rand.New(rand.NewPCG(seed, 0))
	for ctx.Err() == nil {
		m := nats.NewMsg(fmt.Sprintf("$KV.FLAGS.eu.k%d", rnd.IntN(12)))
		m.Header.Set("Nats-TTL", "1s") // ADR-43
		m.Data = []byte("for a second")
		w.quiet.RLock()
		_, _ = w.js.PublishMsg(ctx, m, jetstream.WithRetryAttempts(0)) // it is away now and then
		w.quiet.RUnlock()
		nap(ctx, 50*time.Millisecond)
	}
}

// converge waits until every client has what its buckets have.
func (w *world) converge(clients []*modelClient) {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	var wg sync.WaitGroup
	for _, c := range clients {
		wg.Go(func() {
			var b buckets
			for ctx.Err() == nil {
				c.session(ctx, 1<<30, 250*time.Millisecond)
				if b = w.buckets(); c.has(b) && c.open != nil && c.open.live {
					return
				}
			}
			c.fail("%s", c.lacks(b))
		})
	}
	wg.Wait()
}

// A key is removed without a message, so no position says that it was. Whoever was at the end of the bucket before that must get a
// fresh state when he comes back, from a gateway that has seen it and from one that was started since.
func TestBucket_AKeyThatWentInSilenceIsNotKept(t *testing.T) {
	t.Parallel()
	p := newPit(t, streamA(), nil, streamRoute("all", "a.>", "a.>"))
	kv := p.bucket(jetstream.KeyValueConfig{Bucket: "FLAGS"})
	cfg := modelConfig(p.ns.URL(), routesOf(kvRoutes()[:1]))
	cfg.JetStream.VerifyEvery = 500 * time.Millisecond
	p.gw = startReplica(t, cfg).ready()
	p.replaying()
	for _, key := range []string{"eu.a", "eu.b"} {
		if _, err := kv.PutString(t.Context(), key, "1"); err != nil {
			t.Fatal(err)
		}
	}
	stays := p.open("/eu", "")
	for both, done := false, false; !both || !done; {
		e := stays.next()
		done = done || e.Type == "$snapshot"
		both = both || strings.Contains(e.Data, "eu.b")
	}
	id := stays.dec.LastEventID()
	back := p.open("/eu", id)
	if e := back.want("$ready"); !strings.Contains(e.Data, "replay") {
		t.Errorf("$ready %s", e.Data)
	}
	p.purge("KV_FLAGS", "$KV.FLAGS.eu.a", 0)
	stays.gap("reset")
	check := func() {
		t.Helper()
		rd := p.open("/eu", id)
		rd.want("$ready")
		for e := rd.next(); e.Type != "$snapshot"; e = rd.next() {
			if e.Type != "put" || strings.Contains(e.Data, "eu.a") {
				t.Errorf("%s %s", e.Type, e.Data)
			}
		}
	}
	check()
	p.gw.stop()
	p.gw.start()
	p.gw.ready()
	check()
	p.replaying()
	if _, err := kv.PutString(t.Context(), "eu.c", "1"); err != nil {
		t.Fatal(err)
	}
	stays = p.open("/eu", "")
	for e := stays.next(); !strings.Contains(e.Data, "eu.c"); e = stays.next() {
	}
	p.mustPublish("KV_FLAGS", "$KV.FLAGS.eu.d", "1")
	for e := stays.next(); !strings.Contains(e.Data, "eu.d"); e = stays.next() {
	}
	again := p.open("/eu", stays.dec.LastEventID())
	if e := again.want("$ready"); !strings.Contains(e.Data, "replay") {
		t.Errorf("$ready %s", e.Data)
	}
}
