package delivery

import (
	"math/rand/v2"
	"slices"
	"time"
)

// endGrace is how long a client that was told to end may take to accept $end.
const endGrace = 2 * time.Second

// stop ends a client at the next event boundary, telling it why if its socket accepts that.
func (s *shard) stop(i uint32, r Reason) {
	sl := s.slots.at(i)
	if !r.sendable() {
		s.end(i, r)
		return
	}
	sd := s.side(i, sl)
	if sd.end != None {
		return
	}
	sd.end, sd.by = r, s.now+int64(endGrace)
	g := s.groups.table[sl.group]
	if rs := sd.read; rs != nil {
		if !rs.inState && sd.again == nil {
			sd.lastID = slices.Clone(g.id(s, rs.from))
		}
		if rs.waiting {
			s.keepsNone(sd)
		}
		sd.read = nil
		sl.state = live
		sd.adrift = true
	}
	if sd.lent == 0 && sd.sent == 0 {
		s.letGo(g, sd)
	}
	s.flush(i)
}

// sayEnd writes $end, with the last id once more where that is known, and the end of the response.
func (s *shard) sayEnd(g *group, sl *slot, sd *side) {
	id := sd.lastID
	if !sd.adrift && sd.again == nil && sl.next == g.log.seq { // it has been given everything that is sealed, and owes nothing
		id = append(id, g.id(s, g.head())...)
	}
	s.letGo(g, sd)
	s.private(sd, endFrames[sd.end], id)
	sd.last = true
}

// endGroup ends every member of a group, wherever it is: what it has not been given is no more to be had here.
func (s *shard) endGroup(g *group, r Reason) {
	// A copy, since an end takes members out.
	for _, i := range append([]uint32(nil), g.members...) {
		s.stop(i, r)
	}
}

// end takes the client out at once: out of its group, off the wheel, the socket closed, the slot given back.
func (s *shard) end(i uint32, r Reason) {
	sl := s.slots.at(i)
	g := s.groups.table[sl.group]
	if sl.hasSide {
		sd := s.sides[i]
		s.letGo(g, sd)
		s.keepsNone(sd)
		delete(s.sides, i)
		if sd.writer != nil {
			sd.writer.reason = r
			close(sd.writer.closed)
		}
	}
	if sl.fd >= 0 {
		s.poll.remove(sl.fd)
		if r.sendable() {
			closeFriendly(sl.fd, s.recvBuf[:])
		} else {
			closeHard(sl.fd, r == SlowConsumer || r == WriteTimeout)
		}
	}
	g.leave(&s.slots, sl)
	s.wheel.remove(&s.slots, i, sl)
	ended := Ended{Tag: sl.tag, Reason: r, Duration: time.Duration(s.tick-sl.opened) * tickLength, Events: sl.events, Bytes: sl.bytes}
	s.slots.give(i)
	if len(g.members) == 0 {
		s.closeGroup(g)
	}
	s.server.streams.Add(-1)
	s.server.cfg.OnEnd(ended)
}

func (s *shard) closeGroup(g *group) {
	s.groups.remove(g)
	delete(s.again, g)
	delete(s.states, g)
	s.stats.metrics.groups.Dec()
	g.source.Close()
	g.round = round{}
	g.log = groupLog{}
}

// endWhere plans the ends of the clients that match, spread evenly at random.
func (s *shard) endWhere(e *ending) {
	span := int64(ticks(e.over)) + 1
	s.runAllJoins()
	s.slots.each(func(i uint32, sl *slot) {
		if !e.match(sl.tag) {
			return
		}
		at := s.tick + uint32(rand.Int64N(span))
		if sl.deadline == 0 || at <= sl.deadline {
			sl.deadline, sl.deadlineR = at, e.reason
			s.replan(i, sl, s.groups.table[sl.group])
		}
	})
}

// stopAll ends every client now; those that accept it are told.
func (s *shard) stopAll() {
	s.stopping, s.stopBy = true, s.now+int64(endGrace)
	s.runAllJoins()
	s.slots.each(func(i uint32, _ *slot) { s.stop(i, Shutdown) })
}

func (s *shard) finished() bool {
	return s.stopping && (s.slots.used == 0 || s.now > s.stopBy)
}

// abandon is the end of the shard: whoever is still there is cut, and nobody comes in any more.
func (s *shard) abandon() {
	for _, o := range s.mail.stop() {
		switch o.kind {
		case opJoin:
			s.joins = append(s.joins, o.arg.(*joining))
		case opCheck:
			close(o.arg.(*checking).done)
		}
	}
	s.runAllJoins()
	s.slots.each(func(i uint32, _ *slot) { s.end(i, Shutdown) })
}
