package delivery

// flushBytes bounds what one flush of one client sends, so that a client that catches up does not hold up the others.
const flushBytes = 1 << 20

// flush gives a client with a side what its socket takes: its own bytes, then the log, then whatever its state asks for next.
func (s *shard) flush(i uint32) {
	sl := s.slots.at(i)
	sd := s.sides[i]
	if sd.lent > 0 {
		return // the writer answers first
	}
	g := s.groups.table[sl.group]
	for budget := flushBytes; ; {
		if g.limited {
			sd.until = s.reach(i, sd, g)
		}
		bufs := s.gather(sd)
		if len(bufs) == 0 {
			if !s.next(i, sl, sd, g) {
				return
			}
			continue
		}
		if sd.writer != nil {
			s.lend(sl, sd, bufs)
			return
		}
		n, err := sendAll(sl.fd, bufs, &s.stats)
		s.took(g, sl, sd, n)
		if err != nil && !wouldBlock(err) {
			s.end(i, writeReason(err))
			return
		}
		budget -= n
		if err != nil || budget <= 0 {
			s.block(i, sl, sd)
			return
		}
	}
}

// gather lists what the client gets next, without copying. What stands behind a jump or an end is left out.
func (s *shard) gather(sd *side) [][]byte {
	bufs := s.gathered[:0]
	if len(sd.private) > 0 {
		bufs = append(bufs, sd.private)
	}
	leaving := sd.jump || sd.end != None
	if sd.last || sd.read != nil || sd.entry == nil || leaving && sd.sent == 0 {
		s.gathered = bufs
		return bufs
	}
	total := 0
	for e := sd.entry; sd.again == nil && e != nil && e != sd.until && e.bytes != nil && total < flushBytes; e = e.next {
		b := e.bytes
		if e == sd.entry {
			b = b[sd.sent:]
		}
		bufs = append(bufs, b)
		total += len(b)
		if leaving || e.again != nil {
			break
		}
	}
	s.gathered = bufs
	return bufs
}

// took moves the client forward by n bytes of what was gathered.
func (s *shard) took(g *group, sl *slot, sd *side, n int) {
	if n == 0 {
		return
	}
	sl.bytes += uint64(n)
	sl.written = s.tick
	sd.progress = s.now
	if k := min(n, len(sd.private)); k > 0 {
		sd.private = sd.private[k:]
		n -= k
		if len(sd.private) == 0 {
			sd.private = nil
			s.keeps(sd)
		}
	}
	moved := false
	for n > 0 {
		e := sd.entry
		k := min(n, len(e.bytes)-sd.sent)
		sd.sent += k
		n -= k
		if sd.sent < len(e.bytes) {
			break
		}
		sl.next, sl.told = e.seq+1, e.version
		sl.events += uint64(e.events)
		if g.limited {
			s.budgets.of(g.members[sl.member]).pay(s.now, g.toll(e))
		}
		if e.end != None && sd.end == None {
			sd.end, sd.by = e.end, s.now+int64(endGrace)
		}
		if e.again != nil {
			sd.again = e.again
		}
		e.refs--
		e.next.refs++
		sd.entry, sd.sent = e.next, 0
		moved = true
	}
	if moved {
		s.atHead(g, sd)
		g.log.trim(&s.buffers)
	}
}

// atHead gives up the place of a client that has everything: the tail is the head.
func (s *shard) atHead(g *group, sd *side) {
	if sd.entry == g.log.tail && sd.read == nil && len(sd.private) == 0 {
		sd.entry.refs--
		sd.entry, sd.sent, sd.over = nil, 0, 0
		g.lagging--
	}
}

// next decides what follows when everything gathered has been taken. It says whether there is more to gather.
func (s *shard) next(i uint32, sl *slot, sd *side, g *group) bool {
	switch {
	case sd.last:
		s.end(i, sd.end)
		return false
	case sd.end != None:
		s.sayEnd(g, sl, sd)
		return true
	case sd.again != nil:
		s.readAgain(i, sl, sd, g, sd.again)
		return false
	case sd.jump:
		s.jumped(g, sl, sd)
		return true
	case sd.read != nil:
		return s.readOn(i, sl, sd, g)
	}
	if sd.until != nil && sd.entry == sd.until {
		s.overspent(i, sl, sd, g)
		return false
	}
	if sd.entry != nil {
		s.atHead(g, sd)
		g.log.trim(&s.buffers)
	}
	if sd.writer == nil {
		s.quiet(i, sl, sd)
	} else {
		sd.wants = 0
	}
	return false
}

// wrote is the writer's answer: it has written n bytes, or failed.
func (s *shard) wrote(i uint32, n int, err error) {
	sl := s.slots.at(i)
	sd := s.sides[i]
	g := s.groups.table[sl.group]
	if err != nil {
		s.keepLent(sd)
	}
	sd.lent = 0
	sd.wants = 0
	s.took(g, sl, sd, n)
	if err != nil {
		s.end(i, writeReason(err))
		return
	}
	s.flush(i)
}

// lend hands the bytes to the goroutine of a ResponseWriter. They stay the group's: until the writer has answered, the client holds
// its place in the log.
func (s *shard) lend(sl *slot, sd *side, bufs [][]byte) {
	job := make([][]byte, len(bufs))
	copy(job, bufs)
	for _, b := range job {
		sd.lent += len(b)
	}
	if sd.wants == 0 {
		sd.wants, sd.progress = s.now, s.now
	}
	sl.written = s.tick
	s.stats.sends++
	sd.writer.jobs <- job // room for one, and one is all there ever is
}
