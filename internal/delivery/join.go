package delivery

import (
	"time"

	"headgate/internal/cursor"
	"headgate/internal/sse"
)

// joining is a client on its way into a shard.
type joining struct {
	client Client
	fd     int32
	writer *writer

	// Of a client that is held back:
	since    int64           // when it first was; 0 = never
	group    *group          // whose source was asked
	progress cursor.Position // what the source had pushed by then
	reads    uint64          // how often the mailbox had been read by then
}

// join takes a client in: its slot, its group, and its first bytes in one send: head, retry, $ready, $gap.
func (s *shard) join(j *joining) {
	c := &j.client
	g := s.groups.byKey[c.Key]
	if g != nil && s.ahead(g, j) && s.holdBack(g, j) {
		return
	}
	if g == nil {
		g = s.groups.create(c, &s.mail)
		s.stats.metrics.groups.Inc()
	} else {
		c.Source.Close()
	}
	i, sl := s.slots.take()
	sl.tag, sl.fd, sl.state = c.Tag, j.fd, live
	sl.opened, sl.written = s.tick, s.tick
	g.join(i, sl)
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
	s.plan(i, sl, g, c.Lifetime)
	gen := sl.gen
	s.start(i, sl, g, c)
	if s.stopping && sl.gen == gen {
		s.stop(i, Shutdown)
	}
}

// ahead says whether a client has already been given, elsewhere, what this shard's group has not got to yet: a reconnect can be
// quicker than a shard. If the group was now sent what it has, that client would get it twice.
func (s *shard) ahead(g *group, j *joining) bool {
	asked := j.client.From
	if !beyond(asked, g.head()) {
		return false
	}
	if j.group == g && s.reads > j.reads {
		// What the source had pushed when it was asked is in the log by now: everything up to there is behind the head.
		if g.log.pending() {
			g.log.seal(&s.buffers, s.now)
		}
		g.advance(j.progress)
	}
	return beyond(asked, g.head())
}

func beyond(asked, head cursor.Position) bool {
	for i := range min(len(asked), len(head)) {
		if asked[i].Seq != cursor.Live && asked[i].Seq > head[i].Seq {
			return true
		}
	}
	return false
}

// holdPatience is how long a client waits at most for its shard to get where it has been. What it is ahead of has been pushed or is
// being pushed, so this is a matter of milliseconds; a position that is never reached is lowered to the head.
const holdPatience = time.Second

// holdBack keeps the client waiting until the mailbox has been read once more, and says whether it may wait any longer.
func (s *shard) holdBack(g *group, j *joining) bool {
	if j.since == 0 {
		j.since = s.now
	}
	if s.stopping || j.writer != nil && j.writer.left || s.now-j.since > int64(holdPatience) {
		return false
	}
	j.group, j.reads = g, s.reads
	j.progress = append(j.progress[:0], g.pos...)
	g.source.Progress(j.progress)
	s.held = append(s.held, j)
	s.heldAt = s.now
	return true
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
		sd.read = &readState{from: at, to: append(cursor.Position(nil), g.head()...)}
	}
	s.flush(i)
}

// from is where reading starts: the client's position, and the head where it starts live.
func from(asked, head cursor.Position) cursor.Position {
	p := append(cursor.Position(nil), head...)
	for i := range p {
		if i < len(asked) && asked[i].Seq != cursor.Live && asked[i].Seq < p[i].Seq {
			p[i].Seq = asked[i].Seq
		}
	}
	return p
}

// startBlock is built in the shard's scratch buffer.
func (s *shard) startBlock(g *group, c *Client, at cursor.Position) []byte {
	buf := s.scratch[:0]
	buf = append(buf, c.Head...)
	buf = sse.AppendRetry(buf, c.Retry.Milliseconds())
	id := g.id(s, at)
	buf = c.Ready.AppendBlock(buf, id)
	for _, gap := range c.Gaps {
		buf = gap.AppendBlock(buf, id)
	}
	s.scratch = buf
	return buf
}

// plan puts the client on the wheel.
func (s *shard) plan(i uint32, sl *slot, g *group, lifetime time.Duration) {
	if lifetime > 0 {
		sl.deadline, sl.deadlineR = s.tick+max(1, ticks(lifetime)), Lifetime
	}
	s.replan(i, sl, g)
}
