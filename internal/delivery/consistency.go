package delivery

import (
	"context"
	"fmt"
)

// checking asks a shard to look at itself.
type checking struct {
	found []string
	done  chan struct{}
}

// Check walks the invariants of every shard on the shard's own goroutine and lists what is broken. It costs a moment of every
// shard's time.
func (s *Server) Check(ctx context.Context) ([]string, error) {
	var found []string
	for n, sh := range s.shards {
		c := &checking{done: make(chan struct{})}
		if err := sh.mail.put(op{kind: opCheck, arg: c}); err != nil {
			return found, err
		}
		select {
		case <-c.done:
		case <-ctx.Done():
			return found, ctx.Err()
		}
		for _, f := range c.found {
			found = append(found, fmt.Sprintf("shard %d: %s", n, f))
		}
	}
	return found, nil
}

// broken notes what is wrong.
type broken func(format string, args ...any)

func (s *shard) check(c *checking) {
	defer close(c.done)
	note := func(format string, args ...any) { c.found = append(c.found, fmt.Sprintf(format, args...)) }
	seen := s.checkSlots(note)
	s.checkFresh(note)
	s.checkGroups(seen, note)
}

// seen is what the slots say of their groups.
type seen struct {
	lagging map[uint32]int32 // members that are behind, by group
	refs    map[*entry]int   // their places in logs
}

// checkSlots looks at every client.
func (s *shard) checkSlots(note broken) seen {
	of := seen{lagging: map[uint32]int32{}, refs: map[*entry]int{}}
	used, sided := 0, 0
	s.slots.each(func(i uint32, sl *slot) {
		used++
		g := s.groups.table[sl.group]
		if g == nil || int(sl.member) >= len(g.members) || g.members[sl.member] != i {
			note("slot %d is not the member its group knows", i)
			return
		}
		sd := s.sides[i]
		if sl.hasSide != (sd != nil) {
			note("slot %d: side %v, flag %v", i, sd != nil, sl.hasSide)
		}
		if g.ended != None && g.idle() && sl.state == live && (sd == nil || sd.idle()) {
			note("slot %d waits in a group that has ended", i)
		}
		if sd == nil {
			if behind := g.log.seq - sl.next; behind > 0 && g.log.unsent == nil {
				note("slot %d is %d entries behind and nobody knows", i, behind)
			}
			return
		}
		sided++
		if sd.entry != nil {
			of.lagging[sl.group]++
			of.refs[sd.entry]++
		}
		checkSide(i, sl, sd, note)
		if sd.held != 0 && len(sd.private) == 0 && (sd.read == nil || !sd.read.waiting && sd.read.rest == nil) {
			note("slot %d: %d bytes count as held, and there are none", i, sd.held)
		}
	})
	if used != s.slots.used {
		note("%d slots in use, %d counted", used, s.slots.used)
	}
	if sided != len(s.sides) {
		note("%d sides in use, %d kept", sided, len(s.sides))
	}
	return of
}

// checkFresh looks at what is remembered of states.
func (s *shard) checkFresh(note broken) {
	for g, all := range s.again {
		if s.groups.table[g.index] != g || len(all) == 0 || len(all) > len(g.pos) {
			note("group %q: %d new beginnings are remembered", g.key, len(all))
		}
	}
	for g := range s.states {
		if s.groups.table[g.index] != g {
			note("group %q is gone, and its states are remembered", g.key)
		}
	}
}

// checkGroups looks at every group, and holds its log against what its members say of it.
func (s *shard) checkGroups(of seen, note broken) {
	groups := 0
	for _, g := range s.groups.table {
		if g == nil {
			continue
		}
		if g.ended == None {
			groups++
		}
		if len(g.members) == 0 {
			note("group %q has no members", g.key)
		}
		if g.lagging != of.lagging[g.index] {
			note("group %q: %d lag, %d counted", g.key, of.lagging[g.index], g.lagging)
		}
		s.checkLog(g, of.refs, note)
	}
	if groups != len(s.groups.byKey) {
		note("%d groups in the table, %d by key", groups, len(s.groups.byKey))
	}
	if len(of.refs) > 0 {
		note("%d places in no log", len(of.refs))
	}
}

func checkSide(i uint32, sl *slot, sd *side, note broken) {
	if sd.read != nil && sl.state != reading || sd.read == nil && sl.state == reading {
		note("slot %d: state %d does not fit", i, sl.state)
	}
	if sd.over != 0 && !sd.paced && !sd.busy() && sd.wants == 0 {
		note("slot %d waits for its budget and nobody knows", i)
	}
}

// checkLog takes the entries it sees out of refs.
func (s *shard) checkLog(g *group, refs map[*entry]int, note broken) {
	reached := false
	for e := g.log.first; e != nil; e = e.next {
		if e.refs != refs[e] {
			note("group %q: entry %d has %d references, counted %d", g.key, e.seq, refs[e], e.refs)
		}
		delete(refs, e)
		if e == g.log.tail {
			reached = true
			if e.seq != g.log.seq {
				note("group %q: the tail is %d, the log at %d", g.key, e.seq, g.log.seq)
			}
		}
	}
	if !reached && g.log.tail != nil {
		note("group %q: the tail is not reached", g.key)
	}
	if g.idle() && g.lagging == 0 && g.log.first != nil {
		note("group %q: caught up and still holds entries", g.key)
	}
}
