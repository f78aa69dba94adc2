package delivery

import (
	"testing"
	"time"
)

// A machine that slept for an hour has tokens that ended meanwhile, although hardly any time has passed for its monotonic clock.
func TestTheEndOfAnIdentityFollowsTheTimeOfDay(t *testing.T) {
	s := newShard(New(Config{Shards: 1}))
	s.now, s.tick, s.wall = int64(time.Minute), 600, int64(time.Minute)+int64(time.Hour)
	g := &group{policy: &Policy{Heartbeat: time.Hour}}
	s.groups.table = []*group{g}
	add := func(deadline, notice uint32, r Reason) *slot {
		i, sl := s.slots.take()
		g.join(i, sl)
		sl.state, sl.deadline, sl.notice, sl.deadlineR = live, deadline, notice, r
		return sl
	}
	ends, later := add(600+3000, 600+2700, TokenExpired), add(600+72_000, 0, TokenExpired)
	lifetime, none := add(700, 0, Lifetime), add(0, 0, None)
	s.checkClock()

	s.wall += int64(clockTolerance) / 2 // drift
	s.checkClock()
	if ends.deadline != 3600 {
		t.Errorf("moved to %d by a drift", ends.deadline)
	}
	s.wall += int64(time.Hour) - int64(clockTolerance)/2
	s.checkClock()
	if ends.deadline != 601 || ends.notice != 601 || later.deadline != 600+36_000 {
		t.Errorf("deadlines %d and %d, notice %d", ends.deadline, later.deadline, ends.notice)
	}
	if lifetime.deadline != 700 || none.deadline != 0 {
		t.Errorf("others were moved: %d, %d", lifetime.deadline, none.deadline)
	}
	s.wall -= int64(time.Hour) // somebody sets it back
	s.checkClock()
	if later.deadline != 600+72_000 {
		t.Errorf("deadline %d", later.deadline)
	}
	if due := s.wheel.count; due != 2 {
		t.Errorf("%d on the wheel, want the two whose turn is another one", due)
	}
}
