package delivery

import "time"

const (
	// sliceSends and sliceTime bound what a shard does before it looks at its mailbox and its sockets again.
	sliceSends = 64
	sliceTime  = 500 * time.Microsecond
	// sliceLooks is after how many members a round that finds nobody to send to looks at its clock.
	sliceLooks = 256
	// smallAudience is the number of members up to which a group goes before the big ones.
	smallAudience = 64
)

// round is one pass over a group's members with one entry. The running round is the batching window, there is no timer: what arrives
// meanwhile is sealed now and then, and sent along to the members that are still to come. The next round begins where this one ends, and
// looks only at those that have not been given it. So under load the members are gone round and round: each is given, in one send,
// what has come since its last turn, and nothing waits for the beginning of a round.
type round struct {
	entry *entry // nil: no round
	at    uint32 // the member that is looked at next
	looks uint32 // how often a member has been looked at, ever; wraps
}

// lapParts is how many entries one pass over the members is divided into at most.
const lapParts = 8

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
	if g.round.entry != nil {
		s.takeAlong(g)
	} else if !s.beginRound(g) {
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
	r := &g.round
	if g.log.unsent == nil {
		if !g.log.pending() {
			return false
		}
		s.sealForRound(g)
	}
	r.entry = g.log.unsent
	if n := len(g.members); n > 0 && !r.entry.along {
		// Another member is first each time, so that nobody is always last. What is sent along already goes on where it is.
		r.at = uint32(r.entry.seq * 2654435761 % uint64(n))
	}
	return true
}

// takeAlong seals what has come since the round began, so that the members that are still to come are given it at once.
func (s *shard) takeAlong(g *group) {
	if g.log.pending() && g.round.looks-g.log.tail.looks > uint32(len(g.members)/lapParts) {
		s.sealForRound(g)
	}
}

// sealForRound closes the tail, and notes in the new one when that was.
func (s *shard) sealForRound(g *group) {
	g.log.seal(&s.buffers, s.now)
	g.log.tail.looks = g.round.looks
}

// lookOn is the member that is looked at now.
func (g *group) lookOn() uint32 {
	r := &g.round
	if r.at >= uint32(len(g.members)) {
		r.at = 0
	}
	r.at++
	r.looks++
	return g.members[r.at-1]
}

// lookFurther is said when a member has left. Where the looks of an entry have come to, there is one member less to come, and where they
// began may lie behind the end: two looks more reach everybody, and more than all are never needed.
func (g *group) lookFurther() {
	for e := g.log.unsent; e != nil && e.along; e = e.next {
		e.looks += min(2, g.round.looks-e.looks)
	}
}

func (s *shard) continueRound(g *group) {
	r := &g.round
	given := s.gatherRun(g, r.entry)
	deadline := s.clock() + int64(sliceTime)
	for sends := 0; r.entry != nil; {
		if r.looks-r.entry.looks >= uint32(len(g.members)) {
			s.finishRound(g)
			return
		}
		if !s.offer(g, g.lookOn(), given) {
			if r.looks%sliceLooks == 0 && s.clock() >= deadline {
				return
			}
			continue
		}
		if sends++; sends%16 == 0 && (sends >= sliceSends || s.clock() >= deadline) {
			return
		}
	}
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
	g.round.entry = nil
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
