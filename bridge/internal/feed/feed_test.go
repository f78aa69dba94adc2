package feed

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go/jetstream"

	"headgate/internal/devnats"
	"headgate/internal/flow"
)

func TestFeed_RelaysInOrderAndToTheRightFollowers(t *testing.T) {
	w := newWorld(t)
	w.stream(ordinary())
	w.put("s.old")
	f := w.run(Config{}).ready()
	all, _ := f.follow()
	eu, _ := f.follow("s.eu.*", "s.*.a", "s.eu.a") // overlapping: each message once
	w.put("s.eu.a", "s.us.b", "s.us.a", "s.eu.b")
	all.waitFor(t, "2 s.eu.a", "3 s.us.b", "4 s.us.a", "5 s.eu.b")
	eu.waitFor(t, "2 s.eu.a", "4 s.us.a", "5 s.eu.b")
	s := f.State()
	if !s.Ready || s.Cursor != 5 || s.Floor != 1 || s.Inc.IDPrefix != fmt.Sprintf("1~%s.", s.Inc.Tag[:]) || !s.Inc.Direct {
		t.Errorf("%+v", s)
	}
	if inc, at := f.Pushed(); inc != s.Inc || at > 5 {
		t.Errorf("pushed %v %d", inc, at)
	}
	items, done, ok := f.Tail(s.Inc, []string{"s.*.a"}, 1, 5, 1<<20)
	if !ok || !done || !slices.Equal(seqsOf(items), []uint64{2, 4}) || items[0].At == 0 || string(items[0].Data) != "s.eu.a" {
		t.Errorf("%v %v %v", items, done, ok)
	}
	if _, _, ok := f.Tail(s.Inc, everything, 0, 5, 1<<20); ok {
		t.Error("the tail reaches further back than its floor")
	}
}

func TestFeed_PrefillsItsTail(t *testing.T) {
	w := newWorld(t)
	w.stream(ordinary())
	w.many(500, "s.a", "s.b")
	f := w.run(Config{PrefillAge: time.Hour}).ready()
	s := f.State()
	if s.Floor != 0 || s.Cursor != 500 {
		t.Fatalf("%+v", s)
	}
	items, done, ok := f.Tail(s.Inc, []string{"s.a"}, 0, 500, 1<<20)
	if !ok || !done || len(items) != 250 {
		t.Fatalf("%d %v %v", len(items), done, ok)
	}
	if seq, ok := f.FirstInTail(s.Inc, []string{"s.b"}, 100); !ok || seq != 102 {
		t.Errorf("%d %v", seq, ok)
	}
	small := w.run(Config{PrefillAge: time.Hour, Budget: NewBudget(20_000)}).ready()
	if s := small.State(); s.Floor < 400 || s.Cursor != 500 {
		t.Errorf("%+v", s)
	}
}

func TestFeed_LeavesNothingBehind(t *testing.T) {
	w := newWorld(t)
	w.stream(ordinary())
	f := w.run(Config{}).ready()
	if n := w.info("S").State.Consumers; n != 1 {
		t.Errorf("%d consumers", n)
	}
	f.stop()
	if n := w.info("S").State.Consumers; n != 0 {
		t.Errorf("%d consumers are left", n)
	}
	if err := f.Wait(context.Background()); !errors.Is(err, flow.ErrClosed) {
		t.Error(err)
	}
	if _, _, _, err := f.Follow(everything, &recorder{}); !errors.Is(err, flow.ErrClosed) {
		t.Error(err)
	}
}

// A client that is connected while its stream is made anew gets one hole and then everything the new one has.
func TestRecreated_EverythingNewArrivesBehindOneHole(t *testing.T) {
	for _, n := range []int{2, 5, 9} { // fewer, equal, more
		t.Run(fmt.Sprint(n), func(t *testing.T) {
			w := newWorld(t)
			w.stream(ordinary())
			w.put("s.1", "s.2", "s.3", "s.4", "s.5")
			f := w.run(Config{PrefillAge: time.Hour}).ready()
			rec, _ := f.follow()
			before := f.State().Inc
			w.deleteStream("S")
			w.stream(ordinary())
			want := []string{"hole reset certain=false 0-0 at 0"}
			for i := range n {
				w.put("s.new")
				want = append(want, fmt.Sprintf("%d s.new", i+1))
			}
			eventually(t, "all messages", func() bool { return len(rec.all()) >= len(want) })
			got := rec.all()
			if got[0] == "hole reset certain=false 0-0 at 5" { // we saw it missing
				got[0] = want[0]
				if got[1] != "silent at 0" {
					t.Fatalf("%q", got)
				}
				got = slices.Delete(got, 1, 2)
			}
			if eventually(t, "the last", func() bool { return f.State().Cursor == uint64(n) }); !slices.Equal(got, want[:len(got)]) {
				t.Fatalf("got %q", got)
			}
			after := f.State().Inc
			if before.Tag == after.Tag || !before.Tag.SameSource(after.Tag) || before.Same(after) {
				t.Errorf("%s %s", before.Tag, after.Tag)
			}
			if _, _, ok := f.Tail(before, everything, 5, 5, 1); ok {
				t.Error("the old incarnation still has a tail")
			}
		})
	}
}

