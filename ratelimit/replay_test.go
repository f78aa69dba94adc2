package ratelimit

import (
	"strconv"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"
)

func name(i int) string { return strconv.Itoa(i) }

func TestReplay_WhoComesBackIsNotSlowedDownAndWhoComesBackAgainAndAgainIs(t *testing.T) {
	c := newClock()
	l := New(Config{UserReplay: Replay{Events: 100, Bytes: 1 << 20}, Addresses: 1, Users: 10, Now: c.now})
	for range 10 {
		if wait := l.Replay(name(1), 100, 1000); wait != 0 {
			t.Fatalf("waits %v within what ten seconds bring", wait)
		}
	}
	if wait := l.Replay(name(1), 100, 1000); wait != time.Second {
		t.Errorf("waits %v for 100 events beyond, want 1s", wait)
	}
	if wait := l.Replay(name(2), 100, 1000); wait != 0 {
		t.Errorf("another user waits %v", wait)
	}
	if wait := l.Replay(name(3), 1, 20<<20); wait != 0 { // more than there ever can be waits for a full bucket at most
		t.Errorf("waits %v", wait)
	}
	if wait := l.Replay(name(3), 1, 1<<20); wait != time.Second {
		t.Errorf("waits %v for a mebibyte beyond, want 1s", wait)
	}
	if got := testutil.ToFloat64(l.metrics.replayWaits); got != 2 {
		t.Errorf("%v waits counted, want 2", got)
	}
	c.advance(time.Minute)
	if wait := l.Replay(name(1), 1000, 1000); wait != 0 {
		t.Errorf("waits %v with a full budget", wait)
	}
}

func TestReplay_OfTheProcessIsEverybodys(t *testing.T) {
	c := newClock()
	l := New(Config{Replay: Replay{Events: 10}, Addresses: 1, Users: 10, Now: c.now})
	for i := range 10 {
		if wait := l.Replay(name(i), 10, 1); wait != 0 {
			t.Fatalf("waits %v", wait)
		}
	}
	if wait := l.Replay("", 10, 1); wait != time.Second {
		t.Errorf("waits %v, want 1s", wait)
	}
	if l.replays.userEvents.len()+l.replays.userByBytes.len() != 0 {
		t.Error("users are remembered although none is limited")
	}
}

func TestReplay_RotatingUsersGetTheShareOfOne(t *testing.T) {
	const room = 100
	c := newClock()
	l := New(Config{UserReplay: Replay{Events: 1}, Addresses: 1, Users: room, Now: c.now})
	for i := range room {
		l.Replay(name(i), 10, 1)
	}
	free := 0
	for i := range 10 * room {
		if l.Replay(name(room+i), 10, 1) == 0 {
			free++
		}
	}
	if free > 1 || l.replays.userEvents.len() != room {
		t.Errorf("%d users beside a full table were not slowed down; %d are remembered", free, l.replays.userEvents.len())
	}
	if New(Config{Users: 1}).Replay(name(1), 1<<20, 1<<30) != 0 {
		t.Error("waits without a limit")
	}
}
