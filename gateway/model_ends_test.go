package gateway_test

import (
	"context"
	"fmt"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"headgate/internal/config"
	"headgate/internal/cursor"
	"headgate/internal/devnats"
)

// jobRoute is a route whose streams end.
func jobRoute(name, mode string, replay config.Replay) modelRoute {
	return streamRoute(name, "a.{job}.progress", "", func(r *modelRoute) {
		r.Path = "/" + name + "/{job}"
		r.Snapshot.Mode, r.Resume.Replay = mode, replay
		r.End = config.End{Field: "state", In: []string{`"done"`, `"failed"`}}
	})
}

// TestModel_StreamsThatEnd runs clients of jobs, each of which publishes its progress and ends. However a client is cut around the last
// event, it gets that, once, and is then told that there is nothing more.
func TestModel_StreamsThatEnd(t *testing.T) {
	t.Parallel()
	ns, err := devnats.Start(devnats.Options{JetStream: true, NextFree: true, Port: modelPort()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(ns.Shutdown)
	w := newWorld(t, ns.URL())
	w.create(streamA())
	routes := []modelRoute{jobRoute("last", "last", config.Replay{}), jobRoute("log", "", config.Replay{}),
		jobRoute("bounded", "", config.Replay{MaxEvents: 3}), jobRoute("all", "all", config.Replay{MaxEvents: 5})}
	cfg := modelConfig(ns.URL(), routesOf(routes))
	one, two := startReplica(t, cfg).ready(), startReplica(t, cfg).ready()
	var wg sync.WaitGroup
	var clients []*modelClient
	ctx, cancel := context.WithTimeout(t.Context(), 2*patience)
	defer cancel()
	for n := range 80 {
		job := fmt.Sprintf("a.j%d.progress", n/4)
		route := routes[n%4]
		route.ask, route.filters = fmt.Sprintf("%s/j%d", route.ask, n/4), []string{job}
		c := w.client(t, n, route, one, two)
		clients = append(clients, c)
		wg.Go(func() { c.untilItEnds(ctx) })
	}
	for n := range 20 {
		rnd := w.rand(uint64(5000 + n))
		wg.Go(func() {
			job := fmt.Sprintf("a.j%d.progress", n)
			nap(ctx, 300*time.Millisecond) // those without a state have come
			for i := range 20 + rnd.IntN(60) {
				w.mustPublish("A", job, fmt.Sprintf(`{"state":"runs","n":%d}`, i))
				nap(ctx, time.Duration(rnd.IntN(30))*time.Millisecond)
			}
			w.mustPublish("A", job, `{"state":"done"}`)
		})
	}
	wg.Wait()
	for _, c := range clients {
		if behind := c.behind(); !c.ended || behind != "" {
			c.fail("ended %v, %s", c.ended, behind)
		}
		c.verify()
	}
}

func (w *world) mustPublish(stream, subject, data string) {
	w.t.Helper()
	if err := w.publish(stream, subject, data); err != nil {
		w.t.Errorf("publish: %v", err)
	}
}

// untilItEnds is the life of a client that is cut around every event, until it is told that there is nothing more.
func (c *modelClient) untilItEnds(ctx context.Context) {
	for ctx.Err() == nil && !c.ended {
		most := 1 + c.rnd.IntN(12)
		if c.id == "" && c.route.Snapshot.Mode == "" {
			most = 2 // so that it has a position before the job begins
		}
		c.session(ctx, most, time.Duration(20+c.rnd.IntN(500))*time.Millisecond)
		nap(ctx, time.Duration(c.rnd.IntN(20))*time.Millisecond)
	}
}

// TestModel_AStoreThatIsPutBack runs clients while the disk of the server is put back to what it was, so that the stream keeps its time of
// creation, and what comes then has the sequences of what is lost.
func TestModel_AStoreThatIsPutBack(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	ns, err := devnats.Start(devnats.Options{JetStream: true, StoreDir: dir, NextFree: true, Port: modelPort()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(ns.Shutdown)
	w := newWorld(t, ns.URL())
	w.create(streamA())
	routes := modelRoutes()[:13] // those of one stream
	one := startReplica(t, modelConfig(ns.URL(), routesOf(routes))).ready()
	var clients []*modelClient
	for n := range 2 * len(routes) {
		clients = append(clients, w.client(t, n, routes[n%len(routes)], one))
	}
	phase := func(d time.Duration, perSecond int, number uint64) {
		ctx, cancel := context.WithTimeout(t.Context(), d)
		defer cancel()
		everybody(ctx, w, clients, func(ctx context.Context) { w.publishing(ctx, "A", number, perSecond) })
	}
	phase(700*time.Millisecond, 200, 1)
	backup := t.TempDir()
	last := w.lastOf("A")
	ns.Stop()
	copyDir(t, backup, dir)
	restart(t, ns)
	eventually(t, "the publisher", func() bool { return w.publish("A", "a.t0.k0", "first") == nil })
	phase(1200*time.Millisecond, 300, 2)
	finish(w, clients)
	lost := w.lastOf("A")

	ns.Stop()
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	copyDir(t, dir, backup)
	restart(t, ns)
	w.wentBack("A", last)
	for _, c := range clients {
		c.startAgain()
	}
	phase(2*time.Second, 20, 3)
	if now := w.lastOf("A"); now >= lost {
		t.Fatalf("the stream has grown to %d, beyond %d", now, lost)
	}
	// Before the stream has grown beyond their positions: later nobody can know.
	everybodyIsTold(t, clients)
	finish(w, clients)
	phase(time.Second, 300, 4)
	finish(w, clients)
}

func everybodyIsTold(t *testing.T, clients []*modelClient) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	var wg sync.WaitGroup
	for _, c := range clients {
		wg.Go(func() {
			for c.rewinds == 0 && ctx.Err() == nil {
				c.session(ctx, 1<<30, 300*time.Millisecond)
			}
		})
	}
	wg.Wait()
	for _, c := range clients {
		if c.rewinds == 0 {
			c.fail("was never told that the stream was rewound: %s", strings.Join(c.begin[:min(25, len(c.begin))], "\n  "))
		}
	}
}

func restart(t *testing.T, ns *devnats.Server) {
	t.Helper()
	if err := ns.Restart(); err != nil {
		t.Fatal(err)
	}
}

func copyDir(t *testing.T, to, from string) {
	t.Helper()
	if err := os.CopyFS(to, os.DirFS(from)); err != nil {
		t.Fatal(err)
	}
}

func (w *world) lastOf(stream string) uint64 {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.now[stream].last
}

// wentBack forgets what a stream had behind a sequence.
func (w *world) wentBack(stream string, last uint64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	l := w.now[stream]
	for seq := range l.stored {
		if seq > last {
			delete(l.stored, seq)
		}
	}
	l.last = last
}

// startAgain forgets what was given, which has been verified, and keeps the position.
func (c *modelClient) startAgain() {
	c.past, c.loyal, c.begin = nil, true, nil
	for _, tr := range c.tracks {
		tr.given, tr.whole = map[cursor.Entry]stored{}, nil
		clear(tr.ranges)
		clear(tr.sure)
		clear(tr.claims)
		clear(tr.reborn)
	}
}
