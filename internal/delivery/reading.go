package delivery

import (
	"slices"

	"headgate/internal/flow"
	"headgate/internal/sse"
)

var liveFrame = sse.NewFrame("$live", []byte("{}"))

// readOn is the next step of a reading client whose socket has taken everything. It says whether there is more to gather.
func (s *shard) readOn(i uint32, sl *slot, sd *side, g *group) bool {
	r := sd.read
	if r.waiting {
		s.unblock(i, sl, sd)
		return false
	}
	if r.rest != nil {
		s.unblock(i, sl, sd)
		s.readRest(i, sl, sd)
		return false
	}
	if !r.done {
		s.unblock(i, sl, sd)
		s.ask(i, sl, r, g)
		return false
	}
	if r.beyond() {
		return s.readBeyond(i, sl, sd, g)
	}
	if sd.entry == nil {
		// What followed the pinned head has been let go meanwhile: pin again, and read up to there.
		s.pin(g, sl, sd)
		s.ask(i, sl, r, g)
		return len(sd.private) > 0
	}
	if g.ended != None && sl.next == g.log.seq {
		s.stop(i, g.ended) // nothing follows where it would go live
		return false
	}
	sd.read = nil
	sl.state = live
	if r.bare {
		sl.told-- // it knows the position of its snapshot; the next heartbeat tells it where it is
		return true
	}
	s.private(sd, liveFrame, g.id(s, r.to))
	return true
}

// readBeyond is readOn for a client that is ahead of the head: it came so, or has been given more than was asked for, as snapshots do. It
// goes live where the group has got as far.
func (s *shard) readBeyond(i uint32, sl *slot, sd *side, g *group) bool {
	s.unblock(i, sl, sd)
	if s.ahead(g, sd.read.from, &sd.read.hold) {
		if s.patient(g, &sd.read.hold) {
			s.early = append(s.early, turn{i, sl.gen})
		} else {
			s.stop(i, SourceLost) // sent from the head, it would get twice what it has; where it comes back to, it is judged again
		}
		return false
	}
	sd.read.hold = hold{}
	s.letGo(g, sd)
	s.pin(g, sl, sd)
	s.ask(i, sl, sd.read, g)
	return len(sd.private) > 0
}

// pin makes the head of the log the place where this client will go live. What it passes over on the way there it owes.
func (s *shard) pin(g *group, sl *slot, sd *side) {
	s.owe(sd, s.owed(g, sl))
	r := sd.read
	r.done, r.begun = false, false
	r.to = append(r.to[:0], g.head()...)
	sl.next, sl.told = g.log.seq, g.headVersion()
	s.hold(g, sd, g.log.open(&s.buffers, s.now))
}

func (s *shard) ask(i uint32, sl *slot, r *readState, g *group) {
	r.waiting = true
	mail, gen := &s.mail, sl.gen
	ask := flow.Ask{From: slices.Clone(r.from), To: slices.Clone(r.to), MaxBytes: s.readSize(s.sides[i]), State: r.state}
	g.source.Read(ask, func(b flow.Batch) { _ = mail.put(op{kind: opRead, group: i, gen: gen, arg: b}) })
}

// read is the answer.
func (s *shard) read(i uint32, b flow.Batch) {
	sl := s.slots.at(i)
	sd := s.sides[i]
	if sd == nil || sd.read == nil {
		return // it has gone live or is ending
	}
	g := s.groups.table[sl.group]
	r := sd.read
	r.waiting, r.state = false, b.State
	if b.Err != nil {
		s.stop(i, SourceLost)
		return
	}
	b = s.rationed(i, r, g, b)
	buf := s.scratch[:0]
	ends := None
	for _, e := range b.Events {
		if ends != None || e.Entry >= len(r.from) {
			break
		}
		move(&r.from[e.Entry], e)
		r.begun = r.begun || e.Tag != zeroTag
		ends = endReason(e.End)
		if e.Frame == nil {
			continue
		}
		var id []byte
		if !e.Bare {
			id = g.id(s, r.from)
		}
		buf = e.Frame.AppendBlock(buf, id)
		r.inState = e.Bare
		sl.events++
	}
	if len(b.Events) > 0 {
		sd.private = append(sd.private, buf...)
	}
	s.keeps(sd)
	s.scratch = buf
	if ends != None {
		s.stop(i, ends)
		return
	}
	if b.Done {
		r.finish()
	}
	s.flush(i)
}

// finish notes that everything up to the pinned head has been given, where the source did not go beyond it.
func (r *readState) finish() {
	r.done = true
	for i := range r.from {
		if f, t := &r.from[i], r.to[i]; !r.begun && f.Tag != t.Tag || f.Tag == t.Tag && f.Seq < t.Seq {
			*f = t
		}
	}
}

// beyond says whether the client has been given more than the log has behind its pinned head.
func (r *readState) beyond() bool { return !slices.Equal(r.from, r.to) }

// private gives one client an event of its own.
func (s *shard) private(sd *side, f *sse.Frame, id []byte) {
	sd.private = f.AppendBlock(sd.private, id)
}
