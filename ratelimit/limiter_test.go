package ratelimit

import (
	"fmt"
	"net/netip"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
)

// clock is virtual time.
type clock struct{ t time.Time }

func newClock() *clock                   { return &clock{time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)} }
func (c *clock) now() time.Time          { return c.t }
func (c *clock) advance(d time.Duration) { c.t = c.t.Add(d) }

var (
	alice = netip.MustParseAddr("192.0.2.1")
	bob   = netip.MustParseAddr("192.0.2.2")
)

// numbered are distinct addresses.
func numbered(i int) netip.Addr {
	return netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)})
}

func mustAdmit(t testing.TB, l *Limiter, addr netip.Addr, route string) {
	t.Helper()
	if r, ok := l.both(addr, route); !ok {
		t.Fatalf("%s is refused: %+v", addr, r)
	}
}

func mustRefuse(t testing.TB, l *Limiter, addr netip.Addr, route, cause, limit string) Refusal {
	t.Helper()
	r, ok := l.both(addr, route)
	if ok || r.Cause != cause || r.Limit != limit {
		t.Fatalf("%s: admitted %v, refusal %+v, want %s by %s", addr, ok, r, cause, limit)
	}
	if r.RetryAfter < time.Second || r.RetryAfter > longestWait+capSpread || r.RetryAfter%time.Second != 0 {
		t.Fatalf("RetryAfter %v is not a sensible number of seconds", r.RetryAfter)
	}
	return r
}

func TestAdmit_WithoutLimitsAdmitsEverybodyAndRemembersNobody(t *testing.T) {
	l := New(Config{StreamsPerAddress: -1, ConnectRate: -1, Addresses: 10})
	for i := range 1000 {
		mustAdmit(t, l, numbered(i), "r")
		if _, ok := l.Publish(numbered(i)); !ok {
			t.Fatal("publish refused")
		}
	}
	if l.connects.len() != 0 || l.publishes.len() != 0 {
		t.Errorf("%d and %d addresses", l.connects.len(), l.publishes.len())
	}
}

func TestAdmit_CapsInAllPerRouteAndPerAddress(t *testing.T) {
	l := New(Config{Streams: 5, StreamsPerAddress: 3, Routes: map[string]Route{"small": {Streams: 2}}, Addresses: 10})
	mustAdmit(t, l, alice, "small")
	mustAdmit(t, l, alice, "small")
	mustRefuse(t, l, bob, "small", Cap, StreamsPerRoute)
	mustAdmit(t, l, alice, "big")
	mustRefuse(t, l, alice, "big", Cap, StreamsPerAddress)
	mustAdmit(t, l, bob, "big")
	mustAdmit(t, l, bob, "big")
	mustRefuse(t, l, bob, "big", Cap, Streams)

	l.giveBack(alice, "small")
	mustAdmit(t, l, bob, "small")
	mustRefuse(t, l, numbered(1), "big", Cap, Streams)
	l.giveBack(bob, "big")
	mustAdmit(t, l, alice, "big")
}

func TestAdmit_ARefusalUsesNothingUp(t *testing.T) {
	c := newClock()
	l := New(Config{Streams: 1, StreamsPerAddress: 2, ConnectRate: 1, ConnectBurst: 2, Routes: map[string]Route{"r": {Streams: 1}}, Addresses: 10, Now: c.now})
	mustAdmit(t, l, alice, "r")
	for range 10 {
		mustRefuse(t, l, bob, "r", Cap, Streams)
	}
	l.giveBack(alice, "r")
	mustAdmit(t, l, bob, "r")
	l.giveBack(bob, "r")
	mustAdmit(t, l, bob, "r")
	l.giveBack(bob, "r")
	mustRefuse(t, l, bob, "r", Rate, ConnectRate)
}

// An attempt counts for the address whatever becomes of it, but a user that the process refuses has lost nothing.
func TestAdmit_TheProcessRefusingGivesTheUserHisTokenBack(t *testing.T) {
	c := newClock()
	l := New(Config{UserConnectRate: 0.001, ConnectBurst: 1, GlobalConnectRate: 1, Addresses: 10, Users: 10, Now: c.now})
	mustAdmit(t, l, alice, "r")
	ann := UserOf("i", "ann")
	for range 5 {
		mustRefuseUser(t, l, ann, "r", Rate, GlobalConnectRate)
	}
	c.advance(time.Second)
	mustAdmitUser(t, l, ann, "r")
	mustRefuseUser(t, l, ann, "r", Rate, UserConnectRate)
}

