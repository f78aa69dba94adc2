package stream

import (
	"errors"
	"math"
	"time"

	"headgate/bridge/internal/encode"
	"headgate/bridge/internal/feed"
	"headgate/bridge/internal/history"
	"headgate/internal/flow"
	"headgate/internal/gap"
)

type historyAnswer = history.Answer

func isReset(err error) bool {
	return errors.Is(err, history.ErrReset) || errors.Is(err, history.ErrRewound)
}

// bound applies the bounds of a replay by events and by age to what a client missed: of (from, to] the newest is given, and a gap for
// the rest. The bound in bytes is applied while it is read.
func (s *Source) bound(st *State, now feed.State, from, to uint64, done func(Batch)) {
	inc, b := now.Inc, s.spec.Bounds
	byEvents := b.MaxEvents > 0 && to-from > uint64(b.MaxEvents) // there cannot be more than sequences
	if s.bucket() || !byEvents && b.MaxAge <= 0 {
		st.bounded = true
		done(Batch{})
		return
	}
	if items, all, ok := s.feed.Tail(inc, s.filters, from, to, math.MaxInt); from >= now.Floor && ok && all {
		start, missed := s.boundInMemory(items, from)
		s.bounded(st, inc, from, start, missed, true, done)
		return
	}
	finish := func(start uint64, missed, certain bool, err error) {
		if err != nil {
			s.again(err, done)
			return
		}
		s.bounded(st, inc, from, start, missed, certain, done)
	}
	aged := func(start uint64) {
		if !byEvents {
			finish(start, start > from, false, nil)
			return
		}
		s.streams.history.Newest(s.request(inc, start, to, 0), b.MaxEvents, func(newest uint64, missed bool, err error) {
			finish(newest, missed || start > from, missed, err)
		})
	}
	if b.MaxAge <= 0 {
		aged(from)
		return
	}
	s.streams.history.SeqBefore(s.stream, inc.Created, time.Now().Add(-b.MaxAge), func(seq uint64, err error) {
		if err != nil {
			s.again(err, done)
			return
		}
		aged(min(max(seq, from), to))
	})
}

// boundInMemory is where the replay of these messages begins, and whether any of them are left out.
func (s *Source) boundInMemory(items []*encode.Item, from uint64) (start uint64, missed bool) {
	n := 0
	if most := s.spec.Bounds.MaxEvents; most > 0 {
		n = max(0, len(items)-most)
	}
	if age := s.spec.Bounds.MaxAge; age > 0 {
		oldest := time.Now().Add(-age).UnixNano()
		for n < len(items) && items[n].At < oldest {
			n++
		}
	}
	if n == 0 {
		return from, false
	}
	return items[n-1].Seq, true
}

// bounded notes that the bounds have been applied, with a gap where they left something out.
func (s *Source) bounded(st *State, inc *feed.Incarnation, from, start uint64, missed, certain bool, done func(Batch)) {
	st.bounded = true
	if !missed || start <= from {
		done(Batch{Events: []flow.Event{{Seq: max(start, from)}}})
		return
	}
	h := gap.Hole{Reason: gap.Limit, From: from + 1, To: start, Unsure: !certain && !s.everything(inc)}
	done(s.holeAt(st, h, flow.Event{Seq: start}))
}
