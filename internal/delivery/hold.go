package delivery

import (
	"slices"
	"time"

	"headgate/internal/cursor"
)

// A client can be ahead of its shard: it has been given, elsewhere or in a snapshot, what this shard's group has not got to yet. If the
// group was now sent what it has, that client would get it twice. So it waits until the group is there. What it is ahead of has been
// pushed or is being pushed: this is a matter of milliseconds.

// holdPatience is how long a client waits at most. A source that has lost its connection needs seconds to get where those of other
// processes are, and a source that is idle may say so late.
const holdPatience = 10 * time.Second

// heldRetry is how soon those that wait are looked at, when no mail comes.
const heldRetry = 2 * time.Millisecond

// hold is what is known of a group that a client waits for.
type hold struct {
	since    int64           // when the client first was ahead; 0 = never
	group    *group          // whose source was asked
	progress cursor.Position // what the source had pushed by then
	reads    uint64          // how often the mailbox had been emptied by then
}

// ahead says whether a position is beyond the head of the group. What the source had pushed when it was asked is in the log by the
// time the mailbox has been emptied once more, and everything up to there is behind the head.
func (s *shard) ahead(g *group, p cursor.Position, h *hold) bool {
	if !s.beyond(g, p) {
		return false
	}
	if h.group == g && s.reads > h.reads {
		if g.log.pending() {
			g.log.seal(&s.buffers, s.now)
			s.markDirty(g)
		}
		g.advance(h.progress)
	}
	return s.beyond(g, p)
}

// beyond compares with the head. Where the tags differ, one of the two is of an incarnation that has gone: the group's, when the source
// says that it is at the other one now.
func (s *shard) beyond(g *group, p cursor.Position) bool {
	head := g.head()
	differ := false
	for i := range min(len(p), len(head)) {
		switch {
		case p[i].Seq == cursor.Live:
		case p[i].Tag != head[i].Tag:
			differ = true
		case p[i].Seq > head[i].Seq:
			return true
		}
	}
	if !differ {
		return false
	}
	now := slices.Clone(g.pos)
	g.source.Progress(now)
	for i := range min(len(p), len(head)) {
		if p[i].Seq != cursor.Live && p[i].Tag != head[i].Tag && p[i].Tag == now[i].Tag {
			return true
		}
	}
	return false
}

// patient says whether somebody who is ahead of a group may wait for it any longer, and notes what the group's source has pushed.
func (s *shard) patient(g *group, h *hold) bool {
	if h.since == 0 {
		h.since = s.now
	}
	if s.stopping || s.now-h.since > int64(holdPatience) {
		return false
	}
	h.group, h.reads = g, s.reads
	h.progress = append(h.progress[:0], g.pos...)
	g.source.Progress(h.progress)
	s.heldAt = s.now
	return true
}

// retryHeld lets those that wait try again when something has changed, or time has passed.
func (s *shard) retryHeld(mail bool) {
	if len(s.early) == 0 || !mail && s.now-s.heldAt <= int64(heldRetry) {
		return
	}
	s.heldAt = s.now
	early := s.early
	s.early = nil
	for _, e := range early {
		if sl := s.slots.at(e.slot); sl.gen == e.gen && sl.hasSide && s.sides[e.slot].read != nil {
			s.flush(e.slot)
		}
	}
}
