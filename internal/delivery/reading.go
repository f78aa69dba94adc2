package delivery

import (
	"slices"

	"headgate/internal/flow"
	"headgate/internal/sse"
)

// readBytes is how much a reading client asks for at a time. The next batch is asked for when the socket has taken the last.
const readBytes = 64 << 10

var liveFrame = sse.NewFrame("$live", []byte("{}"))

// readOn is the next step of a reading client whose socket has taken everything. It says whether there is more to gather.
func (s *shard) readOn(i uint32, sl *slot, sd *side, g *group) bool {
	r := sd.read
	if r.waiting {
		s.unblock(i, sl, sd)
		return false
	}
	if !r.done {
		s.unblock(i, sl, sd)
		s.ask(i, sl, r, g)
		return false
	}
	if sd.entry == nil {
		// What followed the pinned head has been let go meanwhile: pin again, and read up to there.
		s.pin(g, sl, sd)
		s.ask(i, sl, r, g)
		return false
	}
	sd.read = nil
	sl.state = live
	s.private(sd, liveFrame, g.id(s, r.to))
	return true
}

// pin makes the head of the log the place where this client will go live.
func (s *shard) pin(g *group, sl *slot, sd *side) {
	r := sd.read
	r.done = false
	r.to = append(r.to[:0], g.head()...)
	sl.next, sl.told = g.log.seq, g.headVersion()
	s.hold(g, sd, g.log.open(&s.buffers, s.now))
}

func (s *shard) ask(i uint32, sl *slot, r *readState, g *group) {
	r.waiting = true
	mail, gen := &s.mail, sl.gen
	ask := flow.Ask{From: slices.Clone(r.from), To: slices.Clone(r.to), MaxBytes: readBytes, State: r.state}
	g.source.Read(ask, func(b flow.Batch) { mail.put(op{kind: opRead, group: i, gen: gen, arg: b}) })
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
	r.waiting = false
	if b.Err != nil {
		s.stop(i, SourceLost)
		return
	}
	buf := s.scratch[:0]
	for _, e := range b.Events {
		if e.Entry < len(r.from) && e.Seq > r.from[e.Entry].Seq {
			r.from[e.Entry].Seq = e.Seq
		}
		if e.Frame != nil {
			buf = e.Frame.AppendBlock(buf, g.id(s, r.from))
			sl.events++
		}
	}
	if len(b.Events) > 0 {
		sd.private = append(sd.private, buf...)
	}
	s.scratch = buf
	if b.Done {
		r.done = true
		copy(r.from, r.to)
	}
	s.flush(i)
}

// private gives one client an event of its own.
func (s *shard) private(sd *side, f *sse.Frame, id []byte) {
	sd.private = f.AppendBlock(sd.private, id)
}
