package ratelimit

import (
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"
)

func mustAdmitUser(t testing.TB, l *Limiter, user User, route string) {
	t.Helper()
	if r, ok := l.bothAs(alice, user, route); !ok {
		t.Fatalf("a user is refused: %+v", r)
	}
}

func mustRefuseUser(t testing.TB, l *Limiter, user User, route, cause, limit string) {
	t.Helper()
	r, ok := l.bothAs(alice, user, route)
	if ok || r.Cause != cause || r.Limit != limit || r.RetryAfter < time.Second {
		t.Fatalf("admitted %v, refusal %+v, want %s by %s", ok, r, cause, limit)
	}
}

func user(i int) User { return UserOf("issuer", fmt.Sprint(i)) }

func TestUserOf_TellsIssuersAndSubsApart(t *testing.T) {
	seen := map[User]string{}
	for _, u := range [][2]string{{"i", "a"}, {"i", "b"}, {"j", "a"}, {"ia", ""}, {"", "ia"}, {"i\x00", "a"}, {"i", "\x00a"}} {
		id := UserOf(u[0], u[1])
		if u[1] == "" {
			if id != Nobody {
				t.Errorf("%q is somebody without a sub", u)
			}
			continue
		}
		if other, ok := seen[id]; ok || id == Nobody {
			t.Errorf("%q is %q, or nobody", u, other)
		}
		seen[id] = fmt.Sprintf("%q", u)
	}
	if UserOf("i", "a") != UserOf("i", "a") {
		t.Error("a user is not himself")
	}
}

func TestUsers_CapsInAllAndPerRoute(t *testing.T) {
	l := New(Config{StreamsPerUser: 3, Routes: map[string]Route{"few": {StreamsPerUser: 2}}, Addresses: 10, Users: 10})
	ann, ben := user(1), user(2)
	mustAdmitUser(t, l, ann, "few")
	mustAdmitUser(t, l, ann, "few")
	mustRefuseUser(t, l, ann, "few", Cap, StreamsPerUserAndRoute)
	mustAdmitUser(t, l, ann, "other")
	mustRefuseUser(t, l, ann, "other", Cap, StreamsPerUser)
	mustAdmitUser(t, l, ben, "few")
	for range 20 { // who is nobody is limited by his address
		mustAdmitUser(t, l, Nobody, "few")
	}
	l.giveBackAs(ann, "few")
	mustAdmitUser(t, l, ann, "few")
	l.giveBackAs(ann, "other")
	l.giveBackAs(ann, "other") // it was not admitted twice
	if got := testutil.ToFloat64(l.metrics.unknown); got != 1 {
		t.Errorf("a stream was given back twice, and %v were noticed", got)
	}
}

func TestSetRoutes_CountsWhatIsOpen(t *testing.T) {
	l := New(Config{Routes: map[string]Route{"a": {PublishRate: 1}}, Addresses: 10, Users: 10})
	ann := user(1)
	mustAdmitUser(t, l, ann, "a")
	mustAdmitUser(t, l, ann, "a")
	if _, ok := l.PublishAs(ann, "a"); !ok {
		t.Fatal("the first publish is refused")
	}
	l.SetRoutes(map[string]Route{"a": {Streams: 2, PublishRate: 1}})
	mustRefuseUser(t, l, ann, "a", Cap, StreamsPerRoute)
	if _, ok := l.PublishAs(ann, "a"); ok {
		t.Error("a reload gives the route's publishes of this second once more")
	}
	l.SetRoutes(map[string]Route{"a": {StreamsPerUser: 1}})
	mustAdmitUser(t, l, ann, "a") // those from before are not counted for him
	mustRefuseUser(t, l, ann, "a", Cap, StreamsPerUserAndRoute)
	l.SetRoutes(nil)
	for range 3 {
		l.giveBackAs(ann, "a")
	}
	if got := testutil.ToFloat64(l.metrics.unknown); got != 0 {
		t.Errorf("%v unknown releases", got)
	}
	if len(l.routes) > 0 || l.userRoutes.len() > 0 || l.streams > 0 {
		t.Errorf("left: %v, %d, %d", l.routes, l.userRoutes.len(), l.streams)
	}
}

