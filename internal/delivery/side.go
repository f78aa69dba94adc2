package delivery

import (
	"headgate/internal/cursor"
	"headgate/internal/flow"
)

// side is what a client has beyond its slot while it is not quiet: a socket that refused bytes, bytes of its own, a position of its
// own, an end to come. On the ResponseWriter transport a client always has one. Owned by the shard loop.
type side struct {
	private  []byte // its own bytes, before anything of the log
	held     int64  // of them, what counts among the bytes that were read for clients
	entry    *entry // where in the log it is, a reference held; nil = at the head, or unpinned
	sent     int    // bytes of entry that it has been given
	wants    int64  // when its socket first refused what it is being offered; 0 = not blocked
	progress int64  // when the socket last took something while blocked
	armed    bool   // EPOLLOUT is on

	read *readState // not nil: reading
	jump bool       // drop_oldest: behind the current entry, go to the head
	end  Reason     // ends behind the current entry
	last bool       // private ends with the end of the response
	by   int64      // an ending client is cut then

	again *again // it has been given that: next, it reads

	over  int64  // since when it has been behind for want of budget, see rate.go; 0 = it is not
	due   int64  // when it can go on
	until *entry // the first entry that it cannot afford; nil = none
	paced bool   // it is in the shard's list of those that wait for that
	rated bool   // jump is because of that

	adrift bool   // was reading when it was ended: its position is not one of the log
	lastID []byte // of such a client; nil = it was being given a state, or owes one

	writer  *writer // ResponseWriter transport
	lent    int     // bytes that the writer is writing
	written int64   // the writer's progress when last looked at
}

// readState is a client that reads from its own position.
type readState struct {
	from    cursor.Position // behind what it has been given
	to      cursor.Position // head of the log when it was pinned
	state   any             // the source's notes
	hold    hold            // for a group that is behind from
	waiting bool            // for a batch
	done    bool            // caught up with to
	begun   bool            // the source has said that it begins again, since the head was pinned
	bare    bool            // began with a snapshot
	inState bool            // what it was given last is a state's, or told it to wait for one: no block may carry an id
	rest    *flow.Batch     // has been read, and is more than the budget allowed; nil = nothing
	restDue int64           // when it will
}

// noteProgress looks how far the writer has got with what it is writing.
func (sd *side) noteProgress(now int64) {
	if n := sd.writer.progress.Load(); n != sd.written {
		sd.written, sd.progress = n, now
	}
}

// busy says that there is something to do before a new entry of the log can be given.
func (sd *side) busy() bool {
	return len(sd.private) > 0 || sd.lent > 0 || sd.read != nil || sd.end != None || sd.again != nil
}

// idle says that the client waits for nothing: it could be sent a heartbeat.
func (sd *side) idle() bool { return sd.entry == nil && !sd.busy() }

// waitsForRead says that the client waits for what it missed, and for nothing else: as long as NATS is away, that may last.
func (sd *side) waitsForRead() bool {
	return sd.read != nil && len(sd.private) == 0 && sd.lent == 0 && sd.end == None
}

// side gives the client's, making one when it has none.
func (s *shard) side(i uint32, sl *slot) *side {
	if sl.hasSide {
		return s.sides[i]
	}
	sd := &side{}
	s.sides[i] = sd
	sl.hasSide = true
	return sd
}

// quiet drops the side of a client that needs none any more.
func (s *shard) quiet(i uint32, sl *slot, sd *side) {
	if sd.writer != nil || sd.busy() || sd.entry != nil {
		return
	}
	s.unblock(i, sl, sd)
	delete(s.sides, i)
	sl.hasSide = false
}

// hold makes the client's place in the log e.
func (s *shard) hold(g *group, sd *side, e *entry) {
	e.refs++
	sd.entry, sd.sent = e, 0
	g.lagging++
}

// letGo gives the place up.
func (s *shard) letGo(g *group, sd *side) {
	if sd.entry == nil {
		return
	}
	sd.entry.refs--
	if sd.lent > 0 {
		s.keepLent(sd)
	}
	sd.entry, sd.sent = nil, 0
	g.lagging--
	g.log.trim(&s.buffers)
}

// keepLent keeps what a writer was lent from being used again: it may still be read, even after a write that failed.
func (s *shard) keepLent(sd *side) {
	for e := sd.entry; e != nil; e = e.next {
		e.lent = true
	}
}

// block notes that the socket refused bytes, and asks to be told when it takes some again.
func (s *shard) block(i uint32, sl *slot, sd *side) {
	if sd.wants == 0 {
		sd.wants, sd.progress = s.now, s.now
		s.stats.blocks++
	}
	if !sd.armed && sl.fd >= 0 {
		sd.armed = true
		s.poll.modify(sl.fd, i, sl.gen, true)
	}
}

func (s *shard) unblock(i uint32, sl *slot, sd *side) {
	sd.wants = 0
	if sd.armed {
		sd.armed = false
		s.poll.modify(sl.fd, i, sl.gen, false)
	}
}
