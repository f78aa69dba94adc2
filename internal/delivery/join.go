package delivery

import (
	"slices"

	"headgate/internal/cursor"
	"headgate/internal/sse"
)

// joining is a client on its way into a shard.
type joining struct {
	client Client
	fd     int32
	writer *writer
}

// join takes a client in: its slot, its group, and its first bytes in one send: head, retry, $ready, $gap.
func (s *shard) join(j *joining) {
	c := &j.client
	g := s.groups.byKey[c.Key]
	if g == nil {
		g = s.groups.create(c, &s.mail)
		s.noteStates(g)
		s.stats.metrics.groups.Inc()
	} else {
		c.Source.Close()
	}
	i, sl := s.slots.take()
	sl.tag, sl.fd, sl.state = c.Tag, j.fd, live
	sl.opened, sl.written = s.tick, s.tick
	g.join(i, sl)
	if g.limited {
		*s.budgets.of(i) = budget{}
	}
	s.server.streams.Add(1)
	if j.writer != nil {
		sd := s.side(i, sl)
		sd.writer = j.writer
		j.writer.slot, j.writer.gen = i, sl.gen
		close(j.writer.taken)
		if j.writer.left {
			s.end(i, ClientGone)
			return
		}
	} else if err := s.poll.add(sl.fd, i, sl.gen); err != nil {
		s.end(i, Internal)
		return
	}
	s.plan(i, sl, g, c)
	gen := sl.gen
	s.start(i, sl, g, c)
	if s.stopping && sl.gen == gen {
		s.stop(i, Shutdown)
	}
}

// start sends what every stream begins with, and begins to read if the client has a position.
func (s *shard) start(i uint32, sl *slot, g *group, c *Client) {
	at := g.head()
	if c.From != nil {
		at = from(c.From, at)
	}
	block := s.startBlock(g, c, at)
	sl.next, sl.told = g.log.seq, g.headVersion()
	if c.From == nil && sl.fd >= 0 {
		n, err := send(sl.fd, block)
		s.stats.sends++
		sl.bytes += uint64(n)
		if n == len(block) {
			return
		}
		if err != nil && !wouldBlock(err) {
			s.end(i, writeReason(err))
			return
		}
		block = block[n:]
	}
	sd := s.side(i, sl)
	sd.private = append([]byte(nil), block...)
	s.hold(g, sd, g.log.open(&s.buffers, s.now))
	if c.From != nil {
		sl.state = reading
		r := &readState{from: at, to: slices.Clone(g.head()), state: c.State, bare: c.Bare, inState: c.Bare}
		r.done = s.ahead(g, at, &r.hold) // there is nothing to read for it yet
		sd.read = r
	}
	s.flush(i)
}

// from is where reading starts: the client's position, and the head where it starts live. A position that is ahead of the head, or in
// another incarnation, stays as it is: the client waits for the group, or the source says what it means.
func from(asked, head cursor.Position) cursor.Position {
	p := slices.Clone(head)
	for i := range p {
		if i < len(asked) && asked[i].Seq != cursor.Live {
			p[i] = asked[i]
		}
	}
	return p
}

// startBlock is built in the shard's scratch buffer.
func (s *shard) startBlock(g *group, c *Client, at cursor.Position) []byte {
	buf := s.scratch[:0]
	buf = append(buf, c.Head...)
	buf = sse.AppendRetry(buf, c.Retry.Milliseconds())
	var id []byte
	if !c.Bare {
		id = g.id(s, at)
	}
	last := c.Ready
	for _, gap := range c.Gaps {
		// The position is behind all gaps, so a client that is cut before it has read the last one must hear of them again.
		buf = last.AppendBlock(buf, nil)
		last = gap
	}
	buf = last.AppendBlock(buf, id)
	s.scratch = buf
	return buf
}

// plan puts the client on the wheel.
func (s *shard) plan(i uint32, sl *slot, g *group, c *Client) {
	if c.Lifetime > 0 {
		sl.deadline, sl.deadlineR = s.tick+max(1, ticks(c.Lifetime)), Lifetime
	}
	s.planExpiry(sl, c)
	s.replan(i, sl, g)
}
