package delivery

import (
	"time"

	"headgate/internal/sse"
)

// takeTurns advances the wheel and works off a slice of those whose turn it is.
func (s *shard) takeTurns() bool {
	if len(s.wheel.current) == 0 {
		for len(s.wheel.current) == 0 && s.wheel.advance(&s.slots, s.tick) {
		}
		if len(s.wheel.current) == 0 {
			return false
		}
		s.readProgress()
	}
	n := min(len(s.wheel.current), sliceSends)
	for _, t := range s.wheel.current[:n] {
		if sl := s.slots.at(t.slot); sl.gen == t.gen {
			s.turn(t.slot, sl)
		}
	}
	if s.wheel.current = s.wheel.current[n:]; len(s.wheel.current) == 0 {
		s.wheel.current = nil
	}
	return true
}

// readProgress moves the positions of idle groups forward before heartbeats tell them. What a source says it has pushed is in the
// mailbox by then; so read the mail in between, and only then believe it.
func (s *shard) readProgress() {
	s.progress = s.progress[:0]
	var told []*group
	for _, t := range s.wheel.current {
		sl := s.slots.at(t.slot)
		if sl.gen != t.gen {
			continue
		}
		g := s.groups.table[sl.group]
		if !g.policy.IDs || g.progressTick == s.tick {
			continue
		}
		g.progressTick = s.tick
		from := len(s.progress)
		s.progress = append(s.progress, g.pos...)
		g.source.Progress(s.progress[from:])
		told = append(told, g)
	}
	s.readMail()
	at := 0
	for _, g := range told {
		p := s.progress[at : at+len(g.pos)]
		at += len(g.pos)
		if s.groups.get(g.index, g.gen) == g && g.idle() {
			g.advance(p)
		}
	}
}

// turn is a client's turn on the wheel: its end, or a heartbeat if it was silent.
func (s *shard) turn(i uint32, sl *slot) {
	if sl.deadline != 0 && s.tick >= sl.deadline {
		r := sl.deadlineR
		sl.deadline = 0
		s.stop(i, r)
		return
	}
	g := s.groups.table[sl.group]
	quiet := g.idle() && (!sl.hasSide || s.sides[i].idle()) || sl.hasSide && s.sides[i].waitsForRead()
	if sl.notice != 0 && s.tick >= sl.notice && s.betweenEvents(i, sl) {
		s.sayExpiring(i, sl, g)
		if s.slots.at(i).state == free {
			return
		}
		quiet = false
	}
	if quiet && s.tick-sl.written >= period(i, g.policy.Heartbeat) {
		s.heartbeat(i, sl, g)
		if s.slots.at(i).state == free {
			return
		}
	}
	s.replan(i, sl, g)
}

// period is a client's own heartbeat period: up to a quarter shorter than the policy's, so that clients which were written to
// together are not silent together.
func period(i uint32, interval time.Duration) uint32 {
	full := ticks(interval)
	return max(1, full-uint32(uint64(full/4)*uint64(i*2654435761>>16)>>16))
}

// replan puts the client on the wheel for its next turn.
func (s *shard) replan(i uint32, sl *slot, g *group) {
	if sl.state == free {
		return
	}
	s.wheel.remove(&s.slots, i, sl)
	due := max(sl.written+period(i, g.policy.Heartbeat), s.tick+1)
	if sl.deadline != 0 && sl.deadline < due {
		due = sl.deadline
	}
	if sl.notice != 0 && sl.notice < due {
		due = max(sl.notice, s.tick+1) // again and again, until it is between two events
	}
	s.wheel.add(&s.slots, i, sl, due)
}

// heartbeat sends an id block when the position has moved since the client was told, else the comment or the route's event.
func (s *shard) heartbeat(i uint32, sl *slot, g *group) {
	buf := s.scratch[:0]
	switch {
	case g.policy.IDs && sl.told != g.version && sl.state == live:
		buf = sse.AppendID(buf, g.id(s, g.pos))
		sl.told = g.version
	case g.policy.HeartbeatEvent != nil:
		buf = g.policy.HeartbeatEvent.AppendBlock(buf, nil)
	default:
		buf = append(buf, sse.Comment...)
	}
	s.scratch = buf
	s.stats.heartbeats++
	s.tell(i, sl, g, buf)
}

// tell sends bytes to one client that is between two events, or waits for a batch that it reads. What its socket refuses of them goes ahead
// of the entry that it gets next.
func (s *shard) tell(i uint32, sl *slot, g *group, buf []byte) {
	if !sl.hasSide {
		n, err := send(sl.fd, buf)
		s.stats.sends++
		sl.bytes += uint64(n)
		sl.written = s.tick
		if n == len(buf) {
			return
		}
		if err != nil && !wouldBlock(err) {
			s.end(i, writeReason(err))
			return
		}
		buf = buf[n:]
	}
	sd := s.side(i, sl)
	sd.private = append(sd.private, buf...)
	if sd.entry == nil && sd.read == nil {
		s.hold(g, sd, g.log.at(sl.next, &s.buffers, s.now))
	}
	s.flush(i)
}