func TestConsumerDeletedBehindOurBack_NothingIsTold(t *testing.T) {
	w := newWorld(t)
	w.stream(ordinary())
	f := w.run(Config{}).ready()
	rec, _ := f.follow()
	var want []string
	for i := range 5 {
		w.do("delete consumers", func(ctx context.Context) error {
			s, err := w.js.Stream(ctx, "S")
			if err != nil {
				return err
			}
			for name := range s.ConsumerNames(ctx).Name() {
				s.DeleteConsumer(ctx, name) // perhaps it is the feed that was quicker
			}
			return nil
		})
		w.put("s.a")
		want = append(want, fmt.Sprintf("%d s.a", i+1))
		rec.waitFor(t, want...)
	}
	if f.metric("headgate_feed_resets_total", "deleted") == 0 {
		t.Error("not counted")
	}
	if n := w.info("S").State.Consumers; n != 1 {
		t.Errorf("%d consumers", n)
	}
}

func TestServerRestart_FileStreamGoesOnMemoryStreamBeginsAgain(t *testing.T) {
	for _, storage := range []jetstream.StorageType{jetstream.FileStorage, jetstream.MemoryStorage} {
		t.Run(storage.String(), func(t *testing.T) {
			w := newWorld(t)
			cfg := ordinary()
			cfg.Storage = storage
			w.stream(cfg)
			w.put("s.1", "s.2")
			f := w.run(Config{}).ready()
			rec, _ := f.follow()
			w.put("s.3")
			rec.waitFor(t, "3 s.3")
			if err := w.server.Restart(); err != nil {
				t.Fatal(err)
			}
			eventually(t, "the connection", func() bool { return w.nc.IsConnected() && w.nc.Stats().Reconnects > 0 })
			eventually(t, "JetStream", func() bool {
				_, err := w.js.AccountInfo(t.Context())
				return err == nil
			})
			if storage == jetstream.FileStorage {
				w.put("s.4")
				rec.waitFor(t, "3 s.3", "4 s.4")
				return
			}
			rec.waitFor(t, "3 s.3", "hole reset certain=false 0-0 at 3")
			if err := f.Wait(t.Context()); !errors.Is(err, flow.ErrMissing) {
				t.Errorf("Wait: %v", err)
			}
			if _, _, _, err := f.Follow(everything, &recorder{}); !errors.Is(err, flow.ErrMissing) {
				t.Errorf("Follow: %v", err)
			}
			w.stream(cfg)
			w.put("s.1")
			rec.waitFor(t, "3 s.3", "hole reset certain=false 0-0 at 3", "silent at 0", "1 s.1")
		})
	}
}

func TestPurge_IsToldOnlyToThoseWhoMissedIt(t *testing.T) {
	w := newWorld(t)
	w.stream(ordinary())
	f := w.run(Config{VerifyEvery: 50 * time.Millisecond}).ready()
	rec, _ := f.follow()
	w.put("s.1", "s.2")
	rec.waitFor(t, "1 s.1", "2 s.2")
	w.purge() // caught up: nothing
	w.put("s.3")
	rec.waitFor(t, "1 s.1", "2 s.2", "3 s.3")

	f.away() // the feed cannot see what happens now
	w.put("s.4", "s.5", "s.6")
	w.purge(jetstream.WithPurgeSequence(6))
	f.Connected(f.nc)
	rec.waitFor(t, "1 s.1", "2 s.2", "3 s.3", "hole expired certain=true 4-5 at 5", "6 s.6")
	if s := f.State(); s.Floor != 5 {
		t.Errorf("%+v", s)
	}
}

func TestInteriorDeletes_AreNoHole(t *testing.T) {
	w := newWorld(t)
	w.stream(ordinary())
	f := w.run(Config{VerifyEvery: 50 * time.Millisecond}).ready()
	rec, _ := f.follow()
	w.put("s.1")
	rec.waitFor(t, "1 s.1")
	f.away()
	w.put("s.2", "s.3", "s.4")
	w.deleteMessage(2)
	w.deleteMessage(3)
	f.Connected(f.nc)
	rec.waitFor(t, "1 s.1", "4 s.4")
	f.away()
	w.put("s.5", "s.6")
	w.deleteMessage(6) // the last one never comes
	f.Connected(f.nc)
	rec.waitFor(t, "1 s.1", "4 s.4", "5 s.5")
	eventually(t, "Pushed to pass the deleted message", func() bool { _, at := f.Pushed(); return at == 6 })
	if len(rec.holes) > 0 {
		t.Errorf("%v", rec.holes)
	}
}

