package ratelimit

import (
	"testing"
	"time"

	"golang.org/x/time/rate"
	"pgregory.net/rapid"
)

// checkTable says whether index, slots, free list and ring agree.
func checkTable(t interface{ Fatalf(string, ...any) }, tb *table) {
	free := 0
	for i := tb.free; i != none; i = tb.slots[i].next {
		free++
	}
	if free+len(tb.index) != len(tb.slots) {
		t.Fatalf("%d slots, %d free, %d in use", len(tb.slots), free, len(tb.index))
	}
	buckets := 0
	for k, i := range tb.index {
		s := tb.slots[i]
		if s.key != k || s.streams < 0 || s.streams == 0 && s.bucket == nil {
			t.Fatalf("entry %+v of %x", s, k)
		}
		if s.bucket != nil {
			buckets++
		}
	}
	ring := 0
	for i := tb.hand; i != none; {
		if tb.slots[i].bucket == nil || tb.slots[tb.slots[i].next].prev != i {
			t.Fatalf("ring broken at %+v", tb.slots[i])
		}
		if ring++; ring > buckets {
			break
		}
		if i = tb.slots[i].next; i == tb.hand {
			break
		}
	}
	if ring != buckets {
		t.Fatalf("%d buckets, %d in the ring", buckets, ring)
	}
}

// model is a limiter that never forgets anybody.
type model struct {
	cfg     Config
	buckets map[int]*rate.Limiter
	open    map[int]int
	total   int
	global  *rate.Limiter
}

func (m *model) admit(who int, now time.Time) bool {
	if m.total >= m.cfg.Streams || m.open[who] >= m.cfg.StreamsPerAddress {
		return false
	}
	b := m.buckets[who]
	if b == nil {
		b = rate.NewLimiter(rate.Limit(m.cfg.ConnectRate), m.cfg.ConnectBurst)
		m.buckets[who] = b
	}
	if !b.AllowN(now, 1) || !m.global.AllowN(now, 1) {
		return false
	}
	m.open[who]++
	m.total++
	return true
}

// Forgetting is invisible: with room for everybody, each decision is that of a limiter with infinite memory, and at the end only
// those are remembered who have streams open.
func TestTable_ForgettingChangesNoDecision(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c := newClock()
		// Rates and steps are powers of two, so that both sides compute the same fractions.
		cfg := Config{Streams: 12, StreamsPerAddress: 3, ConnectRate: 4, ConnectBurst: 4, GlobalConnectRate: 16, Addresses: 8, Now: c.now}
		l := New(cfg)
		m := &model{cfg: cfg, buckets: map[int]*rate.Limiter{}, open: map[int]int{}, global: rate.NewLimiter(16, 16)}
		for range rapid.IntRange(1, 200).Draw(t, "steps") {
			who := rapid.IntRange(0, 7).Draw(t, "who")
			switch rapid.IntRange(0, 3).Draw(t, "what") {
			case 0, 1:
				want := m.admit(who, c.t)
				if r, ok := l.both(numbered(who), "r"); ok != want {
					t.Fatalf("address %d: %v, %+v, want %v", who, ok, r, want)
				}
			case 2:
				if m.open[who] > 0 {
					m.open[who]--
					m.total--
				}
				l.giveBack(numbered(who), "r")
			case 3:
				c.advance(rapid.SampledFrom([]time.Duration{15625 * time.Microsecond, time.Second / 8, time.Second, time.Minute}).Draw(t, "step"))
			}
			checkTable(t, l.connects)
		}
		c.advance(time.Hour)
		l.connects.sweep(c.t, 100)
		active := 0
		for _, n := range m.open {
			active += min(n, 1)
		}
		if l.connects.len() != active || l.connects.hand != none || l.streams != m.total {
			t.Fatalf("%d addresses and %d streams, want %d and %d", l.connects.len(), l.streams, active, m.total)
		}
	})
}

// With too little room nothing may break either: the caps hold, and every stream can be given back.
func TestTable_StaysWholeWhenItIsTooSmall(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c := newClock()
		l := New(Config{StreamsPerAddress: 2, ConnectRate: 4, ConnectBurst: 4, Addresses: 3, Now: c.now})
		open := map[int]int{}
		total := 0
		for range rapid.IntRange(1, 200).Draw(t, "steps") {
			who := rapid.IntRange(0, 9).Draw(t, "who")
			switch rapid.IntRange(0, 3).Draw(t, "what") {
			case 0, 1:
				if _, ok := l.both(numbered(who), "r"); ok {
					open[who]++
					total++
				}
			case 2:
				if open[who] > 0 {
					l.giveBack(numbered(who), "r")
					open[who]--
					total--
				}
			case 3:
				c.advance(time.Second / 8)
			}
			checkTable(t, l.connects)
			if l.connects.len() > 3 {
				t.Fatalf("%d addresses in a table for 3", l.connects.len())
			}
			if total != l.streams || total > 2*(3+1) {
				t.Fatalf("%d streams open, %d counted", total, l.streams)
			}
		}
		for who, n := range open {
			for range n {
				l.giveBack(numbered(who), "r")
			}
		}
		c.advance(time.Hour)
		l.connects.sweep(c.t, 100)
		if l.streams != 0 || l.connects.overflow.streams != 0 || l.connects.len() != 0 {
			t.Fatalf("left: %d streams, %d newcomers, %d addresses", l.streams, l.connects.overflow.streams, l.connects.len())
		}
	})
}
