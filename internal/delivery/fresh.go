package delivery

import (
	"slices"

	"headgate/internal/cursor"
	"headgate/internal/flow"
	"headgate/internal/sse"
)

// A source can begin again in the middle of a stream: then everybody is to forget what it has of it, and to read a fresh state. The log
// says so with an entry of its own, and whoever has been given that entry reads. But a client that is behind, by a jump or because its
// place in the log was let go, may pass over such entries without being given them. It owes them all the same: one for every source that
// has begun again meanwhile. Until it has read what it owes, no block may carry an id: a client that came back with that id would be
// taken for one that has the new state.
//
// The same holds for a jump over mere changes of a source that has a state: what it has would stay wrong in what was changed there, for
// ever and unseen. It owes one state for every such source that had any.

// again is what those read who have been given an entry with it, or have passed over it.
type again struct {
	frame *sse.Frame // $gap with "next":"snapshot"
	state func(any) any
	part  int             // the entry of the position that has begun again
	from  cursor.Position // behind the entry of the log
	seq   uint64          // of the entry of the log
}

// beginAgain closes the tail, whose last event makes everybody read. Of an older one of the same source nobody needs to know any more:
// who has passed over both owes one state.
func (s *shard) beginAgain(g *group, t *entry, e flow.Event) {
	t.again = &again{frame: e.Frame, state: e.Again, part: e.Entry, from: slices.Clone(g.pos), seq: t.seq}
	kept := slices.DeleteFunc(s.again[g], func(a *again) bool { return a.part == e.Entry })
	s.again[g] = append(kept, t.again)
}

// owed lists what a client passes over that goes from its place in the log to the head, in the order of the log.
func (s *shard) owed(g *group, sl *slot) []*again {
	all := s.again[g]
	for n, a := range all {
		if a.seq >= sl.next {
			return all[n:]
		}
	}
	return nil
}

// owe makes a reading client read what it owes before anything else, and tells it why. No batch may be on its way to it.
func (s *shard) owe(sd *side, owed []*again) {
	for _, a := range owed {
		s.private(sd, a.frame, nil)
		sd.read.state, sd.read.inState = a.state(sd.read.state), true
	}
}

// stated is an entry of the position that has a state.
type stated struct {
	flow.StateEntry
	behind uint64 // the number behind that of the last entry of the log with an event of it; 0 = none
}

// noteStates remembers those of a new group's source, where its clients jump.
func (s *shard) noteStates(g *group) {
	source, ok := g.source.(flow.Stateful)
	if !ok || !g.policy.DropOldest {
		return
	}
	var states []stated
	for _, e := range source.States() {
		states = append(states, stated{StateEntry: e})
	}
	if len(states) > 0 {
		s.states[g] = states
	}
}

// changed notes that an entry of the position has an event in the tail.
func (s *shard) changed(g *group, part int, t *entry) {
	if len(s.states) == 0 {
		return
	}
	states := s.states[g]
	for i := range states {
		if states[i].Entry == part {
			states[i].behind = t.seq + 1
		}
	}
}

// stale lists the states that may have changed in what a client passes over that jumps from its place in the log to the head. What
// changed in the tail, which it will be given, is taken for passed over: a state too many does no harm.
func (s *shard) stale(g *group, sl *slot) (stale []flow.StateEntry) {
	for _, st := range s.states[g] {
		if st.behind > sl.next {
			stale = append(stale, st.StateEntry)
		}
	}
	return stale
}

// readAgain makes a client that has been given an entry of that kind read from where it is.
func (s *shard) readAgain(i uint32, sl *slot, sd *side, g *group, a *again) {
	sd.again, sd.jump, sd.over = nil, false, 0 // it gets by reading what it would have jumped over
	sd.read = &readState{from: slices.Clone(a.from), state: a.state(nil), bare: true, inState: true}
	sl.state = reading
	s.letGo(g, sd)
	s.pin(g, sl, sd)
	s.flush(i)
}

// readOwed makes a client that has jumped to the head read what it owes there. One that is ending is not told where it is instead: it
// owes that where it comes back.
func (s *shard) readOwed(sl *slot, sd *side, g *group, owed []*again, stale []flow.StateEntry) {
	if sd.end != None {
		sd.adrift = true
		return
	}
	sd.read = &readState{from: slices.Clone(g.head()), to: slices.Clone(g.head()), bare: true, inState: true}
	sl.state = reading
	s.owe(sd, owed)
	for _, st := range stale {
		sd.read.state = st.Again(sd.read.state)
	}
}

// forgetAgain forgets the entries that everybody has been given, or owes already. A client without a side is behind nothing but what has
// not had its round.
func (s *shard) forgetAgain() {
	if len(s.again) == 0 {
		return
	}
	least := make(map[*group]uint64, len(s.again))
	for g := range s.again {
		least[g] = g.log.seq
		if g.log.unsent != nil {
			least[g] = g.log.unsent.seq
		}
	}
	for i := range s.sides {
		sl := s.slots.at(i)
		g := s.groups.table[sl.group]
		if at, ok := least[g]; ok {
			least[g] = min(at, sl.next)
		}
	}
	for g, at := range least {
		s.again[g] = slices.DeleteFunc(s.again[g], func(a *again) bool { return a.seq < at })
		if len(s.again[g]) == 0 {
			delete(s.again, g)
		}
	}
}
