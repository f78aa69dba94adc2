package history

import (
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"headgate/bridge/internal/encode"
)

// list makes a list.
func (w *world) list(r Request, void func(*encode.Item) bool) *List {
	w.t.Helper()
	a := w.ask(func(done func(Answer)) { w.c.List(r, void, done) })
	if a.Err != nil {
		w.t.Error(a.Err)
		return &List{}
	}
	return a.List
}

// parts reads all of a list.
func (w *world) parts(l *List, r Request) (items []*encode.Item, parts int) {
	w.t.Helper()
	for at := 0; at < l.Len(); parts++ {
		next := at
		a := w.ask(func(done func(Answer)) {
			w.c.Part(l, r, at, func(items []*encode.Item, n int, err error) {
				next = n
				done(Answer{Items: items, Err: err})
			})
		})
		if a.Err != nil || next <= at {
			w.t.Errorf("part from %d to %d: %v", at, next, a.Err)
			return items, parts
		}
		items, at = append(items, a.Items...), next
	}
	return items, parts
}

// upTo are those of them that are not behind a sequence.
func upTo(items []*encode.Item, to uint64) []*encode.Item {
	return slices.DeleteFunc(items, func(it *encode.Item) bool { return it.Seq > to })
}

func TestList_ItsPartsEqualTheStream(t *testing.T) {
	w := newWorld(t, nil)
	r := seeded(t)
	for n := range 12 {
		name := fmt.Sprintf("S%d", n)
		created, direct := randomStream(w, r, name)
		content := w.content(name)
		_, end := lastSeq(w, name)
		var wg sync.WaitGroup
		for range 8 {
			req := Request{Stream: name, Created: created, Direct: direct, Filters: randomFilters(r, name), To: end, MaxBytes: 1 + r.IntN(300)}
			if r.IntN(3) == 0 {
				req.To = r.Uint64N(end) + 1
			}
			wg.Go(func() {
				l := w.list(req, nil)
				got, _ := w.parts(l, req)
				if d := same(got, upTo(lastOfEach(want(content, req.Filters, 0, end)), req.To)); d != "" {
					t.Errorf("%+v: %s", req, d)
				}
			})
		}
		wg.Wait()
		w.noConsumers(name)
	}
}

// What changes between the list and its parts may be left out, since who reads the list meets the change behind it. Everything else must be
// there, and nothing that is gone.
func TestList_OfAStreamThatChangesMeanwhile(t *testing.T) {
	w := newWorld(t, nil)
	for _, direct := range []bool{true, false} {
		name := fmt.Sprint("S", direct)
		created := w.stream(name, func(c *jetstream.StreamConfig) { c.AllowDirect, c.MaxMsgsPerSubject = direct, 3 })
		w.fill(3000, func(i int) string { return fmt.Sprintf("%s.%d", name, i%1000) })
		req := Request{Stream: name, Created: created, Direct: direct, Filters: []string{name + ".*"}, To: 3000, MaxBytes: 2000}
		l := w.list(req, nil)
		w.fill(100, func(i int) string { return fmt.Sprintf("%s.%d", name, i) })         // have a younger one
		w.fill(400, func(i int) string { return fmt.Sprintf("%s.%d", name, 100+i%100) }) // and the old ones are gone
		s, err := w.js.Stream(w.context(), name)
		if err != nil {
			t.Fatal(err)
		}
		for i := range 100 {
			if err := s.Purge(w.context(), jetstream.WithPurgeSubject(fmt.Sprintf("%s.%d", name, 200+i))); err != nil {
				t.Fatal(err)
			}
		}
		got, parts := w.parts(l, req)
		have := map[string]bool{}
		for _, it := range got {
			have[it.Subject] = true
			if it.Seq > 3000 || it.Seq <= 2000 {
				t.Errorf("%s: %d is not the last", it.Subject, it.Seq)
			}
		}
		for i := range 1000 {
			if subj := fmt.Sprintf("%s.%d", name, i); i >= 300 && !have[subj] || i >= 200 && i < 300 && have[subj] {
				t.Errorf("%s: there is one: %v", subj, have[subj])
			}
		}
		if parts < 10 {
			t.Errorf("%d parts of at most 2000 bytes", parts)
		}
	}
}

