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

// most are the bounds by number and size.
func (s *Source) most() history.Most {
	m := history.Most{Events: s.spec.Bounds.MaxEvents, Bytes: s.spec.Bounds.MaxBytes, Each: eventCost}
	if s.format.Envelope == "headgate" {
		m.Each += envelopeCost
	}
	if s.format.Data == "base64" {
		m.Bytes -= m.Bytes / 4
	}
	return m
}

// What an event takes beside its payload, about.
const (
	eventCost    = 64
	envelopeCost = 192
)

// mayExceed says whether (from, to] may hold more than the bounds by number and size allow. There cannot be more messages than
// sequences; how large they are is a guess, behind which a replay that is too large after all is cut while it is read.
func (s *Source) mayExceed(now feed.State, from, to uint64) bool {
	m := s.most()
	n := to - min(from, to)
	return m.Events > 0 && n > uint64(m.Events) || m.Bytes > 0 && n*(now.Average+uint64(m.Each)) > uint64(m.Bytes)/4*3
}

// bound applies the bounds of a replay to what a client missed: of (from, to] the newest is given, and a gap for the rest.
func (s *Source) bound(st *State, now feed.State, from, to uint64, done func(Batch)) {
	inc := now.Inc
	exceeds := s.mayExceed(now, from, to)
	if s.Bucket() || !exceeds && s.spec.Bounds.MaxAge <= 0 {
		st.bounded = true
		done(Batch{})
		return
	}
	if items, all, ok := s.feed.Tail(inc, s.filters, from, to, math.MaxInt); from >= now.Floor && ok && all {
		start, missed := s.boundInMemory(items, from)
		s.bounded(st, inc, from, start, missed, true, done)
		return
	}
	if !exceeds {
		s.boundByAge(st, inc, from, to, done)
		return
	}
	s.count(st, counting{inc: inc, from: from, to: to, at: from}, done)
}

// counting is what a client missed, as far as it has been read to see whether it is more than the bounds allow.
type counting struct {
	inc      *feed.Incarnation
	from, to uint64
	at       uint64 // read up to here
	items    []*encode.Item
	first    uint64 // the stream's first sequence, as the first read said; 0 = it did not matter
	torn     bool   // something was thrown away between two reads
	bytes    int
}

// countBytes is how much is read to see whether it is within the bounds. Most often there are few of a client's messages in a long range:
// reading them merges with the reads of others and is what comes next anyway, while the search for the newest is a client's own.
const countBytes = 1 << 20

func (s *Source) count(st *State, n counting, done func(Batch)) {
	s.messages(n.inc, n.at, n.to, countBytes, func(items []*encode.Item, upto, first uint64, err error) {
		if err != nil {
			s.again(err, done)
			return
		}
		for _, it := range items {
			n.bytes += len(it.Data)
		}
		if n.at == n.from {
			n.first = first
		} else if first > n.at+1 {
			n.torn = true
		}
		n.items, n.at = append(n.items, items...), upto
		switch {
		case n.at >= n.to:
			start, missed := s.boundInMemory(n.items, n.from)
			if room := s.streams.budget.Room(); !n.torn && room.Fit(int64(2*n.bytes+len(n.items)*aheadCost)) {
				st.ahead = &ahead{inc: n.inc, from: n.from, to: n.to, items: n.items, first: n.first, use: room.Use()}
			}
			s.bounded(st, n.inc, n.from, start, missed, true, done)
		case s.spec.Bounds.MaxEvents > 0 && len(n.items) > s.spec.Bounds.MaxEvents || n.bytes >= countBytes:
			s.boundByBoth(st, n.inc, n.from, n.to, done)
		default:
			s.count(st, n, done)
		}
	})
}

func (s *Source) boundByAge(st *State, inc *feed.Incarnation, from, to uint64, done func(Batch)) {
	s.notBefore(inc, from, to, done, func(start uint64) { s.bounded(st, inc, from, start, start > from, false, done) })
}

func (s *Source) boundByBoth(st *State, inc *feed.Incarnation, from, to uint64, done func(Batch)) {
	s.notBefore(inc, from, to, done, func(start uint64) {
		s.streams.history.Newest(s.request(inc, start, to, 0), s.most(), func(newest uint64, missed bool, err error) {
			if err != nil {
				s.again(err, done)
				return
			}
			s.bounded(st, inc, from, newest, missed || start > from, missed, done)
		})
	})
}

// notBefore finds where the bound by age lets a replay begin. When that fails, done is called instead of found.
func (s *Source) notBefore(inc *feed.Incarnation, from, to uint64, done func(Batch), found func(start uint64)) {
	age := s.spec.Bounds.MaxAge
	if age <= 0 {
		found(from)
		return
	}
	oldest := time.Now().Add(-age).Truncate(time.Second) // so that clients who come together ask the same
	s.streams.history.SeqBefore(s.stream, inc.Created, oldest, func(seq uint64, err error) {
		if err != nil {
			s.again(err, done)
			return
		}
		found(min(max(seq, from), to))
	})
}

// boundInMemory is where the replay of these messages begins, and whether any of them are left out.
func (s *Source) boundInMemory(items []*encode.Item, from uint64) (start uint64, missed bool) {
	n := len(items)
	for newest := (history.Newest{Most: s.most()}); n > 0 && newest.Take(len(items[n-1].Data)); {
		n--
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
	if s.format.EndField == "" {
		done(s.holeAt(st, h, flow.Event{Seq: start}))
		return
	}
	// The last event of a stream that has ended is never left out: whoever does not get it would wait for it.
	s.streams.history.Last(s.request(inc, from, start, 0), func(a historyAnswer) {
		if a.Err != nil {
			st.bounded = false
			s.again(a.Err, done)
			return
		}
		if n := len(a.Items); n > 0 && a.Items[n-1].Seq > from {
			if last := s.event(a.Items[n-1], inc); last.End == flow.Done {
				done(s.ended(st, h, last))
				return
			}
		}
		done(s.holeAt(st, h, flow.Event{Seq: start}))
	})
}

// ended is a replay of which the bounds have left only the last event of the stream.
func (s *Source) ended(st *State, h gap.Hole, last flow.Event) (b Batch) {
	if h.To = last.Seq - 1; h.To >= h.From {
		h.Source = s.spec.Name
		b.Events = append(b.Events, flow.Event{Frame: s.gap(h), Seq: h.To})
	}
	b.Events = append(b.Events, last)
	return b
}