// Streams of a route without such a limit are in no entry, so when they end, what newcomers share on another route stays counted.
func TestUsers_RoutesWithoutALimitGiveNothingBackOfOneThatHasIt(t *testing.T) {
	l := New(Config{Routes: map[string]Route{"few": {StreamsPerUser: 1}}, Addresses: 10, Users: 1})
	mustAdmitUser(t, l, user(1), "few")
	mustAdmitUser(t, l, user(2), "few") // as a newcomer
	for range 3 {
		mustRefuseUser(t, l, user(3), "few", Cap, Overflow)
		mustAdmitUser(t, l, user(3), "other")
		l.giveBackAs(user(3), "other")
	}
	l.SetRoutes(map[string]Route{"other": {StreamsPerUser: 1}})
	mustRefuseUser(t, l, user(3), "other", Cap, Overflow)
	l.giveBackAs(user(1), "few") // they were counted, whatever has become of the limit
	l.giveBackAs(user(2), "few")
	mustAdmitUser(t, l, user(3), "other")
	l.giveBackAs(user(3), "other")
	l.SetRoutes(nil)
	if l.userRoutes.len() > 0 || l.userRoutes.overflow.streams > 0 {
		t.Errorf("left: %d, %d", l.userRoutes.len(), l.userRoutes.overflow.streams)
	}
}

// What newcomers share is as much worth after reloads that give routes a cap for each user and take it away again: a stream that was not
// counted gives nothing back, and one that was does, whatever its route says by then.
func TestSetRoutes_ACapThatComesOrGoesWearsDownNothing(t *testing.T) {
	few, none := map[string]Route{"few": {StreamsPerUser: 2}}, map[string]Route{"few": {}}
	both := map[string]Route{"few": {StreamsPerUser: 2}, "other": {StreamsPerUser: 2}}
	l := New(Config{Routes: few, Addresses: 10, Users: 1})
	mustAdmitUser(t, l, user(1), "few")
	mustAdmitUser(t, l, user(2), "few")   // as a newcomer
	mustAdmitUser(t, l, user(3), "few")   // likewise: what they share is used up
	mustAdmitUser(t, l, user(4), "other") // this one has no cap, yet
	l.SetRoutes(both)
	l.giveBackAs(user(4), "other")
	mustRefuseUser(t, l, user(5), "few", Cap, Overflow)
	l.SetRoutes(none)
	mustAdmitUser(t, l, user(6), "few") // now there is none here
	l.SetRoutes(both)
	l.giveBackAs(user(6), "few")
	mustRefuseUser(t, l, user(5), "few", Cap, Overflow)
	l.SetRoutes(none)
	for i := 1; i <= 3; i++ {
		l.giveBackAs(user(i), "few")
	}
	if l.userRoutes.len() > 0 || l.userRoutes.overflow.streams > 0 {
		t.Errorf("left: %d, %d", l.userRoutes.len(), l.userRoutes.overflow.streams)
	}
	if got := testutil.ToFloat64(l.metrics.unknown); got != 0 {
		t.Errorf("%v unknown releases", got)
	}
}

// Who begins again because of a reload has his tokens already. The caps are asked again: the place was given back.
func TestPaid_TakesNoTokenAndMeetsTheCaps(t *testing.T) {
	c := newClock()
	for _, streams := range []int{0, 2} { // without a cap nothing of him is remembered
		l := New(Config{ConnectRate: 1, UserConnectRate: 1, GlobalConnectRate: 1, StreamsPerAddress: streams, StreamsPerUser: streams, Addresses: 10, Users: 10, Now: c.now})
		for range 2 {
			if r, ok := l.bothPaid(alice, user(1), "r", true); !ok {
				t.Fatalf("%+v", r)
			}
		}
		if streams == 0 && l.connects.len()+l.users.len() > 0 {
			t.Errorf("%d addresses and %d users are remembered for nothing", l.connects.len(), l.users.len())
		}
		if streams > 0 {
			if r, ok := l.bothPaid(alice, user(1), "r", true); ok || r.Limit != StreamsPerAddress {
				t.Errorf("beyond the cap: %v, %+v", ok, r)
			}
			l.giveBackAs(user(1), "r")
		}
		mustAdmitUser(t, l, user(1), "r") // all three have their token still
		checkTable(t, l.connects)
		checkTable(t, l.users)
	}
}

func TestUsers_ConnectRate(t *testing.T) {
	c := newClock()
	l := New(Config{UserConnectRate: 1, ConnectBurst: 3, Addresses: 10, Users: 10, Now: c.now})
	for range 3 {
		mustAdmitUser(t, l, user(1), "r")
		l.giveBackAs(user(1), "r")
	}
	mustRefuseUser(t, l, user(1), "r", Rate, UserConnectRate)
	mustAdmitUser(t, l, user(2), "r")
	c.advance(time.Second)
	mustAdmitUser(t, l, user(1), "r")
}