func TestAdmit_TheProcessRefusingLeavesNoEntryBehind(t *testing.T) {
	c := newClock()
	l := New(Config{StreamsPerAddress: 5, GlobalConnectRate: 1, Addresses: 10, Now: c.now})
	mustAdmit(t, l, alice, "r")
	for i := range 100 {
		mustRefuse(t, l, numbered(i), "r", Rate, GlobalConnectRate)
	}
	if n := l.connects.len(); n != 1 {
		t.Errorf("%d addresses, want that of the one stream", n)
	}
}

func TestAdmit_RatePerAddress(t *testing.T) {
	c := newClock()
	l := New(Config{ConnectRate: 5, ConnectBurst: 20, Addresses: 10, Now: c.now})
	for range 20 {
		mustAdmit(t, l, alice, "r")
	}
	mustRefuse(t, l, alice, "r", Rate, ConnectRate)
	mustAdmit(t, l, bob, "r")
	c.advance(200 * time.Millisecond)
	mustAdmit(t, l, alice, "r")
	mustRefuse(t, l, alice, "r", Rate, ConnectRate)
	c.advance(time.Hour)
	for range 20 {
		mustAdmit(t, l, alice, "r")
	}
	mustRefuse(t, l, alice, "r", Rate, ConnectRate)
}

// 10,000 connects a second from one address get through at the rate, and everybody else does not notice.
func TestAdmit_AFloodFromOneAddressGetsItsRate(t *testing.T) {
	c := newClock()
	l := New(Config{ConnectRate: 5, ConnectBurst: 20, GlobalConnectRate: 500, Addresses: 100, Now: c.now})
	admitted := 0
	for i := range 100_000 {
		if _, ok := l.both(alice, "r"); ok {
			admitted++
		}
		if i%1000 == 0 {
			mustAdmit(t, l, numbered(i), "r")
		}
		c.advance(100 * time.Microsecond)
	}
	if want := 20 + 5*10; admitted < want-1 || admitted > want {
		t.Errorf("%d of 100,000 in 10 s, want %d", admitted, want)
	}
	if n := l.connects.len(); n > 3 {
		t.Errorf("%d addresses are still remembered", n)
	}
}

func TestAdmit_RetryAfterNamesWhenTheTokenIsThere(t *testing.T) {
	c := newClock()
	l := New(Config{ConnectRate: 0.1, ConnectBurst: 1, Addresses: 10, Now: c.now})
	mustAdmit(t, l, alice, "r")
	c.advance(3 * time.Second)
	r := mustRefuse(t, l, alice, "r", Rate, ConnectRate)
	if r.RetryAfter < 7*time.Second || r.RetryAfter > 7*time.Second+ownSpread {
		t.Errorf("RetryAfter %v, the next token comes in 7 s", r.RetryAfter)
	}
	c.advance(r.RetryAfter)
	mustAdmit(t, l, alice, "r")
}

func TestAdmit_RetryAfterIsBoundedForAbsurdRates(t *testing.T) {
	l := New(Config{ConnectRate: 1e-15, ConnectBurst: 1, Addresses: 10})
	mustAdmit(t, l, alice, "r")
	mustRefuse(t, l, alice, "r", Rate, ConnectRate)
}

// Those that are refused together must not come back together.
func TestAdmit_RetryAfterIsSpread(t *testing.T) {
	l := New(Config{Streams: 1, Addresses: 1})
	mustAdmit(t, l, alice, "r")
	seen := map[time.Duration]bool{}
	for range 200 {
		seen[mustRefuse(t, l, bob, "r", Cap, Streams).RetryAfter] = true
	}
	if len(seen) < 10 {
		t.Errorf("only %d different values", len(seen))
	}
}

func TestAdmit_IPv6CountsPerNetwork(t *testing.T) {
	same := []string{"2001:db8:0:1::1", "2001:db8:0:1:ffff::2", "2001:db8:0:1::1%eth0"}
	others := []string{"2001:db8:0:2::1", "2001:db8::1", "192.0.2.9", "::1", "::"}
	l := New(Config{StreamsPerAddress: 1, Addresses: 100})
	mustAdmit(t, l, netip.MustParseAddr(same[0]), "r")
	for _, s := range same {
		mustRefuse(t, l, netip.MustParseAddr(s), "r", Cap, StreamsPerAddress)
	}
	for _, s := range others[:3] {
		mustAdmit(t, l, netip.MustParseAddr(s), "r")
	}
	l.giveBack(netip.MustParseAddr(same[1]), "r")
	mustAdmit(t, l, netip.MustParseAddr(same[2]), "r")
}

