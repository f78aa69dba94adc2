package feed

import (
	"context"
	"errors"
	"time"

	"headgate/bridge/internal/jsapi"
	"headgate/internal/gap"
)

const jumpEvery = time.Second // the leader is asked about jumps so often at most

// target: when everything up to match has been taken, everything up to last is done, for what is between does not match.
type target struct {
	set         bool
	match, last uint64
}

// removed is a range that the consumer has jumped over, and of which it is not known yet whether it was at the stream's beginning.
type removed struct {
	from, to uint64 // 0 = none
	merged   bool   // of several jumps: messages in between have been taken
}

// fingerprint tells whether anything was removed from a stream that has got no messages.
type fingerprint struct {
	first, last, messages, subjects uint64
	deleted                         int
}

func printOf(i jsapi.Info) fingerprint {
	return fingerprint{i.FirstSeq, i.LastSeq, i.Messages, i.NumSubjects, i.NumDeleted}
}

func isNoMessage(err error) bool { return errors.Is(err, jsapi.ErrNoMessage) }

// aim asks the leader for the last match. last must have been read before, and for a table the consumer must have been made before.
func (f *Feed) aim(ctx context.Context, s *session, last uint64) {
	if f.load != nil {
		f.target = target{}
	}
	t := target{set: true, last: last}
	if f.load != nil || last > f.Cursor {
		for _, p := range f.delivered() {
			m, err := f.lastMatch(ctx, s, p, last)
			if err != nil {
				return // verify tries again
			}
			t.match = max(t.match, m)
		}
	}
	f.target = t
	f.arrive()
}

// lastMatch is the last match up to last, or behind it; 0 when there is none behind the cursor.
func (f *Feed) lastMatch(ctx context.Context, s *session, filter string, last uint64) (uint64, error) {
	ask, cancel := context.WithTimeout(ctx, answerWait)
	defer cancel()
	m, err := f.cfg.API.Last(ask, s.nc, f.cfg.Stream, filter)
	if err == nil || !isNoMessage(err) {
		return m.Seq, err
	}
	if filter != everything[0] {
		return 0, nil
	}
	// Asked for the last message of >, nats-server 2.15 looks at the last sequence alone: when that message was deleted it says that
	// there is none. What it says about the first message from a sequence on is right, so that finds the last one.
	from := f.Cursor
	if f.load != nil {
		from = 0
	}
	found, next, at := from, last+1, from+1
	for found+1 < next {
		m, err := f.next(ctx, s, filter, at)
		switch {
		case isNoMessage(err):
			next = at
		case err != nil:
			return 0, err
		default:
			found = m.Seq
		}
		at = found + max(1, (next-min(next, found))/2)
	}
	if found == from {
		return 0, nil
	}
	return found, nil
}

func (f *Feed) next(ctx context.Context, s *session, filter string, seq uint64) (jsapi.Stored, error) {
	ctx, cancel := context.WithTimeout(ctx, answerWait)
	defer cancel()
	return f.cfg.API.Next(ctx, s.nc, f.cfg.Stream, filter, seq)
}

// arrive looks whether the target has been reached.
func (f *Feed) arrive() {
	t := f.target
	at := f.Cursor
	if f.load != nil {
		at = f.load.at
	}
	if !t.set || at < t.match {
		return
	}
	f.target = target{}
	switch {
	case f.load == nil:
	case f.unsure():
		f.load.wanted = true
		return
	case f.load.keys != nil:
		f.counted()
		return
	default:
		f.loaded(max(t.last, at))
		return
	}
	if f.caughtUp && f.Cursor >= t.last {
		return
	}
	f.mu.Lock()
	f.Cursor = max(f.Cursor, t.last)
	position := f.Cursor
	if !f.caughtUp {
		f.caughtUp = true
		f.tell()
	}
	f.mu.Unlock()
	f.progress.raise(position)
}

// verify asks the leader whether we have everything, and whether the stream is still the one we know.
func (f *Feed) verify(ctx context.Context, s *session) reset {
	f.verified = time.Now()
	info, err := f.info(ctx, s)
	if err != nil {
		if missing := missingBy(s.nc, err); missing == nil || errors.Is(missing, jsapi.ErrUnavailable) {
			return goesOn // the consumer tells whether there is still somebody
		}
		return f.failed(ctx, s.nc, err)
	}
	if !info.Created.Equal(f.Inc.Created) || info.LastSeq < f.Cursor {
		return resetIncarnation
	}
	f.refresh(info)
	f.explain(info)
	if f.load != nil || !f.caughtUp || info.LastSeq > f.Cursor {
		f.aim(ctx, s, info.LastSeq)
	}
	before := f.print
	f.print = printOf(info)
	if f.load == nil && !f.countOver && f.vanished(info, before) {
		return f.recheck(info.NumSubjects)
	}
	return goesOn
}

// jumped: the consumer has left out (from, to). Either something was removed in between, which is no hole, or retention was quicker
// than we.
func (f *Feed) jumped(ctx context.Context, s *session, from, to uint64) {
	if f.cfg.Table {
		return // its values are compared instead
	}
	if f.removed.to == 0 {
		f.removed.from = from
	} else {
		f.removed.merged = true
	}
	f.removed.to = to
	if time.Since(f.asked) >= jumpEvery {
		f.look(ctx, s)
	}
}

// look asks the leader for the first sequence that there still is.
func (f *Feed) look(ctx context.Context, s *session) {
	f.asked = time.Now()
	info, err := f.info(ctx, s)
	if err != nil || !info.Created.Equal(f.Inc.Created) {
		return // the next look, or the next session, tells
	}
	f.refresh(info)
	f.explain(info)
}

// explain tells of the hole that a jump was, if it was one.
func (f *Feed) explain(info jsapi.Info) {
	r := f.removed
	f.removed = removed{}
	if r.to == 0 || info.FirstSeq <= r.from {
		return
	}
	to := min(info.FirstSeq-1, r.to)
	f.announce(Hole{Reason: gap.Expired, Certain: f.cfg.Filters == nil && !r.merged, From: r.from, To: to}, func() {
		f.Cursor = max(f.Cursor, to)
		f.tail.raise(to) // a reader from before would pass over the hole
	})
}