// Whoever has his streams open, or has used his rate up, stays limited, whatever a crowd of other users does meanwhile.
func TestUsers_ACrowdDisplacesNobody(t *testing.T) {
	const room = 500
	c := newClock()
	l := New(Config{StreamsPerUser: 2, UserConnectRate: 1, ConnectBurst: 4, Users: room, Addresses: 1,
		Routes: map[string]Route{"r": {StreamsPerUser: 1}}, Now: c.now})
	drained, full := user(-1), user(-2)
	for range 4 {
		mustAdmitUser(t, l, drained, "q")
		l.giveBackAs(drained, "q")
	}
	mustAdmitUser(t, l, full, "r")
	beside := 0
	for i := range 10 * room {
		if _, ok := l.bothAs(alice, user(i), "r"); ok {
			l.giveBackAs(user(i), "r")
			if i >= room {
				beside++
			}
		}
	}
	if beside > 4 {
		t.Errorf("%d admissions beside the table, want those of one user", beside)
	}
	mustRefuseUser(t, l, drained, "q", Rate, UserConnectRate)
	mustRefuseUser(t, l, full, "r", Cap, StreamsPerUserAndRoute)
	mustRefuseUser(t, l, user(1<<20), "q", Rate, Overflow)
	if n := l.users.len(); n != room {
		t.Errorf("%d users, want %d", n, room)
	}
	checkTable(t, l.users)
	checkTable(t, l.userRoutes)
}

// The caps are exact under parallel use, and nothing is left behind.
func TestUsers_CapsAreExactInParallel(t *testing.T) {
	const perUser, onRoute = 5, 3
	l := New(Config{StreamsPerUser: perUser, Addresses: 1, Users: 10, Routes: map[string]Route{"a": {StreamsPerUser: onRoute}}})
	var open, openOnA [4]atomic.Int64
	var over, admitted atomic.Int64
	var wg sync.WaitGroup
	for w := range 300 {
		wg.Go(func() {
			who, route := w%len(open), []string{"a", "b"}[w/4%2]
			for range 100 {
				if _, ok := l.bothAs(alice, user(who), route); !ok {
					continue
				}
				admitted.Add(1)
				if open[who].Add(1) > perUser || route == "a" && openOnA[who].Add(1) > onRoute {
					over.Add(1)
				}
				if route == "a" {
					openOnA[who].Add(-1)
				}
				open[who].Add(-1)
				l.giveBackAs(user(who), route)
			}
		})
	}
	wg.Wait()
	if over.Load() != 0 || admitted.Load() == 0 {
		t.Errorf("%d of %d admissions were over a cap", over.Load(), admitted.Load())
	}
	if l.streams != 0 || l.users.len() != 0 || l.userRoutes.len() != 0 {
		t.Errorf("left: %d streams, %d users, %d on a route", l.streams, l.users.len(), l.userRoutes.len())
	}
	if got := testutil.ToFloat64(l.metrics.unknown); got != 0 {
		t.Errorf("%v unknown releases", got)
	}
}

// Who is refused in the second half has cost others nothing, whatever he shows: a crowd without good tokens stays in the first half.
func TestConnect_AloneUsesUpNothingOfOthers(t *testing.T) {
	c := newClock()
	l := New(Config{Streams: 2, GlobalConnectRate: 2, Routes: map[string]Route{"r": {Streams: 2}}, StreamsPerAddress: 50, Addresses: 100, Users: 10, Now: c.now})
	for range 50 {
		if r, ok := l.Connect(bob, false); !ok {
			t.Fatalf("refused: %+v", r)
		}
	}
	mustAdmitUser(t, l, user(1), "r")
	mustAdmitUser(t, l, user(2), "r")
	if _, ok := l.Connect(bob, false); ok {
		t.Error("an address is admitted beyond its cap")
	}
	for range 50 {
		l.Release(Admission{Addr: bob})
	}
	if n := l.connects.len(); n != 1 || l.streams != 2 {
		t.Errorf("%d addresses and %d streams left", n, l.streams)
	}
}

func TestPublishAs_PerUserAndPerRoute(t *testing.T) {
	c := newClock()
	l := New(Config{UserPublishRate: 2, Routes: map[string]Route{"in": {PublishRate: 3}}, Addresses: 1, Users: 10, Now: c.now})
	ask := func(u User, route string) string {
		r, ok := l.PublishAs(u, route)
		if !ok && (r.Cause != Rate || r.RetryAfter < time.Second) {
			t.Fatalf("refusal %+v", r)
		}
		return r.Limit
	}
	for i, want := range []struct {
		who   User
		route string
		limit string
	}{
		{user(1), "in", ""}, {user(1), "in", ""}, {user(1), "in", UserPublishRate}, {user(1), "free", UserPublishRate},
		{user(2), "in", ""}, {user(2), "in", RoutePublishRate}, {Nobody, "in", RoutePublishRate}, {Nobody, "free", ""},
		{user(2), "free", ""}, // the one that the route refused was given back
		{user(2), "free", UserPublishRate},
	} {
		if got := ask(want.who, want.route); got != want.limit {
			t.Errorf("step %d: refused by %q, want %q", i, got, want.limit)
		}
	}
	c.advance(time.Second)
	if got := ask(user(1), "in"); got != "" {
		t.Errorf("refused by %q with a token there", got)
	}
}