func TestFilteredFeed_PushedPassesForeignSubjects(t *testing.T) {
	w := newWorld(t)
	w.stream(ordinary())
	for _, filters := range [][]string{{"s.a.*"}, {"s.a.*", "s.b.>"}, {"s.a.*", "s.*.x"}} {
		t.Run(fmt.Sprint(filters), func(t *testing.T) {
			f := w.run(Config{Filters: filters, VerifyEvery: 30 * time.Millisecond}).ready()
			rec, _ := f.follow()
			start := f.State().Cursor
			w.put("s.a.x", "s.c.1", "s.a.1", "s.c.1", "s.c.2")
			rec.waitFor(t, fmt.Sprintf("%d s.a.x", start+1), fmt.Sprintf("%d s.a.1", start+3))
			eventually(t, "Pushed to pass the foreign", func() bool { _, at := f.Pushed(); return at == start+5 })
			if s := f.State(); s.Cursor != start+5 || s.Floor != start {
				t.Errorf("%+v", s)
			}
		})
	}
}

func TestMissing_AtStartAndAppearsLater(t *testing.T) {
	w := newWorld(t)
	f := w.run(Config{})
	s := f.wait("the stream to be missed", func(s State) bool { return s.Missing != nil })
	if s.Ready || s.Err == "" {
		t.Errorf("%+v", s)
	}
	if err := f.Wait(t.Context()); !errors.Is(err, flow.ErrMissing) {
		t.Error(err)
	}
	w.stream(ordinary())
	f.wait("the stream to be found", func(s State) bool { return s.Ready })
	rec, _ := f.follow()
	w.put("s.1")
	rec.waitFor(t, "1 s.1")
	if s := f.State(); s.Err != "" || s.Missing != nil {
		t.Errorf("%+v", s)
	}
}

func TestLost_AfterLostAfterAndHealsAllTheSame(t *testing.T) {
	w := newWorld(t)
	w.stream(ordinary())
	f := w.run(Config{LostAfter: 1200 * time.Millisecond}).ready()
	rec, _ := f.follow()
	w.put("s.1")
	rec.waitFor(t, "1 s.1")
	w.deleteStream("S")
	rec.waitFor(t, "1 s.1", "hole reset certain=false 0-0 at 1", "lost")
	w.stream(ordinary())
	w.put("s.2")
	rec.waitFor(t, "1 s.1", "hole reset certain=false 0-0 at 1", "lost", "silent at 0", "1 s.2")
}

func TestDenied_IsMissingAndHeals(t *testing.T) {
	user := func(deny ...string) func(*server.Options) {
		return func(o *server.Options) {
			o.Users = []*server.User{{Username: "u", Password: "p",
				Permissions: &server.Permissions{Publish: &server.SubjectPermission{Allow: []string{">"}, Deny: deny}}},
				{Username: "w", Password: "p"}}
		}
	}
	s, err := devnats.Start(devnats.Options{JetStream: true, Configure: user("$JS.API.STREAM.INFO.S")})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Shutdown)
	host := s.URL()[len("nats://"):]
	w := worldOn(t, s, "nats://w:p@"+host)
	w.stream(ordinary())
	f := w.runOn("nats://u:p@"+host, Config{})
	f.wait("the refusal", func(s State) bool { return errors.Is(s.Missing, errDenied) })
	if err := s.Reload(user()); err != nil {
		t.Fatal(err)
	}
	f.wait("permission", func(s State) bool { return s.Ready })
}

func TestRestoredStream_IsRewound(t *testing.T) {
	w := newWorld(t)
	w.stream(ordinary())
	w.put("s.1", "s.2")
	f := w.run(Config{}).ready()
	rec, _ := f.follow()
	// The same incarnation with less in it: what a restored backup looks like to the feed.
	f.away()
	eventually(t, "the session to end", func() bool { return w.info("S").State.Consumers == 0 })
	f.stop()
	g := &loopDouble{f.Feed}
	g.ahead(7)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { f.Run(ctx); close(done) }()
	t.Cleanup(func() { cancel(); <-done })
	f.Connected(f.nc)
	rec.waitFor(t, "hole rewound certain=false 0-0 at 2")
	w.put("s.3")
	rec.waitFor(t, "hole rewound certain=false 0-0 at 2", "3 s.3")
}

// loopDouble changes what the loop owns while it does not run.
type loopDouble struct{ f *Feed }

func (d *loopDouble) ahead(seq uint64) {
	d.f.mu.Lock()
	defer d.f.mu.Unlock()
	d.f.ended = false
	d.f.Cursor = seq
	d.f.progress.raise(seq)
}

func TestClose_NothingIsPushedAfterIt(t *testing.T) {
	w := newWorld(t)
	w.stream(ordinary())
	f := w.run(Config{}).ready()
	for range 20 {
		rec := &recorder{hook: func() { time.Sleep(100 * time.Microsecond) }}
		l, inc, at, err := f.Follow(everything, rec)
		if err != nil {
			t.Fatal(err)
		}
		_ = inc
		rec.mu.Lock()
		rec.inc, rec.at = inc, at
		rec.mu.Unlock()
		w.many(20, "s.a")
		l.Close()
		n := len(rec.all())
		w.many(5, "s.a")
		f.wait("the feed", func(s State) bool { return s.Cursor >= at+25 })
		if got := len(rec.all()); got != n {
			t.Fatalf("%d messages after Close", got-n)
		}
	}
}
