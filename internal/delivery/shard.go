package delivery

import (
	"math/rand/v2"
	"runtime"
	"time"

	"headgate/internal/cursor"
	"headgate/internal/flow"
	"headgate/internal/sse"
)

// maxReceived is how much a client may send after its request, which it has no reason to do.
const maxReceived = 4 << 10

// shard is one goroutine and the clients it owns. Only this goroutine touches their sockets and anything below but the mailbox.
type shard struct {
	server *Server
	mail   mailbox // anybody -> shard loop

	// owned by the shard loop
	poll     poller
	slots    slots
	sides    map[uint32]*side
	groups   groups
	wheel    wheel
	buffers  buffers
	small    []*group // groups with something to send
	large    []*group
	joins    []*joining
	held     []*joining // ahead of their group, see holdBack
	stats    stats
	stopping bool
	stopBy   int64

	now        int64  // nanoseconds since the server was made
	wall       int64  // Unix nanoseconds
	tick       uint32 // now in ticks
	sidesAt    int64  // when the sides were last looked at
	dropLogged int64
	heldAt     int64 // when those held back were last retried

	// scratch
	inbox       []op
	scratch     []byte
	idText      []byte
	gathered    [][]byte
	spareGroups []*group
	spareSlots  []uint32
	progress    []cursor.Entry
	recvBuf     [4096]byte
}

func newShard(s *Server) *shard {
	sh := &shard{server: s, sides: map[uint32]*side{}}
	sh.groups.byKey = map[groupKey]*group{}
	sh.slots.free = none
	sh.wheel.init()
	sh.mail.wake = sh.poll.wake
	sh.stats.metrics = s.metrics
	return sh
}

// run is the shard loop.
func (s *shard) run() {
	defer s.poll.close()
	for !s.finished() {
		if s.step() {
			runtime.Gosched()
			continue
		}
		s.stats.publish()
		s.mail.parked.Store(true)
		if !s.mail.empty() {
			s.mail.parked.Store(false)
			continue
		}
		n := s.poll.wait(s.patience())
		s.mail.parked.Store(false)
		s.readTime()
		s.sockets(n)
	}
	s.abandon()
	s.stats.publish()
}

// patience is how long there is certainly nothing to do.
func (s *shard) patience() time.Duration {
	d := time.Duration(s.wheel.idle()) * tickLength
	if len(s.held) > 0 {
		return min(d, 10*time.Millisecond)
	}
	if len(s.sides) > 0 {
		return min(d, time.Second)
	}
	return d
}

// step does a slice of everything there is to do and says whether there was anything.
func (s *shard) step() bool {
	worked := s.look()
	worked = s.takeTurns() || worked
	worked = s.runJoins() || worked
	if len(s.small)+len(s.large) > 0 {
		s.runRounds()
		worked = true
	}
	if len(s.sides) > 0 && s.now-s.sidesAt > int64(time.Second) {
		s.sidesAt = s.now
		s.checkSides()
	}
	return worked
}

// look takes in what the mailbox and the sockets have.
func (s *shard) look() bool {
	s.readTime()
	worked := s.readMail()
	if n := s.poll.poll(); n > 0 {
		s.sockets(n)
		worked = true
	}
	return worked
}

// clock is the time since the server was made.
func (s *shard) clock() int64 { return int64(s.server.cfg.Now().Sub(s.server.start)) }

func (s *shard) readTime() {
	t := s.server.cfg.Now()
	s.now = int64(t.Sub(s.server.start))
	s.wall = t.UnixNano()
	s.tick = uint32(s.now/int64(tickLength)) + 1
}

func ticks(d time.Duration) uint32 { return uint32(d / tickLength) }

func (s *shard) readMail() bool {
	ops := s.mail.take(s.inbox)
	for n := range ops {
		s.handle(&ops[n])
	}
	worked := len(ops) > 0
	clear(ops)
	s.retryHeld(worked)
	s.inbox = ops
	if cap(ops) > fullOps/4 {
		s.inbox = nil // a burst is over; do not keep its room for ever
	}
	return worked
}

