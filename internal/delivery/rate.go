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
	// rateBucket is how long a full budget takes to fill, so how much may be sent at once.
	rateBucket = int64(time.Second)
	// ratePatience is how long a client may be behind for want of budget.
	ratePatience = int64(time.Second)
	// rateLongest bounds what absurd rates make of that: three years.
	rateLongest = 1e17
	// pacedStep is how often those that wait for their budget are looked at.
	pacedStep = int64(20 * time.Millisecond)
	// roundsOfBudget is how many rounds a full budget is at least good for: a round goes to a client whole or not at all.
	roundsOfBudget = 4
)

// limited says whether clients have budgets.
func (p *Policy) limited() bool { return p.EventsPerSecond > 0 || p.BytesPerSecond > 0 }

// budget is a client's: for events and for bytes the time at which the bucket will be full again (the generic cell rate algorithm, which
// decides as a token bucket does and needs one number).
type budget struct{ events, bytes int64 }

// budgets is a table beside the slots, with room only where clients have budgets. It holds no pointers to anything but its slabs.
type budgets struct{ slabs []*[slabSize]budget }

// of is the budget of a slot.
func (t *budgets) of(i uint32) *budget {
	n := int(i / slabSize)
	for n >= len(t.slabs) {
		t.slabs = append(t.slabs, nil)
	}
	if t.slabs[n] == nil {
		t.slabs[n] = new([slabSize]budget)
	}
	return &t.slabs[n][i%slabSize]
}

// cost is how long a full bucket takes to get n back, and how much of that may be missing before nothing more is given. A bucket holds
// one at least.
func cost(n int, perSecond float64) (take, most int64) {
	one := float64(time.Second) / perSecond
	return int64(min(float64(n)*one, rateLongest)), max(rateBucket, int64(min(one, rateLongest)))
}

// after is the time at which a bucket that is full again at full will be so, less n, and from when on that many may be taken: when they
// are there, or when it is full and they never will be.
func after(full, now int64, n int, perSecond float64) (then, due int64) {
	take, most := cost(n, perSecond)
	then = max(full, now) + take
	return then, min(then-most, full)
}

// take is the budget less so many events and bytes, and from when on they may be taken.
func (b budget) take(p *Policy, now int64, events, bytes int) (left budget, due int64) {
	left, due = b, now
	if p.EventsPerSecond > 0 {
		var d int64
		left.events, d = after(b.events, now, events, p.EventsPerSecond)
		due = max(due, d)
	}
	if p.BytesPerSecond > 0 {
		var d int64
		left.bytes, d = after(b.bytes, now, bytes, float64(p.BytesPerSecond))
		due = max(due, d)
	}
	return left, due
}

// affords says whether the client of a slot may be given an entry now.
func (s *shard) affords(i uint32, g *group, e *entry) bool {
	_, due := s.budgets.of(i).take(g.policy, s.now, e.events, len(e.bytes))
	return due <= s.now
}

// charge takes an entry that the client has been given from its budget.
func (s *shard) charge(i uint32, g *group, e *entry) {
	b := s.budgets.of(i)
	*b, _ = b.take(g.policy, s.now, e.events, len(e.bytes))
}

// fillsRound says whether a tail is as large as a round may be for clients with budgets.
func (g *group) fillsRound(t *entry) bool {
	p := g.policy
	return p.EventsPerSecond > 0 && float64(t.events) >= max(1, p.EventsPerSecond/roundsOfBudget) ||
		p.BytesPerSecond > 0 && len(t.buf) >= p.BytesPerSecond/roundsOfBudget
}

// refuse keeps the place of a quiet client that cannot afford the entry of a round.
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
	b := *s.budgets.of(i)
	total := 0
	for e := sd.entry; e != nil && e.bytes != nil && total < flushBytes; e = e.next {
		left, due := b.take(g.policy, s.now, e.events, len(e.bytes))
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
	_, due := s.budgets.of(i).take(g.policy, s.now, sd.entry.events, len(sd.entry.bytes))
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
	left := s.budgets.of(i)
	for n, e := range b.Events {
		if e.Frame == nil {
			continue
		}
		then, due := left.take(g.policy, s.now, 1, e.Frame.Len())
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
