package ratelimit

import (
	"strconv"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"
)

func name(i int) string { return strconv.Itoa(i) }

// part reads a part for a user if it may be, and says how long it would have to wait else.
func (l *Limiter) part(user string, events, bytes int) time.Duration {
	wait := l.MayReplay(user)
	if wait == 0 {
		l.Replayed(user, events, bytes)
	}
	return wait
}

func TestReplay_WhoComesBackIsNotSlowedDownAndWhoComesBackAgainAndAgainIs(t *testing.T) {
	c := newClock()
	l := New(Config{UserReplay: Replay{Events: 100, Bytes: 1 << 20}, Addresses: 1, Users: 10, Now: c.now})
	for range 10 {
		if wait := l.part(name(1), 100, 1000); wait != 0 {
			t.Fatalf("waits %v within what ten seconds bring", wait)
		}
	}
	if wait := l.part(name(1), 1, 1); wait != 10*time.Millisecond {
		t.Errorf("waits %v, want what one event takes", wait)
	}
	if wait := l.part(name(2), 100, 1000); wait != 0 {
		t.Errorf("another user waits %v", wait)
	}
	l.part(name(3), 1, 20<<20) // twice of what ten seconds bring
	for seconds := 0; l.MayReplay(name(3)) > 0; seconds++ {
		if seconds > 10 {
			t.Fatal("waits longer than it takes to get that back")
		}
		c.advance(time.Second)
	}
	if got := testutil.ToFloat64(l.metrics.replayWaits); got < 2 {
		t.Errorf("%v waits counted", got)
	}
	c.advance(time.Minute)
	if wait := l.part(name(1), 1000, 1000); wait != 0 {
		t.Errorf("waits %v with a full budget", wait)
	}
}

// However often a user asks, he is given what his budget brings and one part more, and what he has not been given costs nobody anything.
func TestReplay_WhoAsksTooOftenTakesNothingFromOthers(t *testing.T) {
	c := newClock()
	l := New(Config{Replay: Replay{Events: 1000}, UserReplay: Replay{Events: 10}, Addresses: 1, Users: 10, Now: c.now})
	given := 0
	for range 1000 {
		if l.part("alice", 100, 0) == 0 {
			given += 100
		}
		c.advance(10 * time.Millisecond)
	}
	if given > 100+100+100 { // the bucket, what ten seconds bring, and a part
		t.Errorf("alice was given %d events", given)
	}
	if wait := l.part("bob", 10, 0); wait != 0 {
		t.Errorf("bob waits %v", wait)
	}
	c.advance(20 * time.Second)
	if wait := l.part("alice", 1, 0); wait != 0 {
		t.Errorf("alice waits %v after she has been quiet", wait)
	}
}

func TestReplay_OnePartAtATimeIsReadForAUser(t *testing.T) {
	l := New(Config{UserReplay: Replay{Events: 100}, Addresses: 1, Users: 10, Now: newClock().now})
	if wait := l.MayReplay("alice"); wait != 0 {
		t.Fatal(wait)
	}
	if wait := l.MayReplay("alice"); wait != partPause {
		t.Errorf("a second part waits %v", wait)
	}
	if wait := l.MayReplay("bob"); wait != 0 {
		t.Errorf("another user waits %v", wait)
	}
	l.Replayed("alice", 0, 0)
	if wait := l.MayReplay("alice"); wait != 0 {
		t.Errorf("waits %v behind it", wait)
	}
	l.Replayed("alice", 1, 1)
	l.Replayed("bob", 1, 1)
	if n := len(l.replays.reading); n != 0 {
		t.Errorf("%d parts are being read", n)
	}
}

func TestReplay_OfTheProcessIsEverybodys(t *testing.T) {
	c := newClock()
	l := New(Config{Replay: Replay{Events: 10}, Addresses: 1, Users: 10, Now: c.now})
	for i := range 10 {
		if wait := l.part(name(i), 10, 1); wait != 0 {
			t.Fatalf("waits %v", wait)
		}
	}
	if wait := l.part("", 10, 1); wait != 100*time.Millisecond {
		t.Errorf("waits %v, want what one event takes", wait)
	}
	if l.replays.userEvents.len()+l.replays.userByBytes.len()+len(l.replays.reading) != 0 {
		t.Error("users are remembered although none is limited")
	}
}

func TestReplay_RotatingUsersGetTheShareOfOne(t *testing.T) {
	const room = 100
	c := newClock()
	l := New(Config{UserReplay: Replay{Events: 1}, Addresses: 1, Users: room, Now: c.now})
	for i := range room {
		l.part(name(i), 10, 1)
	}
	free := 0
	for i := range 10 * room {
		if l.part(name(room+i), 10, 1) == 0 {
			free++
		}
	}
	if free > 1 || l.replays.userEvents.len() != room {
		t.Errorf("%d users beside a full table were not slowed down; %d are remembered", free, l.replays.userEvents.len())
	}
	if New(Config{Users: 1}).part(name(1), 1<<20, 1<<30) != 0 {
		t.Error("waits without a limit")
	}
}
