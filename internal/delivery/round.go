package delivery

import "time"

const (
	// sliceSends and sliceTime bound what a shard does before it looks at its mailbox and its sockets again.
	sliceSends = 64
	sliceTime  = 500 * time.Microsecond
	// smallAudience is the number of members up to which a group goes before the big ones.
	smallAudience = 64
)

// round is one pass over a group's members with one entry. What arrives meanwhile is the next round: the running round is the
// batching window, there is no timer.
type round struct {
	entry *entry // nil: no round
	i     uint32 // members looked at
	start uint32 // where in the members this round began
}

// markDirty queues a group that has something to send.
func (s *shard) markDirty(g *group) {
	if g.dirty {
		return
	}
	g.dirty = true
	if len(g.members) <= smallAudience {
		s.small = append(s.small, g)
	} else {
		s.large = append(s.large, g)
	}
}

// runRounds sends: the small groups that were waiting first, each one slice, then one slice of a large one.
func (s *shard) runRounds() {
	if len(s.small) > 0 {
		batch := s.small
		s.small = s.spareGroups[:0]
		for n, g := range batch {
			s.runSlice(g)
			batch[n] = nil
			if n%sliceSends == sliceSends-1 {
				s.look()
			}
		}
		s.spareGroups = batch[:0]
	}
	if len(s.large) > 0 {
		g := s.large[0]
		s.large[0] = nil
		s.large = s.large[1:]
		s.runSlice(g)
	}
}

// runSlice runs a slice of the group's round and queues the group again while there is more.
func (s *shard) runSlice(g *group) {
	g.dirty = false
	if g.round.entry == nil && !s.beginRound(g) {
		return
	}
	s.continueRound(g)
	if g.round.entry == nil {
		s.endSlow(g)
	}
	if g.round.entry != nil || g.log.unsent != nil || g.log.pending() {
		s.markDirty(g)
	}
}

func (s *shard) beginRound(g *group) bool {
	if g.log.unsent == nil {
		if !g.log.pending() {
			return false
		}
		g.log.seal(&s.buffers, s.now)
	}
	start := uint32(0)
	if n := len(g.members); n > 0 {
		// Another member is first each time, so that nobody is always last.
		start = uint32(g.log.unsent.seq * 31 % uint64(n))
	}
	g.round, g.moved = round{entry: g.log.unsent, start: start}, false
	return true
}

func (s *shard) continueRound(g *group) {
	r := &g.round
	deadline := s.clock() + int64(sliceTime)
	for sends := 0; r.entry != nil; {
		n := uint32(len(g.members))
		if r.i >= n {
			if g.moved {
				g.moved, r.i, r.start = false, 0, 0
				continue
			}
			s.finishRound(g)
			return
		}
		m := r.start + r.i
		if m >= n {
			m -= n
		}
		if m >= n { // the group shrank below start
			r.start, r.i, g.moved = 0, 0, false
			continue
		}
		r.i++
		if !s.offer(g, g.members[m], r.entry) {
			continue
		}
		if sends++; sends%16 == 0 && (sends >= sliceSends || s.clock() >= deadline) {
			return
		}
	}
}

// offer gives a member the entry, if that is the one it waits for, and says whether it cost a send.
func (s *shard) offer(g *group, i uint32, e *entry) bool {
	sl := s.slots.at(i)
	if sl.state != live || sl.next != e.seq {
		return false
	}
	if sl.hasSide {
		return s.offerSide(g, i, sl, e)
	}
	if g.limited && !s.affords(i, g, e) {
		s.refuse(i, sl, g, e)
		return false
	}
	n, err := send(sl.fd, e.bytes)
	s.stats.sends++
	sl.bytes += uint64(n)
	sl.written = s.tick
	if n == len(e.bytes) {
		sl.next = e.seq + 1
		sl.told = e.version
		sl.events += uint64(e.events)
		if g.limited {
			s.charge(i, g, e)
		}
		switch {
		case e.end != None:
			s.stop(i, e.end)
		case e.again != nil:
			s.readAgain(i, sl, s.side(i, sl), g, e.again)
		}
		return true
	}
	if err != nil && !wouldBlock(err) {
		s.end(i, writeReason(err))
		return true
	}
	sd := s.side(i, sl)
	s.hold(g, sd, e)
	sd.sent = n
	s.block(i, sl, sd)
	return true
}

// offerSide is offer for a client that is not quiet: one that is behind anyway finds the entry when it gets there, an idle
// ResponseWriter is given it now.
func (s *shard) offerSide(g *group, i uint32, sl *slot, e *entry) bool {
	sd := s.sides[i]
	if sd.entry != nil || sd.busy() {
		return false
	}
	s.hold(g, sd, e)
	s.flush(i)
	return true
}

func (s *shard) finishRound(g *group) {
	e := g.round.entry
	g.round = round{}
	s.stats.round(e, len(g.members), s.server.cfg.Now().UnixNano())
	g.log.unsent = e.next
	if g.log.unsent == g.log.tail {
		g.log.unsent = nil
	}
	if g.lagging > 0 {
		g.log.keep(e)
	}
	g.log.trim(&s.buffers)
}
