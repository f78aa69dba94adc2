package gateway_test

import (
	"context"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"headgate/internal/config"
	"headgate/internal/devnats"
)

// streamRoute is a route of the model with one stream.
func streamRoute(name, subject, filter string, change ...func(*modelRoute)) modelRoute {
	r := modelRoute{Route: prices(), ask: "/" + name, filters: []string{filter}}
	r.Name, r.Path = name, "/"+name
	r.Sources = []config.Source{{Name: name, Type: "stream", Stream: "A", Subject: subject}}
	r.Envelope, r.Heartbeat = "headgate", 300*time.Millisecond
	r.Resume = config.Resume{Enabled: true, MaxEvents: 64, MaxAge: time.Minute, OnGap: "event"}
	for _, f := range change {
		f(&r)
	}
	return r
}

func withState(mode, onGap string) func(*modelRoute) {
	return func(r *modelRoute) {
		r.Snapshot = config.Snapshot{Mode: mode, Since: time.Second}
		r.Resume.OnGap = onGap
	}
}

// severalSources makes it a route of two streams, a bucket and core subjects.
func severalSources(r *modelRoute) {
	r.Sources = []config.Source{
		{Name: "core", Type: "core", Subject: "c.>"},
		{Name: "one", Type: "stream", Stream: "A", Subject: "a.>"},
		{Name: "flags", Type: "kv", Stream: "FLAGS", Subject: "eu.>"},
		{Name: "two", Type: "stream", Stream: "B", Subject: "b.*"},
	}
	r.filters = []string{"a.>", "eu.>", "b.*"}
}

// modelRoutes are those of the storms: literal, wildcard and templated subjects, all kinds of states, several sources.
func modelRoutes() []modelRoute {
	tenant := streamRoute("tenant", "a.{t}.>", "a.t1.>", func(r *modelRoute) { r.Path, r.ask = "/tenant/{t}", "/tenant/t1" })
	named := streamRoute("named", "", "a.*.k1", func(r *modelRoute) {
		r.Sources[0].Allow, r.ask = []string{"a.>"}, "/named?subject=a.*.k1"
	})
	return []modelRoute{
		streamRoute("literal", "a.t1.k1", "a.t1.k1"), tenant, named,
		streamRoute("all", "a.>", "a.>"),
		streamRoute("dropping", "a.>", "a.>", func(r *modelRoute) { r.SlowConsumer = "drop_oldest" }),
		streamRoute("bounded", "a.>", "a.>", func(r *modelRoute) { r.Resume.Replay = config.Replay{MaxEvents: 40} }),
		streamRoute("bytes", "a.>", "a.>", func(r *modelRoute) { r.Resume.Replay = config.Replay{MaxBytes: 20 << 10} }),
		streamRoute("aged", "a.t2.*", "a.t2.*", func(r *modelRoute) { r.Resume.Replay = config.Replay{MaxAge: 250 * time.Millisecond} }),
		streamRoute("latest", "a.>", "a.>", withState("last_per_subject", "event")),
		streamRoute("again", "a.*.k2", "a.*.k2", withState("last_per_subject", "snapshot"), func(r *modelRoute) {
			r.Resume.Replay = config.Replay{MaxEvents: 30}
		}),
		streamRoute("last", "a.t0.*", "a.t0.*", withState("last", "snapshot"), func(r *modelRoute) {
			r.Resume.Replay = config.Replay{MaxEvents: 30}
		}),
		streamRoute("whole", "a.t3.k0", "a.t3.k0", withState("all", "event")),
		streamRoute("recent", "a.>", "a.>", withState("since", "snapshot")),
		streamRoute("several", "", "", severalSources),
	}
}

func routesOf(list []modelRoute) (routes []config.Route) {
	for _, r := range list {
		routes = append(routes, r.Route)
	}
	return routes
}

func streamA(change ...func(*jetstream.StreamConfig)) jetstream.StreamConfig {
	cfg := jetstream.StreamConfig{Name: "A", Subjects: []string{"a.>"}, Storage: jetstream.FileStorage, AllowDirect: true}
	for _, f := range change {
		f(&cfg)
	}
	return cfg
}

func streamB() jetstream.StreamConfig {
	return jetstream.StreamConfig{Name: "B", Subjects: []string{"b.*"}, Storage: jetstream.MemoryStorage}
}

// TestModel_StormOfCuts runs clients of all kinds of routes on two replicas, one of which is restarted now and then. The tail in
// memory is a few hundred messages, so most of what is missed comes from history.
func TestModel_StormOfCuts(t *testing.T) {
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
	for n := range 4 * len(routes) {
		c := w.client(t, n, routes[n%len(routes)], one, two)
		c.slow = n/len(routes) == 2
		clients = append(clients, c)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	everybody(ctx, w, clients,
		func(ctx context.Context) { w.publishing(ctx, "A", 1, 600) },
		func(ctx context.Context) { w.publishing(ctx, "A", 2, 100) },
		func(ctx context.Context) { w.publishing(ctx, "B", 3, 80) },
		func(ctx context.Context) { w.publishingCore(ctx, 100) },
		func(ctx context.Context) { w.changing(ctx, kv, 4, 60) },
		func(ctx context.Context) { restarting(ctx, two, w.rand(2000)) })
	finish(w, clients)
	w.sameKeys(clients)
}

// restarting ends a replica and starts it again.
func restarting(ctx context.Context, r *replica, rnd *rand.Rand) {
	for {
		nap(ctx, time.Duration(1000+rnd.IntN(2000))*time.Millisecond)
		if ctx.Err() != nil {
			return
		}
		r.stop()
		nap(ctx, time.Duration(rnd.IntN(300))*time.Millisecond)
		r.start()
	}
}
