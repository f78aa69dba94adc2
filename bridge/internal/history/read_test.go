package history

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"headgate/bridge/internal/jsapi"
)

// randomStream has interior deletes, a purged head, and perhaps a bound per subject.
func randomStream(w *world, r *rand.Rand, name string) (created time.Time, direct bool) {
	direct = r.IntN(2) == 0
	created = w.stream(name, func(c *jetstream.StreamConfig) {
		c.AllowDirect = direct
		if r.IntN(2) == 0 {
			c.MaxMsgsPerSubject = 1 + r.Int64N(40)
		}
	})
	n := 100 + r.IntN(1500)
	w.fill(n, func(int) string { return randomSubject(r, name) })
	s, err := w.js.Stream(w.context(), name)
	if err != nil {
		w.t.Fatal(err)
	}
	for range r.IntN(30) {
		if err := s.DeleteMsg(w.context(), uint64(1+r.IntN(n))); err != nil && !errors.Is(err, jetstream.ErrMsgNotFound) &&
			!errors.Is(err, jetstream.ErrMsgDeleteUnsuccessful) {
			w.t.Fatal(err)
		}
	}
	if r.IntN(3) == 0 {
		if err := s.Purge(w.context(), jetstream.WithPurgeSequence(uint64(1+r.IntN(n/2)))); err != nil {
			w.t.Fatal(err)
		}
	}
	if r.IntN(4) == 0 {
		if err := s.Purge(w.context(), jetstream.WithPurgeSubject(randomSubject(r, name))); err != nil {
			w.t.Fatal(err)
		}
	}
	return created, direct
}

func lastSeq(w *world, name string) (first, last uint64) {
	s, err := w.js.Stream(w.context(), name)
	if err != nil {
		w.t.Fatal(err)
	}
	return s.CachedInfo().State.FirstSeq, s.CachedInfo().State.LastSeq
}

func TestRead_EqualsTheStream(t *testing.T) {
	w := newWorld(t, nil)
	r := seeded(t)
	for n := range 12 {
		name := fmt.Sprintf("S%d", n)
		created, direct := randomStream(w, r, name)
		content := w.content(name)
		first, end := lastSeq(w, name)
		var wg sync.WaitGroup
		for range 40 {
			from := r.Uint64N(end + 1)
			req := Request{Stream: name, Created: created, Direct: direct, Filters: randomFilters(r, name), From: from,
				To: from + r.Uint64N(end-from+1), MaxBytes: r.IntN(3000), User: fmt.Sprint(r.IntN(3))}
			wg.Go(func() {
				got, seen, err := w.readAll(req)
				if err != nil {
					t.Errorf("%+v: %v", req, err)
				} else if d := same(got, want(content, req.Filters, req.From, req.To)); d != "" {
					t.Errorf("%+v (first %d, end %d): %s", req, first, end, d)
				}
				if req.From+1 < first && req.To > req.From && err == nil && seen <= req.From+1 {
					t.Errorf("%+v: first %d, want more than %d: the head is gone", req, seen, req.From+1)
				}
				if seen > first {
					t.Errorf("%+v: first %d, want at most %d", req, seen, first)
				}
			})
		}
		wg.Wait()
		w.noConsumers(name)
	}
	if n := value(w.c.m.waiting); n != 0 {
		t.Errorf("%v requests wait", n)
	}
}

// nats-server says that > matches nothing when the last message was deleted.
func TestRead_TheLastMessageWasDeleted(t *testing.T) {
	for _, storage := range []jetstream.StorageType{jetstream.FileStorage, jetstream.MemoryStorage} {
		w := newWorld(t, nil)
		created := w.stream("S", func(c *jetstream.StreamConfig) { c.Storage = storage })
		w.fill(100, func(i int) string { return fmt.Sprintf("S.%d", i%3) })
		s, err := w.js.Stream(w.context(), "S")
		if err != nil {
			t.Fatal(err)
		}
		for _, seq := range []uint64{100, 99} {
			if err := s.DeleteMsg(w.context(), seq); err != nil {
				t.Fatal(err)
			}
		}
		for _, direct := range []bool{true, false} {
			r := Request{Stream: "S", Created: created, Direct: direct, Filters: []string{">"}, From: 90, To: 100}
			got, _, err := w.readAll(r)
			if err != nil || len(got) != 8 {
				t.Errorf("%v: %d messages, want 8, %v", storage, len(got), err)
			}
			a := w.ask(func(done func(Answer)) { w.c.Last(r, done) })
			if a.Err != nil || len(a.Items) != 1 || a.Items[0].Seq != 98 {
				t.Errorf("%v: last %v, want 98, %v", storage, seqs(a.Items), a.Err)
			}
		}
	}
}

func TestRead_AStreamThatLetsNoConsumerBeIdleForLong(t *testing.T) {
	w := newWorld(t, nil)
	created := w.stream("S", func(c *jetstream.StreamConfig) { c.ConsumerLimits.InactiveThreshold = time.Second })
	w.fill(100, func(i int) string { return fmt.Sprintf("S.%d", i%3) })
	got, _, err := w.readAll(Request{Stream: "S", Created: created, Filters: []string{"S.>"}, To: 100})
	if err != nil || len(got) != 100 {
		t.Errorf("%d messages, want 100, %v", len(got), err)
	}
}

