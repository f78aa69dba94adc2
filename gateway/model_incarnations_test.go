package gateway_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"headgate/internal/devnats"
	"headgate/internal/subject"
)

// TestModel_StreamsThatAreMadeAgain runs clients while the stream is purged in all ways, loses messages in the middle, is deleted and
// made again with fewer, as many and more messages, while its consumers are deleted and NATS is restarted.
func TestModel_StreamsThatAreMadeAgain(t *testing.T) {
	t.Parallel()
	ns, err := devnats.Start(devnats.Options{JetStream: true, NextFree: true, Port: modelPort()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(ns.Shutdown)
	w := newWorld(t, ns.URL())
	w.create(streamA())
	w.create(streamB())
	kv := w.bucket(jetstream.KeyValueConfig{Bucket: "FLAGS", History: 3})
	routes := modelRoutes()
	one := startReplica(t, modelConfig(ns.URL(), routesOf(routes))).ready()
	two := startReplica(t, modelConfig(ns.URL(), routesOf(routes))).ready()
	var clients []*modelClient
	for n := range 2 * len(routes) {
		clients = append(clients, w.client(t, n, routes[n%len(routes)], one, two))
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	everybody(ctx, w, clients,
		func(ctx context.Context) { w.publishing(ctx, "A", 1, 200) },
		func(ctx context.Context) { w.publishing(ctx, "B", 3, 50) },
		func(ctx context.Context) { w.changing(ctx, kv, 4, 40) },
		func(ctx context.Context) { w.disturbing(ctx, ns) })
	w.reread("A")
	w.reread("B")
	finish(w, clients)
	w.sameKeys(clients)
}

// disturbing does everything to the streams that loses messages or positions, in turn and at random moments.
func (w *world) disturbing(ctx context.Context, ns *devnats.Server) {
	rnd := w.rand(3000)
	acts := []struct {
		name string
		do   func()
	}{
		{"purge", func() { w.purge("A", "", 0) }},
		{"purge up to", func() { w.purge("A", "", uint64(rnd.IntN(50))) }},
		{"purge a subject", func() { w.purge("A", someSubject("A", rnd), 0) }},
		{"delete messages", func() { w.deleteSome("A", rnd) }},
		{"make again with fewer", func() { w.again(streamA(), rnd, 0.5) }},
		{"make again with as many", func() { w.again(streamA(), rnd, 1) }},
		{"make again with more", func() { w.again(streamA(), rnd, 1.2) }},
		{"make B again", func() { w.again(streamB(), rnd, 1) }},
		{"delete consumers", func() { w.deleteConsumers("A", "B", "KV_FLAGS") }},
		{"restart NATS", func() { w.restart(ns) }},
	}
	order := rnd.Perm(len(acts))
	for n := 0; ; n++ {
		nap(ctx, time.Duration(200+rnd.IntN(1200))*time.Millisecond)
		if ctx.Err() != nil {
			return
		}
		a := acts[order[n%len(acts)]]
		w.t.Logf("%s %s", time.Now().Format("05.000"), a.name)
		w.quiet.Lock()
		a.do()
		w.quiet.Unlock()
	}
}

// purge takes messages out of a stream: of a subject or of all, keeping some.
func (w *world) purge(stream, of string, keep uint64) {
	w.do("purge "+stream, func(ctx context.Context) error {
		s, err := w.js.Stream(ctx, stream)
		if err != nil {
			return err
		}
		if of != "" {
			if err := s.Purge(ctx, jetstream.WithPurgeSubject(of)); err != nil {
				return err
			}
			w.mu.Lock()
			defer w.mu.Unlock()
			for seq, m := range w.now[stream].stored {
				if subject.Match(of, m.subject) {
					w.now[stream].removed[seq] = true
				}
			}
			return nil
		}
		if err := s.Purge(ctx, jetstream.WithPurgeKeep(keep)); err != nil {
			return err
		}
		info, err := s.Info(ctx)
		if err != nil {
			return err
		}
		w.mu.Lock()
		defer w.mu.Unlock()
		for seq := range w.now[stream].stored {
			if seq < info.State.FirstSeq {
				w.now[stream].purged[seq] = true
			}
		}
		return nil
	})
}

// deleteSome takes messages out of the middle and the end of a stream.
func (w *world) deleteSome(stream string, rnd *rand.Rand) {
	w.do("delete messages", func(ctx context.Context) error {
		s, err := w.js.Stream(ctx, stream)
		if err != nil {
			return err
		}
		info, err := s.Info(ctx)
		if err != nil || info.State.Msgs == 0 {
			return err
		}
		for n := range 10 {
			seq := info.State.LastSeq
			if n > 0 {
				seq = info.State.FirstSeq + rnd.Uint64N(info.State.LastSeq-info.State.FirstSeq+1)
			}
			w.mu.Lock()
			w.now[stream].removed[seq] = true
			w.mu.Unlock()
			_ = s.DeleteMsg(ctx, seq) // it may be gone already
		}
		return nil
	})
}

// again deletes a stream and makes it again, with a part of as many messages at once.
func (w *world) again(cfg jetstream.StreamConfig, rnd *rand.Rand, part float64) {
	w.mu.Lock()
	n := int(part * float64(w.now[cfg.Name].last))
	w.mu.Unlock()
	w.remove(cfg.Name)
	if rnd.IntN(2) == 0 {
		nap(context.Background(), time.Duration(rnd.IntN(1500))*time.Millisecond)
	}
	w.create(cfg)
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	for i := range n {
		if err := w.store(ctx, cfg.Name, someSubject(cfg.Name, rnd), fmt.Sprintf("again %d", i)); err != nil {
			w.t.Errorf("fill %s: %v", cfg.Name, err)
			return
		}
	}
}

func (w *world) deleteConsumers(streams ...string) {
	for _, name := range streams {
		w.do("delete consumers of "+name, func(ctx context.Context) error {
			s, err := w.js.Stream(ctx, name)
			if err != nil {
				return err
			}
			list := s.ConsumerNames(ctx)
			for c := range list.Name() {
				_ = s.DeleteConsumer(ctx, c) // it may be gone already
			}
			return list.Err()
		})
	}
}

// restart restarts NATS. Streams in memory are gone then, and made again.
func (w *world) restart(ns *devnats.Server) {
	if err := ns.Restart(); err != nil {
		w.t.Errorf("restart: %v", err)
	}
	w.create(streamB())
}
