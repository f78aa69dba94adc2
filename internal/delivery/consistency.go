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

func (s *shard) check(c *checking) {
	defer close(c.done)
	broken := func(format string, args ...any) { c.found = append(c.found, fmt.Sprintf(format, args...)) }
	used, sided := 0, 0
	lagging := map[uint32]int32{}
	refs := map[*entry]int{}
	s.slots.each(func(i uint32, sl *slot) {
		used++
		g := s.groups.table[sl.group]
		if g == nil || int(sl.member) >= len(g.members) || g.members[sl.member] != i {
			broken("slot %d is not the member its group knows", i)
			return
		}
		sd := s.sides[i]
		if sl.hasSide != (sd != nil) {
			broken("slot %d: side %v, flag %v", i, sd != nil, sl.hasSide)
		}
		if g.ended != None && g.idle() && sl.state == live && (sd == nil || sd.idle()) {
			broken("slot %d waits in a group that has ended", i)
		}
		if sd != nil {
			sided++
			if sd.entry != nil {
				lagging[sl.group]++
				refs[sd.entry]++
			}
			checkSide(i, sl, sd, broken)
		} else if behind := g.log.seq - sl.next; behind > 0 && g.log.unsent == nil {
			broken("slot %d is %d entries behind and nobody knows", i, behind)
		}
	})
	if used != s.slots.used {
		broken("%d slots in use, %d counted", used, s.slots.used)
	}
	if sided != len(s.sides) {
		broken("%d sides in use, %d kept", sided, len(s.sides))
	}
	for g, all := range s.again {
		if s.groups.table[g.index] != g || len(all) == 0 || len(all) > len(g.pos) {
			broken("group %q: %d new beginnings are remembered", g.key, len(all))
		}
	}
	for g := range s.states {
		if s.groups.table[g.index] != g {
			broken("group %q is gone, and its states are remembered", g.key)
		}
	}
	groups := 0
	for _, g := range s.groups.table {
		if g == nil {
			continue
		}
		if g.ended == None {
			groups++
		}
		if len(g.members) == 0 {
			broken("group %q has no members", g.key)
		}
		if g.lagging != lagging[g.index] {
			broken("group %q: %d lag, %d counted", g.key, lagging[g.index], g.lagging)
		}
		s.checkLog(g, refs, broken)
	}
	if groups != len(s.groups.byKey) {
		broken("%d groups in the table, %d by key", groups, len(s.groups.byKey))
	}
	if len(refs) > 0 {
		broken("%d places in no log", len(refs))
	}
}

func checkSide(i uint32, sl *slot, sd *side, broken func(string, ...any)) {
	if sd.read != nil && sl.state != reading || sd.read == nil && sl.state == reading {
		broken("slot %d: state %d does not fit", i, sl.state)
	}
	if sd.over != 0 && !sd.paced && !sd.busy() && sd.wants == 0 {
		broken("slot %d waits for its budget and nobody knows", i)
	}
}

// checkLog takes the entries it sees out of refs.
func (s *shard) checkLog(g *group, refs map[*entry]int, broken func(string, ...any)) {
	reached := false
	for e := g.log.first; e != nil; e = e.next {
		if e.refs != refs[e] {
			broken("group %q: entry %d has %d references, counted %d", g.key, e.seq, refs[e], e.refs)
		}
		delete(refs, e)
		if e == g.log.tail {
			reached = true
			if e.seq != g.log.seq {
				broken("group %q: the tail is %d, the log at %d", g.key, e.seq, g.log.seq)
			}
		}
	}
	if !reached && g.log.tail != nil {
		broken("group %q: the tail is not reached", g.key)
	}
	if g.idle() && g.lagging == 0 && g.log.first != nil {
		broken("group %q: caught up and still holds entries", g.key)
	}
}