func TestRead_MergesEqualRequests(t *testing.T) {
	w := newWorld(t, nil)
	created := w.stream("S", nil)
	w.fill(3000, func(i int) string { return fmt.Sprintf("S.%d", i%30) })
	const clients = 500
	var wg sync.WaitGroup
	for n := range clients {
		wg.Go(func() {
			got, _, err := w.readAll(Request{Stream: "S", Created: created, Direct: true, Filters: []string{"S.7"}, From: uint64(n), To: 3000})
			if err != nil || len(got) != 100-(n+22)/30 {
				t.Errorf("from %d: %d items, %v", n, len(got), err)
			}
		})
	}
	wg.Wait()
	asked := value(w.c.m.gets) + value(w.c.m.scans) + value(w.c.m.leader)
	t.Logf("%d clients: %v requests to the server, %v merged, %v from memory", clients, asked, value(w.c.m.merged), value(w.c.m.hits))
	if asked > clients/5 {
		t.Errorf("%v requests to the server", asked)
	}
}

func storm(t testing.TB, topics, span int, change func(*Config)) *world {
	w := newWorld(t, change)
	created := w.stream("S", nil)
	w.fill(span, func(i int) string { return fmt.Sprintf("S.%d", i%topics) })
	began := time.Now()
	var wg sync.WaitGroup
	var got atomic.Int64
	wg.Add(topics)
	for n := range topics {
		r := Request{Stream: "S", Created: created, Direct: true, Filters: []string{fmt.Sprintf("S.%d", n)}, To: uint64(span),
			User: fmt.Sprint(n), MaxBytes: 64 << 10}
		var next func(a Answer)
		next = func(a Answer) {
			got.Add(int64(len(a.Items)))
			switch {
			case a.Err != nil:
				t.Error(a.Err)
				wg.Done()
			case a.Upto < r.To:
				r.From = a.Upto
				w.c.Read(r, next)
			default:
				wg.Done()
			}
		}
		w.c.Read(r, next)
	}
	wg.Wait()
	took := time.Since(began)
	t.Logf("%d topics over %d messages: %v; %v scans, %v direct gets, %v questions to the leader", topics, span, took,
		value(w.c.m.scans), value(w.c.m.gets), value(w.c.m.leader))
	if got.Load() != int64(span) {
		t.Errorf("%d messages, want %d", got.Load(), span)
	}
	if n := value(w.c.m.scans); n < 1 || n > float64(span/chunk+10) {
		t.Errorf("%v scans", n)
	}
	if n := value(w.c.m.gets); n > float64(topics/5) {
		t.Errorf("%v direct gets", n)
	}
	w.noConsumers("S")
	return w
}

func TestRead_ManyTopicsShareScans(t *testing.T) { storm(t, 1000, 20_000, nil) }

// What has been read for somebody who waits for the rest must not be thrown away and read again.
func TestRead_AStormLargerThanTheMemoryIsReadAboutOnce(t *testing.T) {
	w := storm(t, 1000, 20_000, func(c *Config) { c.CacheBytes = 2 << 20 })
	if n := value(w.c.m.scans); n > 10 {
		t.Errorf("%v scans of about 7,500 messages each, for 20,000", n)
	}
}

func BenchmarkStorm(b *testing.B) {
	for b.Loop() {
		storm(b, 10_000, 200_000, nil)
	}
}

func TestRead_UsersTakeTurns(t *testing.T) {
	w := newWorld(t, func(c *Config) { c.Parallel = 1 })
	created := w.stream("S", nil)
	w.fill(2000, func(i int) string { return fmt.Sprintf("S.%d", i%1000) })
	gate := make(chan struct{})
	w.c.operate(Request{Stream: "S", User: "gate"}, "", func(*session) Answer { <-gate; return Answer{} }, func(Answer) {})
	var wg sync.WaitGroup
	var place atomic.Int64
	var last atomic.Int64
	add := func(user string, n int) {
		for i := range n {
			wg.Add(1)
			w.c.Last(Request{Stream: "S", Created: created, Direct: true, Filters: []string{fmt.Sprintf("S.%d", i)}, To: 2000, User: user},
				func(a Answer) {
					if a.Err != nil || len(a.Items) != 1 {
						t.Errorf("%v, %v", a.Items, a.Err)
					}
					if p := place.Add(1); user == "modest" {
						last.Store(p)
					}
					wg.Done()
				})
		}
	}
	add("greedy", 300)
	add("modest", 3)
	close(gate)
	wg.Wait()
	if last.Load() > 10 {
		t.Errorf("the last of 3 requests was served as number %d of 303", last.Load())
	}
}

