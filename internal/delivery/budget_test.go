package delivery

import (
	"testing"
	"time"

	"golang.org/x/time/rate"
	"pgregory.net/rapid"
)

// A budget decides as a token bucket of x/time/rate whose burst is what a second brings, and says when it will decide otherwise.
func TestBudget_IsATokenBucket(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		perSecond := rapid.SampledFrom([]int{1, 2, 8, 64, 1024}).Draw(t, "rate")
		p := &Policy{EventsPerSecond: float64(perSecond), BytesPerSecond: 1 << 30}
		model := rate.NewLimiter(rate.Limit(perSecond), perSecond)
		start := time.Unix(1_000_000, 0)
		var b budget
		now := int64(time.Hour)
		for range rapid.IntRange(1, 100).Draw(t, "steps") {
			now += int64(rapid.IntRange(0, 40).Draw(t, "pause")) * int64(time.Second) / 32
			n := rapid.IntRange(1, perSecond).Draw(t, "events")
			left, due := b.take(now, p.toll(n, 100), p.deepest())
			want := model.AllowN(start.Add(time.Duration(now)), n)
			if got := due <= now; got != want {
				t.Fatalf("%d of %d a second: %v, want %v", n, perSecond, got, want)
			}
			if due <= now {
				b = left
				continue
			}
			if _, then := b.take(due, p.toll(n, 100), p.deepest()); then > due {
				t.Fatal("it is not affordable when it was said to be")
			}
		}
	})
}

// What a client is given of a run is what its bucket would allow entry by entry, wherever it begins and however full it is.
func TestBudget_OfARunIsThatOfItsEntries(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p := &Policy{EventsPerSecond: rapid.Float64Range(0.5, 2000).Draw(t, "rate"), BytesPerSecond: rapid.IntRange(0, 20_000).Draw(t, "bytes")}
		s := newShard(New(Config{Shards: 1}))
		g := &group{policy: p, limited: true}
		s.now = int64(time.Hour)
		for range rapid.IntRange(1, 12).Draw(t, "entries") {
			e := g.log.open(&s.buffers, s.now)
			e.buf = make([]byte, rapid.IntRange(1, 4000).Draw(t, "length"))
			e.events = rapid.IntRange(1, 300).Draw(t, "events")
			g.log.seal(&s.buffers, s.now)
		}
		r := s.gatherRun(g, g.log.unsent)
		r = r.from(rapid.Uint64Range(r.first.seq, r.last.seq).Draw(t, "from"))
		was := budget{s.now + rapid.Int64Range(-2e9, 2e9).Draw(t, "full"), s.now + rapid.Int64Range(-2e9, 2e9).Draw(t, "bytes full")}
		*s.budgets.of(7) = was

		want, n, b := (*entry)(nil), 0, was
		for e := r.first; e != r.last.next; e = e.next {
			left, due := b.take(s.now, p.toll(e.events, len(e.bytes)), p.deepest())
			if due > s.now {
				break
			}
			want, b, n = e, left, n+len(e.bytes)
		}
		got := r
		if !s.budgets.of(7).reaches(r.latest) {
			got = s.afforded(s.budgets.of(7), g, r)
		}
		if got.last != want || len(got.bytes) != n {
			t.Fatalf("%d bytes, want %d", len(got.bytes), n)
		}
		if want != nil {
			if s.budgets.of(7).pay(s.now, got.toll); *s.budgets.of(7) != b {
				t.Fatalf("left %+v, want %+v", *s.budgets.of(7), b)
			}
		}
	})
}

func TestBudget_SurvivesAbsurdRates(t *testing.T) {
	now := int64(time.Hour)
	for _, perSecond := range []float64{1e-300, 1e-9, 1e300} {
		p := &Policy{EventsPerSecond: perSecond}
		var b budget
		for range 3 {
			var due int64
			if b, due = b.take(now, p.toll(1<<20, 1), p.deepest()); due < now || b.events < now {
				t.Errorf("%g a second: full at %d, due at %d", perSecond, b.events, due)
			}
			now = due
		}
		if perSecond < 1 && now <= int64(time.Hour) {
			t.Errorf("%g a second: nobody waits", perSecond)
		}
	}
}

// A run of as many entries as there can be is not taken for an affordable one, whatever the rate and wherever it begins.
func TestBudget_OfTheLongestRunAtAbsurdRates(t *testing.T) {
	for _, perSecond := range []float64{1e-12, 1e-8, 1e-6, 1e-4, 1} {
		s := newShard(New(Config{Shards: 1}))
		g := &group{policy: &Policy{EventsPerSecond: perSecond}, limited: true}
		s.now = int64(time.Hour)
		const length = len("data\n\n") // no event is shorter
		entries := uint64(runLimit / length)
		for range entries {
			e := g.log.open(&s.buffers, s.now)
			e.buf, e.events = make([]byte, length), 1
			g.log.seal(&s.buffers, s.now)
		}
		whole := s.gatherRun(g, g.log.unsent)
		if n := whole.last.seq - whole.first.seq + 1; n != entries {
			t.Fatalf("%d entries, want %d", n, entries)
		}
		for from := uint64(0); from < entries-1; from += 7 {
			if r := whole.from(from); s.budgets.of(7).reaches(r.latest) {
				t.Fatalf("%g a second: a full bucket has room for %d events", perSecond, entries-from)
			}
		}
		if r := whole.from(entries - 1); s.afforded(s.budgets.of(7), g, r).last == nil {
			t.Errorf("%g a second: a full bucket has no room for one event", perSecond)
		}
	}
}

func TestBudget_TableHasRoomOnlyWhereItIsNeeded(t *testing.T) {
	var b budgets
	*b.of(5 * slabSize) = budget{events: 7}
	if len(b.slabs) != 6 || b.slabs[0] != nil || b.of(5*slabSize).events != 7 || b.of(5*slabSize+1).events != 0 {
		t.Errorf("%d slabs", len(b.slabs))
	}
}

// A policy without limits makes no table.
func TestBudget_CostsNothingWithoutLimits(t *testing.T) {
	s := newShard(New(Config{Shards: 1}))
	if (&Policy{}).limited() || len(s.budgets.slabs) != 0 {
		t.Error("there are budgets without limits")
	}
}

// BenchmarkBudget is what a send costs more on a route with both limits: a look whether it can be afforded, and the charge. A send is about
// 1,500 ns.
func BenchmarkBudget(b *testing.B) {
	s := newShard(New(Config{Shards: 1}))
	p := &Policy{EventsPerSecond: 1e7, BytesPerSecond: 1 << 40}
	e := &entry{events: 1, bytes: make([]byte, 200)}
	r := run{bytes: e.bytes, first: e, last: e, toll: p.toll(1, 200)}
	const clients = 10_000
	for i := uint32(0); b.Loop(); i = (i + 1) % clients {
		s.now += 1000
		if i%sliceSends == 0 {
			r.latest = r.toll.latest(s.now, p.deepest())
		}
		of := s.budgets.of(i)
		if !of.reaches(r.latest) {
			b.Fatal("not affordable")
		}
		of.pay(s.now, r.toll)
	}
}