// Subjects whose last message says that they have no value are not listed, whatever they had before.
func TestList_LeavesOutWhatIsVoid(t *testing.T) {
	w := newWorld(t, nil)
	created := w.stream("S", nil)
	w.fill(100, func(i int) string { return fmt.Sprintf("S.%d", i) })
	for i := range 50 {
		m := &nats.Msg{Subject: fmt.Sprintf("S.%d", i), Header: nats.Header{"Void": {"1"}}}
		if _, err := w.js.PublishMsg(w.context(), m); err != nil {
			t.Fatal(err)
		}
	}
	req := Request{Stream: "S", Created: created, Direct: true, Filters: []string{">"}, To: 150}
	l := w.list(req, func(it *encode.Item) bool { return it.Header["Void"] != nil })
	if got, _ := w.parts(l, req); l.Len() != 50 || len(got) != 50 || got[0].Subject != "S.50" {
		t.Errorf("%d in the list, %d messages", l.Len(), len(got))
	}
}

// Many who read a list at the same time read it from NATS about once.
func TestList_PartsAreShared(t *testing.T) {
	w := newWorld(t, nil)
	created := w.stream("S", nil)
	w.fill(2000, func(i int) string { return fmt.Sprintf("S.%d", i) })
	req := Request{Stream: "S", Created: created, Direct: true, Filters: []string{"S.*"}, To: 2000, MaxBytes: 4000}
	l := w.list(req, nil)
	before := value(w.c.m.gets)
	_, parts := w.parts(l, req)
	one := value(w.c.m.gets) - before
	l = w.list(req, nil)
	for at := 0; at < l.Len(); {
		next := 0
		for range 20 {
			a := w.ask(func(done func(Answer)) {
				w.c.Part(l, req, at, func(items []*encode.Item, n int, err error) {
					next = n
					done(Answer{Items: items, Err: err})
				})
			})
			if a.Err != nil || len(a.Items) != next-at {
				t.Fatalf("%d items from %d to %d: %v", len(a.Items), at, next, a.Err)
			}
		}
		at = next
	}
	if many := value(w.c.m.gets) - before - one; many > one+float64(parts)/4 {
		t.Errorf("%v direct gets for twenty, and %v for one", many, one)
	}
}

// A list without room is not made, and one that is given up keeps nothing.
func TestList_AsksForRoom(t *testing.T) {
	w := newWorld(t, nil)
	created := w.stream("S", nil)
	w.fill(5000, func(i int) string { return fmt.Sprintf("S.%d", i) })
	for _, c := range []struct {
		room int64
		fits bool
	}{{64 << 20, true}, {recentBytes, false}, {recentBytes + growEntries, false}, {0, false}} {
		left := c.room
		req := Request{Stream: "S", Created: created, Direct: true, Filters: []string{"S.*"}, To: 5000, Grow: func(n int64) bool { left -= n; return left >= 0 }}
		a := w.ask(func(done func(Answer)) { w.c.List(req, nil, done) })
		if c.fits != (a.Err == nil) {
			t.Errorf("with %d bytes: %v", c.room, a.Err)
		}
		if used := c.room - left; c.fits && used < 5000*entryCost {
			t.Errorf("%d bytes of room for 5000 entries", used)
		}
	}
}

// Lists that take long do not take all workers: who has missed a few messages does not wait for them.
func TestList_LeavesWorkersForOthers(t *testing.T) {
	w := newWorld(t, nil)
	created := w.stream("S", nil)
	w.fill(10, func(i int) string { return fmt.Sprintf("S.%d", i) })
	held := make(chan struct{})
	release := sync.OnceFunc(func() { close(held) })
	t.Cleanup(release)
	answers := make(chan Answer, 2*w.c.parallel)
	for i := range cap(answers) {
		grow := func(int64) bool { <-held; return true }
		req := Request{Stream: "S", Created: created, Direct: true, Filters: []string{fmt.Sprint("S.", i)}, To: 10, Grow: grow, User: fmt.Sprint(i)}
		w.c.List(req, nil, func(a Answer) { answers <- a })
	}
	read := make(chan Answer, 1)
	w.c.Read(Request{Stream: "S", Created: created, Direct: true, Filters: []string{"S.>"}, To: 10}, func(a Answer) { read <- a })
	select {
	case a := <-read:
		if a.Err != nil || len(a.Items) != 10 {
			t.Errorf("%d items, %v", len(a.Items), a.Err)
		}
	case <-time.After(patienceOfTests):
		t.Error("a read waits for the lists")
	}
	release()
	for range cap(answers) {
		if a := <-answers; a.Err != nil || a.List.Len() != 1 {
			t.Errorf("%+v", a)
		}
	}
	w.noConsumers("S")
}