func TestRead_AnotherIncarnation(t *testing.T) {
	w := newWorld(t, nil)
	for _, direct := range []bool{true, false} {
		created := w.stream("S", nil)
		w.fill(5000, func(i int) string { return fmt.Sprintf("S.%d", i%3) })
		r := Request{Stream: "S", Created: created, Direct: direct, Filters: []string{"S.1"}, To: 5000, MaxBytes: 100}
		a := w.ask(func(done func(Answer)) { w.c.Read(r, done) })
		if a.Err != nil || len(a.Items) == 0 {
			t.Fatalf("%+v", a)
		}
		if err := w.js.DeleteStream(w.context(), "S"); err != nil {
			t.Fatal(err)
		}
		r.Filters = []string{"S.2"}
		if a = w.ask(func(done func(Answer)) { w.c.Read(r, done) }); !errors.Is(a.Err, jsapi.ErrNoStream) {
			t.Errorf("%v, want ErrNoStream", a.Err)
		}
		w.stream("S", nil)
		w.fill(6000, func(i int) string { return fmt.Sprintf("S.%d", i%3) })
		if a = w.ask(func(done func(Answer)) { w.c.Read(r, done) }); !errors.Is(a.Err, ErrReset) {
			t.Errorf("%v, want ErrReset", a.Err)
		}
		for _, what := range []func(Request, func(Answer)){w.c.LastPerSubject, w.c.Last} {
			if a = w.ask(func(done func(Answer)) { what(r, done) }); !errors.Is(a.Err, ErrReset) {
				t.Errorf("%v, want ErrReset", a.Err)
			}
		}
		if err := w.js.DeleteStream(w.context(), "S"); err != nil {
			t.Fatal(err)
		}
	}
}

func TestRead_PurgedMeanwhileEnds(t *testing.T) {
	w := newWorld(t, nil)
	r := seeded(t)
	for n := range 20 {
		name := fmt.Sprintf("P%d", n)
		direct := n%2 == 0
		created := w.stream(name, nil)
		w.fill(4000, func(i int) string { return fmt.Sprintf("%s.%d", name, i%20) })
		s, err := w.js.Stream(w.context(), name)
		if err != nil {
			t.Fatal(err)
		}
		var wg sync.WaitGroup
		for k := range 20 {
			req := Request{Stream: name, Created: created, Direct: direct, Filters: []string{fmt.Sprintf("%s.%d", name, k)}, To: 4000,
				MaxBytes: 200}
			wg.Go(func() {
				got, first, err := w.readAll(req)
				if err != nil {
					t.Error(err)
				}
				if len(got) < 200 && first <= 1 {
					t.Errorf("%d messages and first %d: a silent hole", len(got), first)
				}
			})
		}
		time.Sleep(time.Duration(r.IntN(4000)) * time.Microsecond) // any moment of the reads
		if err := s.Purge(w.context()); err != nil {
			t.Fatal(err)
		}
		wg.Wait()
	}
}

func TestRead_NATSGoesAway(t *testing.T) {
	w := newWorld(t, nil)
	created := w.stream("S", func(c *jetstream.StreamConfig) { c.Storage = jetstream.FileStorage })
	w.fill(20_000, func(i int) string { return fmt.Sprintf("S.%d", i%500) })
	answers := make(chan Answer, 500)
	for n := range 500 {
		w.c.Read(Request{Stream: "S", Created: created, Direct: n%2 == 0, Filters: []string{fmt.Sprintf("S.%d", n)}, To: 20_000},
			func(a Answer) { answers <- a })
	}
	w.server.Stop()
	limit := time.After(3 * time.Second)
	away := 0
	for range 500 {
		select {
		case a := <-answers:
			if a.Err != nil && !errors.Is(a.Err, ErrAway) {
				t.Errorf("%v, want ErrAway", a.Err)
			}
			if a.Err != nil {
				away++
			}
		case <-limit:
			t.Fatal("requests hang while NATS is away")
		}
	}
	t.Logf("%d of 500 answered with ErrAway", away)
	if err := w.server.Restart(); err != nil {
		t.Fatal(err)
	}
	r := Request{Stream: "S", Created: created, Direct: true, Filters: []string{"S.3"}, To: 20_000}
	for deadline := time.Now().Add(patienceOfTests); ; {
		got, _, err := w.readAll(r)
		if err == nil && len(got) == 40 {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%d items, %v", len(got), err)
		}
		time.Sleep(10 * time.Millisecond) // as a client that was told to ask again
	}
}

func TestRun_AnswersEverythingWhenItEnds(t *testing.T) {
	w := newWorld(t, nil)
	created := w.stream("S", nil)
	w.fill(5000, func(i int) string { return fmt.Sprintf("S.%d", i%100) })
	var wg sync.WaitGroup
	wg.Add(100)
	for n := range 100 {
		w.c.Read(Request{Stream: "S", Created: created, Direct: true, Filters: []string{fmt.Sprintf("S.%d", n)}, To: 5000},
			func(Answer) { wg.Done() })
	}
	w.stop()
	wg.Wait()
	a := w.ask(func(done func(Answer)) { w.c.Read(Request{Stream: "S", Filters: []string{">"}, To: 1}, done) })
	if !errors.Is(a.Err, ErrAway) {
		t.Error(a.Err)
	}
}
