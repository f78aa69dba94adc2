package delivery

import "time"

// Deadlines are kept in ticks of the monotonic clock, which does not jump. But the end of an identity is a time of day: when the machine
// was suspended, or somebody has set the clock, it comes sooner or later than was reckoned when the client came.

// clockTolerance is how far the two clocks may drift apart before the ends of identities are reckoned again.
const clockTolerance = int64(time.Second)

// checkClock compares the two clocks, and moves the ends of identities by what the time of day has moved.
func (s *shard) checkClock() {
	skew := s.wall - s.now
	if s.skew == 0 {
		s.skew = skew
		return
	}
	moved := skew - s.skew
	if max(moved, -moved) < clockTolerance {
		return
	}
	s.skew = skew
	by := moved / int64(tickLength)
	s.slots.each(func(i uint32, sl *slot) {
		if sl.deadline == 0 || sl.deadlineR != TokenExpired {
			return
		}
		sl.deadline = s.sooner(sl.deadline, by)
		if sl.notice != 0 {
			sl.notice = s.sooner(sl.notice, by)
		}
		s.replan(i, sl, s.groups.table[sl.group])
	})
	s.server.cfg.Log.Warn("the clock has been set, or the machine was suspended: ends of tokens are reckoned again", "by", time.Duration(moved))
}

// sooner is a tick that lies so many ticks earlier, and not in the past.
func (s *shard) sooner(tick uint32, by int64) uint32 {
	return uint32(min(max(int64(tick)-by, int64(s.tick)+1), int64(none-1)))
}
