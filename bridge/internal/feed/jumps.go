package feed

import (
	"context"
	"slices"
	"time"

	"headgate/bridge/internal/jsapi"
	"headgate/internal/gap"
	"headgate/internal/subject"
)

const (
	jumpEvery = 250 * time.Millisecond // the leader is asked so often at most where jumps are ordinary
	mostLate  = 1024                   // jumps that wait for that
	mostHoles = 8                      // of one look, told one by one; the rest is told as one range
)

// jump is a range that the consumer has passed over: it does not match, or was removed in the middle, and then nothing is missing; or
// it was removed at the stream's beginning before it was delivered, and then it is a hole.
type jump struct{ from, to uint64 }

// jumps are what the loop knows of them.
type jumps struct {
	late    []jump    // passed on before the leader could be asked
	asked   time.Time // when it last was
	told    int       // holes since then
	covered uint64    // up to there everything has been named as perhaps missing
}

// jumped is called before what is behind a jump is relayed, so that nobody is given a position behind a hole of which nothing has been
// said. Where the consumer gets all of the stream jumps are rare, and each is looked into at once. Where it does not, every other
// message is behind one: those that come too soon after the last look are passed on, and their holes are told late.
func (f *Feed) jumped(ctx context.Context, s *session, j jump) reset {
	if f.cfg.Table {
		return goesOn // its values are compared instead
	}
	if s.came > s.known {
		if !f.whole && time.Since(f.asked) < jumpEvery && len(f.late) < mostLate {
			f.late = append(f.late, j)
			return goesOn
		}
		if why := f.look(ctx, s); why != goesOn {
			return why
		}
	}
	f.hole(j, f.First)
	return goesOn
}

// look asks the leader for the first sequence that there still is. What has been delivered until then has been passed over before, so
// of that no second look is needed.
func (f *Feed) look(ctx context.Context, s *session) reset {
	f.asked = time.Now()
	known := s.came + uint64(len(s.ch))
	info, err := f.info(ctx, s)
	if err != nil {
		return f.failed(ctx, s.nc, err)
	}
	if !info.Created.Equal(f.Inc.Created) || info.LastSeq < f.Cursor {
		return resetIncarnation
	}
	s.known = known
	f.refresh(info)
	f.explain(info)
	return goesOn
}

// explain takes what the leader says, and tells of the holes among the jumps that were passed on.
func (f *Feed) explain(info jsapi.Info) {
	late := f.late
	f.late, f.told = nil, 0
	for _, j := range late {
		f.hole(j, info.FirstSeq)
	}
}

// hole tells of a jump in a stream that begins with first, if it is one. Where the stream begins behind the message behind the jump,
// that message was removed after it had been delivered; whether what is before it was removed earlier nobody knows.
func (f *Feed) hole(j jump, first uint64) {
	if first <= j.from || j.to <= f.covered {
		return
	}
	h := Hole{Reason: gap.Expired, Certain: f.filters == nil && first <= j.to+1, From: j.from, To: min(first-1, j.to)}
	position := h.To
	if f.told++; f.told > mostHoles {
		h.Certain, h.To, f.covered = false, first-1, first-1
	}
	f.announce(h, func() {
		f.Cursor = max(f.Cursor, position)
		f.tail.raise(position) // a reader from before would pass over the hole
	})
}

// getsAll says whether the consumer is given every message of a stream.
func (f *Feed) getsAll(info jsapi.Info) bool {
	c := info.Config
	if f.server == nil {
		return true
	}
	if len(c.Subjects) == 0 || c.Mirror != nil || len(c.Sources) > 0 {
		return false // it has messages of other subjects
	}
	return !slices.ContainsFunc(c.Subjects, func(subj string) bool {
		return !slices.ContainsFunc(f.server, func(p string) bool { return subject.Covers(p, subj) })
	})
}
