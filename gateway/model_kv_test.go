package gateway_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"headgate/internal/config"
	"headgate/internal/devnats"
	"headgate/internal/subject"
)

// changing puts, deletes and purges keys until ctx ends.
func (w *world) changing(ctx context.Context, kv jetstream.KeyValue, number uint64, perSecond int) {
	rnd := w.rand(1000 + number)
	for n := 0; ctx.Err() == nil; n++ {
		w.changeOne(kv, rnd, n)
		nap(ctx, time.Duration(rnd.IntN(2*int(time.Second)/perSecond)))
	}
}

// changeOne changes a key, and notes at which revision.
func (w *world) changeOne(kv jetstream.KeyValue, rnd *rand.Rand, n int) {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	w.quiet.RLock()
	defer w.quiet.RUnlock()
	key := fmt.Sprintf("%s.k%d", []string{"eu", "us"}[rnd.IntN(2)], rnd.IntN(12))
	m := nats.NewMsg("$KV." + kv.Bucket() + "." + key)
	switch rnd.IntN(8) {
	case 0: // ADR-8: what a client of a bucket does
		m.Header.Set("KV-Operation", "DEL")
	case 1:
		m.Header.Set("KV-Operation", "PURGE")
		m.Header.Set("Nats-Rollup", "sub")
	default:
		m.Data = fmt.Append(nil, n)
	}
	w.mu.Lock()
	l := w.now["KV_"+kv.Bucket()]
	w.mu.Unlock()
	ack, err := w.js.PublishMsg(ctx, m, jetstream.WithRetryAttempts(0))
	if err != nil {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	l.note(ack.Sequence, stored{m.Subject, string(m.Data)})
	l.gone[ack.Sequence] = m.Header != nil && m.Header.Get("KV-Operation") != ""
}

// verifyKeys compares what a client knew at its positions with what the bucket was then.
func (c *modelClient) verifyKeys(tr *track) {
	for _, p := range tr.points {
		l := c.w.lives[p.at.Tag]
		want := map[string]kvValue{}
		newest := map[string]uint64{}
		for rev, m := range l.stored {
			if _, key, _ := strings.Cut(strings.TrimPrefix(m.subject, "$KV."), "."); rev <= p.at.Seq && rev > newest[key] &&
				subject.Match(tr.filter, key) {
				newest[key] = rev
				want[key] = kvValue{rev, m.data}
				if l.gone[rev] {
					delete(want, key)
				}
			}
		}
		if !maps.Equal(want, p.keys) {
			c.fail("at %d of life %d it had\n  %v, and the bucket\n  %v%s", p.at.Seq, l.number, p.keys, want, p.why)
			return
		}
	}
}

// sameKeys compares what clients have of buckets with the buckets, when nothing changes them any more.
func (w *world) sameKeys(clients []*modelClient) {
	w.t.Helper()
	var has buckets
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(50 * time.Millisecond) {
		has = w.buckets()
		if !slices.ContainsFunc(clients, func(c *modelClient) bool { return !c.has(has) }) {
			return
		}
	}
	for _, c := range clients {
		if !c.has(has) {
			c.fail("%s", c.lacks(has))
		}
	}
}

// buckets are what all buckets have, by stream.
type buckets map[string]map[string]kvValue

func (w *world) buckets() buckets {
	w.mu.Lock()
	kvs := maps.Clone(w.kvs)
	w.mu.Unlock()
	has := buckets{}
	for name, kv := range kvs {
		has[name] = w.keys(kv)
	}
	return has
}

// has says whether the client knows exactly what its buckets have.
func (c *modelClient) has(b buckets) bool { return c.lacks(b) == "" }

func (c *modelClient) lacks(b buckets) string {
	for _, tr := range c.tracks {
		if want := matching(b[tr.stream], tr.filter); tr.kv && !maps.Equal(tr.keys, want) {
			return fmt.Sprintf("of %s it has\n  %v, the bucket\n  %v", tr.stream, tr.keys, want)
		}
	}
	return ""
}

// keys reads a bucket; any replica may answer, and lag.
func (w *world) keys(kv jetstream.KeyValue) map[string]kvValue {
	found := map[string]kvValue{}
	w.do("read the bucket", func(ctx context.Context) error {
		clear(found)
		keys, err := kv.Keys(ctx)
		if err != nil && !errors.Is(err, jetstream.ErrNoKeysFound) {
			return err
		}
		for _, k := range keys {
			e, err := kv.Get(ctx, k)
			if err != nil {
				return err
			}
			found[k] = kvValue{e.Revision(), string(e.Value())}
		}
		return nil
	})
	return found
}

// flagsOf is a route of the model with one bucket.
func flagsOf(name, key string, change ...func(*modelRoute)) modelRoute {
	return streamRoute(name, "", key, append([]func(*modelRoute){func(r *modelRoute) {
		r.Sources = []config.Source{{Name: name, Type: "kv", Stream: "FLAGS", Subject: key}}
	}}, change...)...)
}

func kvRoutes() []modelRoute {
	return []modelRoute{flagsOf("eu", "eu.>"), flagsOf("one", "us.k3"), flagsOf("kinds", "*.k1"), streamRoute("both", "", "", bothBuckets),
		streamRoute("several", "", "", severalSources)}
}

func bothBuckets(r *modelRoute) {
	r.Sources = []config.Source{{Name: "flags", Type: "kv", Stream: "FLAGS", Subject: "eu.>"}, {Name: "more", Type: "kv", Stream: "MORE", Subject: ">"}}
	r.filters = []string{"eu.>", ">"}
}

// TestModel_KeysOfABucket runs clients of a bucket while keys are put, deleted and purged. At every position a client has exactly what
// the bucket was then.
func TestModel_KeysOfABucket(t *testing.T) {
	t.Parallel()
	ns, err := devnats.Start(devnats.Options{JetStream: true, NextFree: true, Port: modelPort()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(ns.Shutdown)
	w := newWorld(t, ns.URL())
	w.create(streamA())
	w.create(streamB())
	kv, more := w.bucket(jetstream.KeyValueConfig{Bucket: "FLAGS"}), w.bucket(jetstream.KeyValueConfig{Bucket: "MORE"})
	routes := kvRoutes()
	cfg := modelConfig(ns.URL(), routesOf(routes))
	cfg.JetStream.TailBytes = 150 << 10
	one, two := startReplica(t, cfg).ready(), startReplica(t, cfg).ready()
	var clients []*modelClient
	for n := range 8 * len(routes) {
		clients = append(clients, w.client(t, n, routes[n%len(routes)], one, two))
	}
	ctx, cancel := context.WithTimeout(t.Context(), 6*time.Second)
	defer cancel()
	everybody(ctx, w, clients,
		func(ctx context.Context) { w.publishing(ctx, "A", 1, 60) },
		func(ctx context.Context) { w.changing(ctx, kv, 4, 300) },
		func(ctx context.Context) { w.changing(ctx, more, 5, 100) },
		func(ctx context.Context) { restarting(ctx, two, w.rand(2000)) })
	finish(w, clients)
	w.mu.Lock()
	for _, c := range clients {
		for _, tr := range append(slices.Collect(maps.Values(c.tracks)), c.past...) {
			if tr.kv {
				c.verifyKeys(tr)
			}
		}
	}
	w.mu.Unlock()
	w.sameKeys(clients)
}