func TestAdmit_IPv4MappedIsIPv4(t *testing.T) {
	l := New(Config{StreamsPerAddress: 1, Addresses: 100})
	mustAdmit(t, l, netip.MustParseAddr("::ffff:192.0.2.1"), "r")
	mustRefuse(t, l, alice, "r", Cap, StreamsPerAddress)
	mustAdmit(t, l, bob, "r")
	mustAdmit(t, l, netip.MustParseAddr("::ffff:192.0.2.3"), "r")
}

func TestAdmit_TakesAnAddressThatIsNone(t *testing.T) {
	l := New(Config{StreamsPerAddress: 1, ConnectRate: 1, PublishRate: 1, Addresses: 1})
	mustAdmit(t, l, netip.Addr{}, "r")
	mustRefuse(t, l, netip.Addr{}, "r", Cap, StreamsPerAddress)
	l.Publish(netip.Addr{})
	l.giveBack(netip.Addr{}, "r")
}

func TestRelease_OfWhatWasNotAdmittedChangesNothing(t *testing.T) {
	l := New(Config{Streams: 2, StreamsPerAddress: 2, Routes: map[string]Route{"a": {Streams: 1}, "b": {Streams: 1}}, Addresses: 10})
	l.giveBack(alice, "a")
	mustAdmit(t, l, alice, "a")
	l.giveBack(bob, "a")   // another address
	l.giveBack(alice, "b") // another route
	if got := testutil.ToFloat64(l.metrics.unknown); got != 3 {
		t.Errorf("%v unknown releases counted, want 3", got)
	}
	mustRefuse(t, l, alice, "a", Cap, StreamsPerRoute)
	l.giveBack(alice, "a")
	l.giveBack(alice, "a")
	if got := testutil.ToFloat64(l.metrics.unknown); got != 4 {
		t.Errorf("%v unknown releases counted, want 4", got)
	}
	mustAdmit(t, l, alice, "a")
	mustAdmit(t, l, alice, "b")
	mustRefuse(t, l, bob, "c", Cap, Streams)
}

func TestPublish_RatePerAddress(t *testing.T) {
	c := newClock()
	l := New(Config{PublishRate: 2, Addresses: 10, Now: c.now})
	for range 2 {
		if _, ok := l.Publish(alice); !ok {
			t.Fatal("refused within the rate")
		}
	}
	r, ok := l.Publish(alice)
	if ok || r.Cause != Rate || r.Limit != PublishRate || r.RetryAfter < time.Second {
		t.Fatalf("%v, %+v", ok, r)
	}
	if _, ok := l.Publish(bob); !ok {
		t.Error("another address is refused")
	}
	mustAdmit(t, l, alice, "r")
	c.advance(500 * time.Millisecond)
	if _, ok := l.Publish(alice); !ok {
		t.Error("refused although a token is there")
	}
}

func TestMetrics_ExistFromTheStartAndCount(t *testing.T) {
	reg := prometheus.NewRegistry()
	c := newClock()
	l := New(Config{StreamsPerAddress: 1, PublishRate: 1, Addresses: 10, Registerer: reg, Now: c.now})
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	series := map[string]float64{}
	read := func() {
		for _, f := range families {
			for _, m := range f.GetMetric() {
				name := f.GetName()
				for _, p := range m.GetLabel() {
					name += fmt.Sprintf("{%s=%s}", p.GetName(), p.GetValue())
				}
				series[name] = m.GetCounter().GetValue() + m.GetGauge().GetValue()
			}
		}
	}
	read()
	want := []string{"headgate_limit_overflow_total", "headgate_limit_unknown_releases_total", "headgate_limit_addresses{use=connect}",
		"headgate_limit_addresses{use=publish}"}
	for _, limit := range limits {
		want = append(want, "headgate_limit_refusals_total{limit="+limit+"}")
	}
	for _, name := range want {
		if v, ok := series[name]; !ok || v != 0 {
			t.Errorf("%s = %v, %v before anything happened", name, v, ok)
		}
	}
	mustAdmit(t, l, alice, "r")
	mustRefuse(t, l, alice, "r", Cap, StreamsPerAddress)
	l.Publish(alice)
	l.Publish(alice)
	if families, err = reg.Gather(); err != nil {
		t.Fatal(err)
	}
	read()
	for _, name := range []string{"headgate_limit_refusals_total{limit=streams_per_address}", "headgate_limit_refusals_total{limit=publish_rate_per_address}",
		"headgate_limit_addresses{use=connect}", "headgate_limit_addresses{use=publish}"} {
		if series[name] != 1 {
			t.Errorf("%s = %v, want 1", name, series[name])
		}
	}
}
