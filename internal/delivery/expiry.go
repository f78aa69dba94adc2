package delivery

import (
	"strconv"
	"time"

	"headgate/internal/sse"
)

// planExpiry makes the end of the client's identity its deadline, unless it ends before that anyway: then its next stream is told.
func (s *shard) planExpiry(sl *slot, c *Client) {
	if c.Expires.IsZero() {
		return
	}
	left := max(0, c.Expires.Sub(time.Unix(0, s.wall)))
	at := uint32(min(uint64(s.tick)+max(1, uint64(left/tickLength)), uint64(none-1)))
	if sl.deadline != 0 && sl.deadline < at {
		return
	}
	sl.deadline, sl.deadlineR = at, TokenExpired
	if c.Notice > 0 {
		early := ticks(c.Notice)
		sl.notice = s.tick + 1
		if at > early {
			sl.notice = max(sl.notice, at-early)
		}
	}
}

// betweenEvents says whether the client has been given its last event completely, whatever it is given next, or waits for what it reads. A
// stream on which something happens all the time is never idle, but it is there again and again.
func (s *shard) betweenEvents(i uint32, sl *slot) bool {
	if !sl.hasSide {
		return true
	}
	sd := s.sides[i]
	return sd.idle() || sd.waitsForRead() || sd.waitsForBudget()
}

// sayExpiring tells a client once how many seconds its identity has left, so that its page can get another one in time. It has no id.
// A drain that has come in between says what is to be said.
func (s *shard) sayExpiring(i uint32, sl *slot, g *group) {
	sl.notice = 0
	if sl.deadlineR != TokenExpired || sl.deadline <= s.tick {
		return
	}
	left := (time.Duration(sl.deadline-s.tick)*tickLength + time.Second - 1) / time.Second
	frame := sse.NewFrame("$expiring", []byte(`{"in":`+strconv.FormatInt(int64(left), 10)+`}`))
	s.scratch = frame.AppendBlock(s.scratch[:0], nil)
	s.tell(i, sl, g, s.scratch)
}
