package delivery

import (
	"slices"
	"time"

	"headgate/internal/flow"
	"headgate/internal/sse"
)

// A route can bound the events and bytes a second that one client is sent. Each client then has a budget, a token bucket with what a
// second brings; who is not on such a route has none, and costs nothing more.
//
// A client whose budget is spent waits for it as a blocked one waits for its socket: it keeps its place in the log, and no copy is made.
// When it has been behind for ratePatience, or is too far behind, the route's slow policy decides: its stream ends with Rate, or it jumps
// to the head and is told by $gap. What it reads, a state or what it missed, is slowed down to its budget and never cut. Blocks of our own,
// such as heartbeats and $gap, are not counted.

const (
	// ratePatience is how long a client may be behind for want of budget.
	ratePatience = int64(time.Second)
	// pacedStep is how often those that wait for their budget are looked at.
	pacedStep = int64(20 * time.Millisecond)
	// roundsOfBudget is how many entries a full budget is at least good for: an entry goes to a client whole or not at all.
	roundsOfBudget = 4
)

// limited says whether clients have budgets.
func (p *Policy) limited() bool { return p.EventsPerSecond > 0 || p.BytesPerSecond > 0 }

// toll is what an entry takes from the budget of a client of the group.
func (g *group) toll(e *entry) toll { return g.policy.toll(e.events, len(e.bytes)) }

// afforded is as much of a run as the client of a budget can be given now: for those whose budget may not be enough for all.
func (s *shard) afforded(of *budget, g *group, r run) run {
	b, deepest := *of, g.policy.deepest()
	part := run{first: r.first}
	n := 0
	for e := r.first; e != r.last.next; e = e.next {
		left, due := b.take(s.now, e.toll, deepest)
		if due > s.now {
			break
		}
		b = left
		n += len(e.bytes)
		part.last, part.events, part.toll = e, part.events+uint64(e.events), part.toll.plus(e.toll)
	}
	part.bytes = r.bytes[:n]
	return part
}

// fillsRound says whether a tail is as large as a round may be for clients with budgets.
func (g *group) fillsRound(t *entry) bool {
	p := g.policy
	return p.EventsPerSecond > 0 && float64(t.events) >= max(1, p.EventsPerSecond/roundsOfBudget) ||
		p.BytesPerSecond > 0 && len(t.buf) >= p.BytesPerSecond/roundsOfBudget
}

// refuse keeps the place of a quiet client at an entry that it cannot afford.
func (s *shard) refuse(i uint32, sl *slot, g *group, e *entry) {
	sd := s.side(i, sl)
	s.hold(g, sd, e)
	s.overspent(i, sl, sd, g)
}

// reach is the first entry that a client cannot afford, nil where it can have all there is. One that it is in the middle of was afforded
// when it was begun, and is charged at its end.
func (s *shard) reach(i uint32, sd *side, g *group) *entry {
	if sd.read != nil {
		return nil
	}
	b, deepest := *s.budgets.of(i), g.policy.deepest()
	total := 0
	for e := sd.entry; e != nil && e.bytes != nil && total < flushBytes; e = e.next {
		left, due := b.take(s.now, g.toll(e), deepest)
		if due > s.now && (e != sd.entry || sd.sent == 0) {
			return e
		}
		b = left
		total += len(e.bytes)
	}
	return nil
}

// overspent makes a client wait until it can afford the entry it is at.
func (s *shard) overspent(i uint32, sl *slot, sd *side, g *group) {
	if sd.over == 0 {
		sd.over = s.now
		s.stats.rateWaits++
	}
	_, due := s.budgets.of(i).take(s.now, g.toll(sd.entry), g.policy.deepest())
	s.pace(i, sl, sd, due)
}

// pace makes a client go on at a time. Its socket is not what it waits for.
func (s *shard) pace(i uint32, sl *slot, sd *side, due int64) {
	s.unblock(i, sl, sd)
	sd.due = due
	if !sd.paced {
		sd.paced = true
		s.paced = append(s.paced, turn{i, sl.gen})
	}
}

// runPaced looks at those that wait for their budget.
func (s *shard) runPaced() bool {
	if len(s.paced) == 0 || s.now-s.pacedAt < pacedStep {
		return false
	}
	s.pacedAt = s.now
	list := s.paced
	s.paced = s.sparePaced[:0]
	for n, t := range list {
		s.runOnePaced(t)
		if n%sliceSends == sliceSends-1 {
			s.look()
		}
	}
	s.sparePaced = list[:0]
	return true
}

func (s *shard) runOnePaced(t turn) {
	sl := s.slots.at(t.slot)
	if sl.gen != t.gen || !sl.hasSide {
		return
	}
	sd := s.sides[t.slot]
	switch {
	case sd.over != 0 && sd.wants == 0 && s.now-sd.over >= ratePatience:
		sd.paced = false
		s.overRate(t.slot, sl, sd, s.groups.table[sl.group])
	case s.now >= sd.due:
		sd.paced = false
		s.flush(t.slot)
	default:
		s.paced = append(s.paced, t)
	}
}

// overRate is the policy for a client that has been behind for want of budget for too long, or is too far behind.
func (s *shard) overRate(i uint32, sl *slot, sd *side, g *group) {
	if sd.jump || sd.end != None || sd.entry == nil || sd.read != nil || sd.again != nil {
		return
	}
	sd.over = 0
	if !g.policy.DropOldest {
		s.stop(i, Rate)
		return
	}
	s.stats.rateDrops++
	sd.jump, sd.rated = true, true
	s.keepOnly(g, sl, sd)
	s.flush(i)
}

// waitsForBudget says that the client is between two events and cannot afford the next one.
func (sd *side) waitsForBudget() bool {
	return sd.over != 0 && sd.sent == 0 && !sd.busy() && !sd.jump
}

// jumpGaps are what a client is told that has jumped: whether it was slow, or over its rate, and which states it is to forget.
func (s *shard) jumpGaps(sd *side, g *group, stale []flow.StateEntry) []*sse.Frame {
	gaps, told := g.policy.SlowGaps, s.server.cfg.OnSlow
	if sd.rated {
		gaps, told = g.policy.RateGaps, s.server.cfg.OnRate
	}
	sd.rated = false
	told(len(gaps))
	frames := make([]*sse.Frame, len(gaps))
	for n, gap := range gaps {
		frames[n] = gap.Live
		if slices.ContainsFunc(stale, func(e flow.StateEntry) bool { return e.Source == gap.Source }) {
			frames[n] = gap.State
		}
	}
	return frames
}

// rationed is what the budget allows of a batch that was read. The rest stays for readRest.
func (s *shard) rationed(i uint32, r *readState, g *group, b flow.Batch) flow.Batch {
	if !g.limited || b.Err != nil {
		return b
	}
	left, deepest := s.budgets.of(i), g.policy.deepest()
	for n, e := range b.Events {
		if e.Frame == nil {
			continue
		}
		then, due := left.take(s.now, g.policy.toll(1, e.Frame.Len()), deepest)
		if due > s.now {
			rest := b
			rest.Events = b.Events[n:]
			r.rest, r.restDue = &rest, due
			b.Events, b.Done = b.Events[:n], false
			return b
		}
		*left = then
	}
	return b
}

// readRest gives a reading client more of the batch that its budget did not allow, when it does.
func (s *shard) readRest(i uint32, sl *slot, sd *side) {
	r := sd.read
	if s.now < r.restDue {
		s.pace(i, sl, sd, r.restDue)
		return
	}
	b := *r.rest
	r.rest = nil
	s.read(i, b)
}