// retryHeld lets the clients that were held back try again when something has changed, or time has passed.
func (s *shard) retryHeld(mail bool) {
	if len(s.held) > 0 && (mail || s.now-s.heldAt > int64(5*time.Millisecond)) {
		s.heldAt = s.now
		s.joins = append(s.joins, s.held...)
		s.held = nil
	}
}

func (s *shard) handle(o *op) {
	switch o.kind {
	case opEvent:
		if g := s.groups.get(o.group, o.gen); g != nil {
			g.append(s, o.event)
		}
	case opJoin:
		s.joins = append(s.joins, o.arg.(*joining))
	case opRead:
		if s.slots.at(o.group).gen == o.gen {
			s.read(o.group, o.arg.(flow.Batch))
		}
	case opWrote:
		a := o.arg.(wrote)
		if s.slots.at(a.writer.slot).gen == a.writer.gen {
			s.wrote(a.writer.slot, o.n, a.err)
		}
	case opGone:
		s.gone(o.arg.(*writer))
	case opEnd:
		s.endWhere(o.arg.(*ending))
	case opCheck:
		s.check(o.arg.(*checking))
	case opStop:
		s.stopAll()
	}
}

// gone handles a ResponseWriter whose client went away, perhaps before it was taken.
func (s *shard) gone(w *writer) {
	if !isClosed(w.taken) {
		// Joins wait in a queue of their own; let this one be taken first.
		s.runAllJoins()
	}
	if s.slots.at(w.slot).gen == w.gen {
		s.end(w.slot, ClientGone)
	}
}

// runJoins takes a slice of the waiting clients in.
func (s *shard) runJoins() bool {
	n := min(len(s.joins), sliceSends)
	for _, j := range s.joins[:n] {
		s.join(j)
	}
	clear(s.joins[:n])
	if s.joins = s.joins[n:]; len(s.joins) == 0 {
		s.joins = nil
	}
	return n > 0
}

func (s *shard) runAllJoins() {
	s.retryHeld(true)
	for s.runJoins() {
	}
}

// sockets works off n events of the poller.
func (s *shard) sockets(n int) {
	for k := range n {
		ev, ok := s.poll.event(k)
		if !ok {
			continue
		}
		sl := s.slots.at(ev.slot)
		if sl.gen != ev.gen || sl.state == free {
			continue
		}
		switch {
		case ev.gone:
			s.end(ev.slot, ClientGone)
		case ev.in && !s.receive(ev.slot, sl):
		case ev.out && sl.hasSide:
			s.flush(ev.slot)
		}
	}
}

// receive reads and drops what a client sends after its request, and says whether the client may stay.
func (s *shard) receive(i uint32, sl *slot) bool {
	n, err := recv(sl.fd, s.recvBuf[:])
	if err != nil {
		if wouldBlock(err) {
			return true
		}
		s.end(i, ClientGone)
		return false
	}
	if n == 0 {
		s.end(i, ClientGone)
		return false
	}
	if int(sl.received)+n > maxReceived {
		s.end(i, ClientData)
		return false
	}
	sl.received += uint16(n)
	return true
}

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
	quiet := g.idle() && (!sl.hasSide || s.sides[i].idle())
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
	s.wheel.add(&s.slots, i, sl, due)
}

// heartbeat sends an id block when the position has moved since the client was told, else the comment or the route's event.
func (s *shard) heartbeat(i uint32, sl *slot, g *group) {
	buf := s.scratch[:0]
	body := s.beginPrivate(g, &buf)
	switch {
	case g.policy.IDs && sl.told != g.version && sl.state == live:
		buf = sse.AppendID(buf, g.id(s, g.pos))
		sl.told = g.version
	case g.policy.HeartbeatEvent != nil:
		buf = g.policy.HeartbeatEvent.AppendBlock(buf, nil)
	default:
		buf = append(buf, sse.Comment...)
	}
	s.endPrivate(g, &buf, body)
	s.scratch = buf
	s.stats.heartbeats++
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
	if sd.entry == nil {
		s.hold(g, sd, g.log.open(&s.buffers, s.now))
	}
	s.flush(i)
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
		if o.kind == opJoin {
			s.joins = append(s.joins, o.arg.(*joining))
		}
	}
	s.runAllJoins()
	s.slots.each(func(i uint32, _ *slot) { s.end(i, Shutdown) })
}