// Lists that wait for others are answered when NATS goes away.
func TestList_ThatWaitsIsAnsweredWhenNATSIsAway(t *testing.T) {
	w := newWorld(t, func(c *Config) { c.Parallel = 1 })
	created := w.stream("S", nil)
	w.fill(10, func(i int) string { return fmt.Sprintf("S.%d", i) })
	held, answers := make(chan struct{}), make(chan Answer, 5)
	for i := range cap(answers) {
		req := Request{Stream: "S", Created: created, Direct: true, Filters: []string{fmt.Sprint("S.", i)}, To: 10,
			Grow: func(int64) bool { <-held; return true }}
		w.c.List(req, nil, func(a Answer) { answers <- a })
	}
	w.c.Disconnected()
	for range cap(answers) {
		if a := <-answers; a.Err == nil {
			t.Error("a list without NATS")
		}
	}
	close(held)
}

// What retention has taken from the beginning of the stream since nobody asks for.
func TestList_AsksForNothingThatRetentionHasTaken(t *testing.T) {
	w := newWorld(t, nil)
	for _, direct := range []bool{true, false} {
		name := fmt.Sprint("S", direct)
		created := w.stream(name, func(c *jetstream.StreamConfig) { c.AllowDirect = direct })
		w.fill(2000, func(i int) string { return fmt.Sprintf("%s.%d", name, i) })
		req := Request{Stream: name, Created: created, Direct: direct, Filters: []string{name + ".*"}, To: 2000, MaxBytes: 4000}
		l := w.list(req, nil)
		s, err := w.js.Stream(w.context(), name)
		if err == nil {
			err = s.Purge(w.context(), jetstream.WithPurgeSequence(1991))
		}
		if err != nil {
			t.Fatal(err)
		}
		w.c.leader.forget(time.Now().Add(time.Minute))
		gets, asks := value(w.c.m.gets), value(w.c.m.leader)
		got, parts := w.parts(l, req)
		if len(got) != 10 || got[0].Seq != 1991 {
			t.Errorf("%d messages", len(got))
		}
		if n := value(w.c.m.gets) - gets; n > 5 {
			t.Errorf("%v direct gets", n)
		}
		if n := value(w.c.m.leader) - asks; int(n) > 3*parts {
			t.Errorf("%v questions to the leader for %d parts", n, parts)
		}
	}
}

// Of subjects that were purged since, each is not asked for by itself.
func TestList_AsksOnceForWhatWasPurged(t *testing.T) {
	w := newWorld(t, nil)
	created := w.stream("S", nil)
	w.fill(1, func(int) string { return "S.stays.0" })
	w.fill(4000, func(i int) string { return fmt.Sprintf("S.goes.%d", i) })
	w.fill(1, func(int) string { return "S.stays.1" })
	req := Request{Stream: "S", Created: created, Direct: true, Filters: []string{"S.>"}, To: 4002, MaxBytes: 16 << 10}
	l := w.list(req, nil)
	s, err := w.js.Stream(w.context(), "S")
	if err == nil {
		err = s.Purge(w.context(), jetstream.WithPurgeSubject("S.goes.*"))
	}
	if err != nil {
		t.Fatal(err)
	}
	asks := value(w.c.m.leader)
	got, parts := w.parts(l, req)
	if len(got) != 2 || got[0].Subject != "S.stays.0" || got[1].Subject != "S.stays.1" {
		t.Errorf("%d messages", len(got))
	}
	if n := value(w.c.m.leader) - asks; int(n) > 5*parts {
		t.Errorf("%v questions to the leader for %d parts", n, parts)
	}
}

// TestList_Cost says what a list of many subjects takes.
func TestList_Cost(t *testing.T) {
	if testing.Short() {
		t.Skip("SKIPPED with -short: 300,000 messages")
	}
	w := newWorld(t, nil)
	const n = 150_000
	created := w.stream("S", func(c *jetstream.StreamConfig) { c.MaxMsgsPerSubject = 2 })
	w.fill(2*n, func(i int) string { return fmt.Sprintf("S.some.key.%d", i%n) })
	req := Request{Stream: "S", Created: created, Direct: true, Filters: []string{"S.>"}, To: 2 * n, MaxBytes: 256 << 10}
	began := time.Now()
	l := w.list(req, nil)
	made := time.Since(began)
	got, parts := w.parts(l, req)
	t.Logf("%d subjects: listed in %v, read in %d parts in %v", l.Len(), made, parts, time.Since(began)-made)
	if len(got) != n {
		t.Errorf("%d messages", len(got))
	}
}
