package core

import (
	"cmp"
	"slices"

	"headgate/internal/flow"
	"headgate/internal/gap"
	"headgate/internal/sse"
)

// step is something to read: a message of a ring, or a hole in it.
type step struct {
	link   *link
	seq    uint64
	it     *item // nil: a hole
	reason gap.Reason
	beyond bool // the hole ends behind what was asked for; seq is the last that was
}

// Read implements flow.History from the rings, in memory: done is called before it returns. Where a ring does not reach back far
// enough, the hole is an event in its place.
func (s *Source) Read(ask flow.Ask, done func(flow.Batch)) {
	from, to := ask.From, ask.To
	if s.closed.Load() || len(from) != len(s.conns) || len(to) != len(s.conns) {
		done(flow.Batch{Err: flow.ErrClosed})
		return
	}
	var room [4][]step // most sources use few connections
	steps := room[:0]
	for i := range s.conns {
		steps = append(steps, s.stepsOf(i, from[i].Seq, to[i].Seq))
	}
	done(s.batch(steps, ask.MaxBytes))
}

// batch merges what the connections have. It never ends right before a hole: of several with the same number only the last one
// moves the position, so that none is passed over by those who read on from there.
func (s *Source) batch(steps [][]step, maxBytes int) flow.Batch {
	b := flow.Batch{Done: true}
	for size := 0; ; {
		entry := earliest(steps)
		if entry < 0 {
			return b
		}
		st := steps[entry][0]
		if size >= maxBytes && len(b.Events) > 0 && st.it != nil {
			b.Done = false
			return b
		}
		steps[entry] = steps[entry][1:]
		e := flow.Event{Frame: s.frameOf(st), Entry: entry, Seq: st.seq}
		if st.it != nil {
			e.At = st.it.At
		} else if rest := steps[entry]; !st.beyond && len(rest) > 0 && rest[0].it == nil && rest[0].seq == st.seq {
			e.Seq--
		}
		b.Events = append(b.Events, e)
		size += e.Frame.Len()
	}
}

// stepsOf is what one connection has in (from, to], by arrival number.
func (s *Source) stepsOf(entry int, from, to uint64) []step {
	if from >= to { // nothing new, or live from the beginning
		return nil
	}
	d := s.conns[entry]
	var steps []step
	d.mu.Lock()
	for i := range s.links {
		l := &s.links[i]
		if int(l.entry) != entry {
			continue
		}
		t := l.topic
		switch lost := max(t.lost, d.lost); {
		case from < lost:
			steps = hole(steps, step{link: l, seq: min(lost, to), reason: gap.UnknownPosition, beyond: lost > to})
		case from < t.evicted:
			steps = hole(steps, step{link: l, seq: min(t.evicted, to), reason: gap.Expired, beyond: t.evicted > to})
		}
		for _, it := range t.between(from, to) {
			if !l.skips(it.Subject) {
				steps = append(steps, step{link: l, seq: it.Seq, it: it})
			}
		}
	}
	d.mu.Unlock()
	slices.SortFunc(steps, inOrder)
	return steps
}

// inOrder sorts by arrival number. A hole may have the number of another topic's message; it comes behind it, for its position
// says that everything up to there has been given.
func inOrder(a, b step) int {
	if a.seq == b.seq && (a.it == nil) != (b.it == nil) {
		if a.it == nil {
			return 1
		}
		return -1
	}
	return cmp.Compare(a.seq, b.seq)
}

// hole adds a hole, once for each source and reason, at the first place where something is missing.
func hole(steps []step, h step) []step {
	for i := range steps {
		if o := &steps[i]; o.it == nil && o.reason == h.reason && o.link.name == h.link.name {
			if h.seq < o.seq {
				o.seq, o.beyond = h.seq, h.beyond
			}
			return steps
		}
	}
	return append(steps, h)
}

// earliest is the entry whose next step came first; -1 when nothing is left. A hole goes before everything.
func earliest(steps [][]step) int {
	best := -1
	var bestAt int64
	for i := range steps {
		if len(steps[i]) == 0 {
			continue
		}
		at := int64(0)
		if it := steps[i][0].it; it != nil {
			at = it.At
		}
		if best < 0 || at < bestAt {
			best, bestAt = i, at
		}
	}
	return best
}

func (s *Source) frameOf(st step) *sse.Frame {
	if st.it == nil {
		return s.core.gap(st.reason, st.link.name)
	}
	r := s.conns[st.link.entry].frame(&st.it.Item, st.link.form)
	if r.Refused {
		return s.core.gap(r.Reason, st.link.name)
	}
	return r.Frame
}
