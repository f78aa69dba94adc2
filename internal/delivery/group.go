package delivery

import (
	"headgate/internal/cursor"
	"headgate/internal/flow"
)

// group is the clients of one shard that follow the same topics in the same format. Its log is the merge order of those topics: an
// event gets its position when it is appended, once for all clients. Owned by the shard loop.
//
// Where every client has its own subject there are as many groups as clients: TestSizeOfAGroup says what one may take, and what is
// needed only while there is something to send is in the entries of the log.
type group struct {
	// fixed after create
	key    string
	index  uint32
	gen    uint32
	source flow.Source
	policy *Policy

	pos          cursor.Position // behind the last event appended
	members      []uint32
	log          groupLog
	round        round
	version      uint32 // raised whenever pos moves
	lagging      int32  // members with a side that holds an entry
	progressTick uint32 // when its source was last asked for its progress
	dirty        bool   // in one of the shard's queues
	limited      bool   // its clients have budgets, see rate.go
	ended        Reason // None, or why everybody ends: the last event has been appended, and whoever comes now gets a group of his own
}

var zeroTag cursor.Tag

// groupSink is what a source pushes to: the way into the shard's mailbox.
type groupSink struct {
	mail  *mailbox
	group uint32
	gen   uint32
}

// Push implements flow.Sink.
func (s groupSink) Push(e flow.Event) { s.mail.putEvent(s.group, s.gen, e) }

// groups is a shard's table of them.
type groups struct {
	byKey map[string]*group
	table []*group
	gens  []uint32
	free  []uint32
}

func (t *groups) get(index, gen uint32) *group {
	if int(index) >= len(t.table) || t.table[index] == nil || t.table[index].gen != gen {
		return nil
	}
	return t.table[index]
}

// create makes the group of a client that is the first of its kind, and attaches the client's source to it.
func (t *groups) create(c *Client, mail *mailbox) *group {
	g := &group{key: c.Key, source: c.Source, policy: c.Policy, limited: c.Policy.limited()}
	if n := len(t.free); n > 0 {
		g.index = t.free[n-1]
		t.free = t.free[:n-1]
	} else {
		g.index = uint32(len(t.table))
		t.table = append(t.table, nil)
		t.gens = append(t.gens, 0)
	}
	g.gen = t.gens[g.index]
	t.table[g.index] = g
	t.byKey[g.key] = g
	g.pos = append(cursor.Position(nil), c.Source.Attach(groupSink{mail, g.index, g.gen})...)
	return g
}

func (t *groups) remove(g *group) {
	t.retire(g)
	t.table[g.index] = nil
	t.gens[g.index]++
	t.free = append(t.free, g.index)
}

// retire lets no more clients join the group.
func (t *groups) retire(g *group) {
	if t.byKey[g.key] == g {
		delete(t.byKey, g.key)
	}
}

// append puts an event into the log, or only moves the position.
func (g *group) append(s *shard, e flow.Event) {
	if e.Entry >= len(g.pos) || g.ended != None {
		return
	}
	if e.Frame != nil {
		if !g.log.pending() {
			g.log.begin(&s.buffers, s.now, g.pos, g.version)
		}
	} else if g.log.pending() && e.Tag != zeroTag {
		g.log.seal(&s.buffers, s.now) // what is in the tail has been given ids of the incarnation before
		s.markDirty(g)
	}
	if move(&g.pos[e.Entry], e) {
		g.version++
	}
	if e.Frame != nil {
		var id []byte
		if !e.Bare {
			id = g.id(s, g.pos)
		}
		t := g.log.append(&s.buffers, e.Frame, id, s.now, e.At, g.version)
		s.changed(g, e.Entry, t)
		if len(t.buf) >= entryLimit || e.End != flow.GoesOn || e.Again != nil || g.limited && g.fillsRound(t) {
			g.log.seal(&s.buffers, s.now)
			t.end = endReason(e.End)
			if e.Again != nil {
				s.beginAgain(g, t, e)
			}
		}
		s.markDirty(g)
	}
	if e.End != flow.GoesOn {
		g.ended = endReason(e.End)
		s.groups.retire(g)
		if e.Frame == nil {
			s.endGroup(g, endReason(e.End))
		}
	}
}

// move moves an entry of a position to where an event says it is, and says whether that is somewhere else. It goes back only where the
// source has begun again.
func move(p *cursor.Entry, e flow.Event) bool {
	if e.Tag != zeroTag {
		to := cursor.Entry{Tag: e.Tag, Seq: e.Seq}
		moved := *p != to
		*p = to
		return moved
	}
	if e.Seq > p.Seq {
		p.Seq = e.Seq
		return true
	}
	return false
}

// id is the text of a position in the shard's scratch buffer, empty when the group's blocks carry none.
func (g *group) id(s *shard, p cursor.Position) []byte {
	if !g.policy.IDs {
		return nil
	}
	s.idText = p.Append(s.idText[:0])
	return s.idText
}

// head is the position behind everything that has been sealed: where a client that joins now begins.
func (g *group) head() cursor.Position {
	if g.log.pending() {
		return g.log.tail.before
	}
	return g.pos
}

// headVersion is the version of that position.
func (g *group) headVersion() uint32 {
	if g.log.pending() {
		return g.log.tail.versionBefore
	}
	return g.version
}

// idle says that nothing waits to be sent to the group.
func (g *group) idle() bool { return !g.log.pending() && g.log.unsent == nil }

// advance moves the position of an idle group.
func (g *group) advance(p cursor.Position) {
	for i := range p {
		if p[i].Tag == g.pos[i].Tag && p[i].Seq > g.pos[i].Seq {
			g.pos[i].Seq = p[i].Seq
			g.version++
		}
	}
}

// join makes the slot a member.
func (g *group) join(i uint32, sl *slot) {
	sl.group, sl.member = g.index, uint32(len(g.members))
	g.members = append(g.members, i)
}

// leave takes it out. Who has still to be looked at in a round must stay in front of where it is: so a hole behind that is filled with the
// member that was looked at last, and the one at the end takes that one's place and is looked at next.
func (g *group) leave(t *slots, sl *slot) {
	hole, last := sl.member, uint32(len(g.members)-1)
	if hole < g.round.at {
		g.round.at--
		g.put(t, hole, g.members[g.round.at])
		hole = g.round.at
	}
	if hole < last {
		g.put(t, hole, g.members[last])
	}
	g.members = g.members[:last]
	g.lookFurther()
	if cap(g.members) > 64 && len(g.members) < cap(g.members)/4 {
		g.members = append(make([]uint32, 0, len(g.members)*2), g.members...)
	}
}

// put makes a slot the member with that index.
func (g *group) put(t *slots, member, i uint32) {
	g.members[member] = i
	t.at(i).member = member
}
