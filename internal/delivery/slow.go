package delivery

import (
	"log/slog"
	"time"

	"headgate/internal/sse"
)

// overBounds says whether a client that is at e is further behind than its policy allows. The entry it is at does not count: the next
// event is always allowed, whatever its size. Nor does what has not had its round: that is our own lag.
func (g *group) overBounds(e *entry, now int64) bool {
	if len(e.buf) == 0 {
		return false
	}
	p := g.policy
	if p.BufferAge > 0 && now-e.at > int64(p.BufferAge) {
		return true
	}
	if e.bytes == nil {
		return false
	}
	behind := g.log.sent().minus(e.sum)
	return behind.bytes > int64(p.BufferBytes) || p.BufferEvents > 0 && behind.events > int64(p.BufferEvents)
}

// endSlow applies the slow policy to the clients of a group that are too far behind. It looks at them only when somebody can be.
func (s *shard) endSlow(g *group) {
	if g.lagging == 0 || g.log.first == nil || !g.overBounds(g.log.first, s.now) {
		return
	}
	// A copy, since an end takes members out.
	s.spareSlots = append(s.spareSlots[:0], g.members...)
	for _, i := range s.spareSlots {
		sl := s.slots.at(i)
		if sl.state != free && sl.hasSide && sl.group == g.index {
			s.checkSlow(i, sl, s.sides[i], g)
		}
	}
}

// checkSlow is the slow policy for one client.
func (s *shard) checkSlow(i uint32, sl *slot, sd *side, g *group) {
	if sd.entry == nil || sd.jump || sd.end != None {
		return
	}
	if !g.overBounds(sd.entry, s.now) {
		return
	}
	if sd.read != nil || sd.again != nil {
		// A reading client is judged by its progress. Its place in the log is only a convenience; it will pin another.
		s.letGo(g, sd)
		return
	}
	if sd.wants == 0 {
		if sd.over != 0 {
			s.overRate(i, sl, sd, g)
		}
		return // its socket has refused nothing: it is its budget, or we who are behind
	}
	if !g.policy.DropOldest {
		s.end(i, SlowConsumer)
		return
	}
	s.stats.drops++
	s.logDrop(g)
	sd.jump = true
	s.keepOnly(g, sl, sd)
	if sd.lent == 0 && len(sd.private) == 0 {
		s.jumped(g, sl, sd)
	}
}

// behind is how old what a client's socket has not taken is: an event of the log, or, where it has given up its place there, what is its
// own. Who waits for its budget, or for us, is not slow.
func (sd *side) behind(now int64) int64 {
	switch {
	case sd.wants == 0:
		return 0
	case sd.entry == nil:
		return now - sd.wants
	case len(sd.entry.buf) == 0: // it has had no round
		return 0
	}
	return now - sd.entry.at
}

// slowest is how far the slowest client is behind.
func (s *Server) slowest() time.Duration {
	most := int64(0)
	for _, sh := range s.shards {
		most = max(most, sh.slowest.Load())
	}
	return time.Duration(most)
}

// keepOnly gives the client's place in the log up, with all the events that it is not in the middle of. The one that it is in the middle
// of must be completed before the stream can go on elsewhere: the rest of it becomes the client's own.
//
// A $gap of an earlier jump that is still to be sent stays as it is, and another follows it: what this client holds does not grow with
// the number of its jumps.
func (s *shard) keepOnly(g *group, sl *slot, sd *side) {
	if sd.lent > 0 {
		return // the writer answers soon, or its deadline ends it
	}
	if sd.sent > 0 {
		b := sd.entry.bytes
		end := sse.BlockEnd(b, sd.sent)
		sd.private = append(sd.private, b[sd.sent:end]...)
		sl.events += uint64(sse.Blocks(b[:end]))
	}
	s.letGo(g, sd)
}

// jumped puts the client at the head and tells it.
func (s *shard) jumped(g *group, sl *slot, sd *side) {
	sd.jump, sd.over = false, 0
	owed, stale := s.owed(g, sl), s.stale(g, sl)
	if g.ended != None && sd.end == None {
		sd.end, sd.by = g.ended, s.now+int64(endGrace) // the last event was among what it has jumped over
	}
	s.letGo(g, sd)
	sl.next, sl.told = g.log.seq, g.headVersion()
	s.hold(g, sd, g.log.open(&s.buffers, s.now))
	gaps := s.jumpGaps(sd, g, stale)
	reads := len(owed) > 0 || len(stale) > 0
	var id []byte
	if !reads {
		id = append(id, g.id(s, g.head())...)
	}
	for n, gap := range gaps {
		if n < len(gaps)-1 {
			s.private(sd, gap, nil) // a client that is cut now hears of all of them again
			continue
		}
		s.private(sd, gap, id)
	}
	if reads {
		s.readOwed(sl, sd, g, owed, stale)
	}
}

// logDrop says at most once a second that events were dropped.
func (s *shard) logDrop(g *group) {
	if s.now-s.dropLogged < int64(time.Second) {
		return
	}
	s.dropLogged = s.now
	s.server.cfg.Log.Warn("slow clients lose events", slog.String("policy", "drop_oldest"), slog.Uint64("drops", s.stats.drops),
		slog.Int("group", len(g.members)))
}

// checkSides looks at everybody who is not quiet: no progress, too far behind, or ending for too long.
func (s *shard) checkSides() {
	slowest := int64(0)
	defer func() { s.slowest.Store(slowest) }()
	for i, sd := range s.sides {
		sl := s.slots.at(i)
		g := s.groups.table[sl.group]
		slowest = max(slowest, sd.behind(s.now))
		if sd.writer != nil {
			sd.noteProgress(s.now)
		}
		switch {
		case sd.end != None && s.now > sd.by:
			s.end(i, sd.end)
		case sd.wants != 0 && g.policy.WriteTimeout > 0 && s.now-sd.progress > int64(g.policy.WriteTimeout):
			s.end(i, WriteTimeout)
		default:
			s.checkSlow(i, sl, sd, g)
		}
	}
}
