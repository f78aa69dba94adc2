package delivery

// runLimit bounds what is sent to one member at a time, if it is more than one entry.
const runLimit = 64 << 10

// run is what a slice of a round gives each member: the round's entry, and what has been sealed behind it.
type run struct {
	bytes       []byte
	first, last *entry
	events      uint64

	// Where there are budgets: what all that takes from one, and when one must be full again at the latest so that this can be taken.
	toll   toll
	latest budget
}

// gatherRun lists what whoever waits for e is given from now on. It ends where something is to happen to the client.
func (s *shard) gatherRun(g *group, e *entry) run {
	r := run{bytes: e.bytes, first: e, last: e, events: uint64(e.events)}
	g.sendAlong(e)
	r.toll = e.toll
	for e.end == None && e.again == nil && e.next.bytes != nil && len(r.bytes)+len(e.next.bytes) <= runLimit {
		if e == r.first {
			s.runBytes = append(s.runBytes[:0], e.bytes...)
		}
		e = e.next
		g.sendAlong(e)
		s.runBytes = append(s.runBytes, e.bytes...)
		r.bytes, r.last = s.runBytes, e
		r.events += uint64(e.events)
		r.toll = r.toll.plus(e.toll)
	}
	if g.limited {
		r.latest = r.toll.latest(s.now, g.policy.deepest())
	}
	return r
}

// sendAlong notes from where on the members are given an entry: once that is so, it stays so.
func (g *group) sendAlong(e *entry) {
	if e.along {
		return
	}
	e.along, e.looks = true, g.round.looks
	if g.limited {
		e.toll = g.toll(e)
	}
}

// from is the rest of the run, from an entry of it on.
func (r run) from(seq uint64) run {
	for r.first.seq < seq {
		r.bytes = r.bytes[len(r.first.bytes):]
		r.events -= uint64(r.first.events)
		r.toll, r.latest = r.toll.minus(r.first.toll), r.latest.later(r.first.toll)
		r.first = r.first.next
	}
	return r
}

// offer gives a member what it waits for of the run, and says whether it cost a send.
func (s *shard) offer(g *group, i uint32, r run) bool {
	sl := s.slots.at(i)
	if sl.state != live || sl.next < r.first.seq || sl.next > r.last.seq {
		return false
	}
	last := r.last
	r = r.from(sl.next)
	if sl.hasSide {
		return s.offerSide(g, i, sl, r.first)
	}
	if g.limited {
		b := s.budgets.of(i)
		if !b.reaches(r.latest) {
			if r = s.afforded(b, g, r); r.last == nil {
				s.refuse(i, sl, g, r.first)
				return false
			}
		}
		b.pay(s.now, r.toll) // before the send, which leaves nothing of this in the processor's caches
	}
	n, err := send(sl.fd, r.bytes)
	s.stats.sends++
	sl.bytes += uint64(n)
	sl.written = s.tick
	switch {
	case n == len(r.bytes):
		s.given(g, i, sl, &r, last)
	case err != nil && !wouldBlock(err):
		s.end(i, writeReason(err))
	default:
		s.givenPart(g, i, sl, &r, n)
	}
	return true
}

// given moves a quiet member behind what it has been given of a run, which may be less than all where it has a budget.
func (s *shard) given(g *group, i uint32, sl *slot, r *run, last *entry) {
	e := r.last
	sl.next, sl.told = e.seq+1, e.version
	sl.events += r.events
	switch {
	case e != last:
		s.refuse(i, sl, g, e.next)
	case e.end != None:
		s.stop(i, e.end)
	case e.again != nil:
		s.readAgain(i, sl, s.side(i, sl), g, e.again)
	}
}

// givenPart makes the place of a member whose socket has taken n bytes of the run the entry that it is in the middle of.
func (s *shard) givenPart(g *group, i uint32, sl *slot, r *run, n int) {
	e, unpaid := r.first, r.toll
	for ; n >= len(e.bytes); e = e.next {
		n -= len(e.bytes)
		sl.next, sl.told = e.seq+1, e.version
		sl.events += uint64(e.events)
		unpaid = unpaid.minus(e.toll)
	}
	if g.limited {
		s.budgets.of(i).giveBack(unpaid)
	}
	sd := s.side(i, sl)
	s.hold(g, sd, e)
	sd.sent = n
	s.block(i, sl, sd)
}
