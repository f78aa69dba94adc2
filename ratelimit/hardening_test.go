package ratelimit

import (
	"net/netip"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"
)

// Whoever drained his bucket or has his streams open stays limited, whatever a crowd of other addresses does meanwhile.
func TestTable_RotatingAddressesDisplacesNobody(t *testing.T) {
	const room = 1000
	c := newClock()
	l := New(Config{StreamsPerAddress: 2, ConnectRate: 1, ConnectBurst: 4, Addresses: room, Now: c.now})
	drained, full := numbered(1), numbered(2)
	for range 4 {
		mustAdmit(t, l, drained, "r")
		l.giveBack(drained, "r")
	}
	mustAdmit(t, l, full, "r")
	mustAdmit(t, l, full, "r")

	newcomers := 0
	for i := range 10 * room {
		a := numbered(100 + i)
		if _, ok := l.both(a, "r"); ok {
			l.giveBack(a, "r")
			if i >= room {
				newcomers++
			}
		}
	}
	if newcomers > 4 {
		t.Errorf("%d admissions beside the table, want those of one address", newcomers)
	}
	mustRefuse(t, l, drained, "r", Rate, ConnectRate)
	mustRefuse(t, l, full, "r", Cap, StreamsPerAddress)
	mustRefuse(t, l, numbered(1<<20), "r", Rate, Overflow)
	if n := l.connects.len(); n != room {
		t.Errorf("%d addresses, want %d", n, room)
	}
	if testutil.ToFloat64(l.metrics.shared) == 0 || testutil.ToFloat64(l.metrics.refusals[Overflow]) == 0 {
		t.Error("the overflow is not counted")
	}

	// As soon as the crowd's buckets are full again, there is room.
	c.advance(time.Second)
	mustAdmit(t, l, numbered(1<<20), "r")
	mustRefuse(t, l, full, "r", Cap, StreamsPerAddress)
}

func TestTable_EntriesWithStreamsAreNeverDisplaced(t *testing.T) {
	const room = 100
	c := newClock()
	l := New(Config{StreamsPerAddress: 1, ConnectRate: 100, ConnectBurst: 100, Addresses: room, Now: c.now})
	for i := range room {
		mustAdmit(t, l, numbered(i), "r")
	}
	c.advance(time.Hour)
	mustAdmit(t, l, numbered(room), "r")
	for i := range 10 * room {
		mustRefuse(t, l, numbered(room+i), "r", Cap, Overflow)
		c.advance(time.Minute)
	}
	for i := range room {
		mustRefuse(t, l, numbered(i), "r", Cap, StreamsPerAddress)
	}
	l.giveBack(numbered(0), "r")
	mustAdmit(t, l, numbered(2*room), "r")
	l.giveBack(numbered(room), "r") // the one in the shared entry
	mustAdmit(t, l, numbered(3*room), "r")
}

// A crowd that comes slower than its buckets fill never needs more room than those that are not full.
func TestTable_ForgetsAsItGoes(t *testing.T) {
	c := newClock()
	l := New(Config{ConnectRate: 5, ConnectBurst: 20, Addresses: 100_000, Now: c.now})
	most := 0
	for i := range 200_000 { // 10,000 new addresses a second; each bucket is full again after 0.2 s
		mustAdmit(t, l, numbered(i), "r")
		c.advance(100 * time.Microsecond)
		most = max(most, l.connects.len())
	}
	if most > 4000 {
		t.Errorf("%d addresses were remembered at once, 2,000 of them had to be", most)
	}
}

// The caps are exact under parallel use, and nothing is left behind.
func TestAdmit_CapsAreExactInParallel(t *testing.T) {
	const most, perAddress, perRoute = 40, 7, 25
	l := New(Config{Streams: most, StreamsPerAddress: perAddress, ConnectRate: 1e9, ConnectBurst: 1e6, Addresses: 6,
		Routes: map[string]Route{"a": {Streams: perRoute}}})
	var total, route atomic.Int64
	var addresses [4]atomic.Int64
	var over, admitted atomic.Int64
	var wg sync.WaitGroup
	for w := range 300 {
		wg.Go(func() {
			who := w % len(addresses)
			name := []string{"a", "b"}[w/2%2]
			for range 200 {
				if _, ok := l.both(numbered(who), name); !ok {
					continue
				}
				admitted.Add(1)
				if total.Add(1) > most || addresses[who].Add(1) > perAddress || name == "a" && route.Add(1) > perRoute {
					over.Add(1)
				}
				if name == "a" {
					route.Add(-1)
				}
				addresses[who].Add(-1)
				total.Add(-1)
				l.giveBack(numbered(who), name)
			}
		})
	}
	wg.Wait()
	if over.Load() != 0 || admitted.Load() == 0 {
		t.Errorf("%d of %d admissions were over a cap", over.Load(), admitted.Load())
	}
	if l.streams != 0 || l.routes["a"] != 0 {
		t.Errorf("%d streams left, %d on the route", l.streams, l.routes["a"])
	}
	checkTable(t, l.connects)
	if got := testutil.ToFloat64(l.metrics.unknown); got != 0 {
		t.Errorf("%v unknown releases", got)
	}
	// Held all at once, they reach the caps exactly.
	held := 0
	for i := range 4 * most {
		if _, ok := l.both(numbered(i%6), "a"); ok {
			held++
		}
	}
	if held != perRoute {
		t.Errorf("%d streams on the route, want %d", held, perRoute)
	}
}

func TestAdmit_DoesNotAllocateForKnownAddresses(t *testing.T) {
	l := New(Config{Streams: 10, StreamsPerAddress: 5, ConnectRate: 1e9, ConnectBurst: 1e6, GlobalConnectRate: 1e9, Addresses: 10})
	addr := netip.MustParseAddr("2001:db8::1")
	mustAdmit(t, l, addr, "r")
	if n := testing.AllocsPerRun(1000, func() {
		if _, ok := l.both(addr, "r"); ok {
			l.giveBack(addr, "r")
		}
	}); n > 2 {
		t.Errorf("%v allocations", n)
	}
}

// Callers must come to the buckets in the order of their times: one who has read the clock and is kept waiting then would wind the bucket
// back, and what has passed since would be given out twice.
func TestClock_IsReadUnderTheLock(t *testing.T) {
	c := newClock()
	var l *Limiter
	var lock *sync.Mutex
	reads := 0
	l = New(Config{ConnectRate: 1, UserConnectRate: 1, PublishRate: 1, UserPublishRate: 1, GlobalConnectRate: 1, UserReplay: Replay{Events: 1},
		Addresses: 10, Users: 10, Now: func() time.Time {
			if reads++; lock.TryLock() {
				lock.Unlock()
				t.Error("the clock is read without the lock")
			}
			return c.now()
		}})
	lock = &l.mu
	for range 2 {
		l.Connect(alice, false)
		l.Admit(user(1), "r", false)
		l.Publish(alice)
		l.PublishAs(user(1), "r")
	}
	lock = &l.replays.mu
	l.part("ann", 1, 1)
	if reads != 10 {
		t.Errorf("the clock was read %d times, want once for each question", reads)
	}
}
