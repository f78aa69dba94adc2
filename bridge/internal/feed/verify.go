package feed

import (
	"context"
	"errors"
	"time"

	"headgate/bridge/internal/jsapi"
)

// target: when everything up to match has been taken, everything up to last is done, for what is between does not match.
type target struct {
	set         bool
	match, last uint64
	first       uint64 // of the stream, when it was known that nothing behind match matches
}

// fingerprint tells whether anything was removed from a stream that has got no messages.
type fingerprint struct {
	first, last, messages, subjects uint64
	deleted                         int
	known                           bool // the zero value is of a stream that has not been looked at, and not of an empty one
}

func printOf(i jsapi.Info) fingerprint {
	return fingerprint{i.FirstSeq, i.LastSeq, i.Messages, i.NumSubjects, i.NumDeleted, true}
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
		if !f.cfg.Table && t.match < last {
			info, err := f.info(ctx, s)
			if err != nil || !info.Created.Equal(f.Inc.Created) {
				return
			}
			t.first = info.FirstSeq
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
	if f.Cursor < t.last {
		f.hole(jump{f.Cursor + 1, t.last}, t.first)
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
	f.settle(f.verified, info)
	if f.load != nil || !f.caughtUp || info.LastSeq > f.Cursor {
		f.aim(ctx, s, info.LastSeq)
	}
	before := f.print
	f.print = printOf(info)
	f.erase(info, before)
	if f.load == nil && !f.countOver && f.vanished(info, before) {
		return f.recheck(info.NumSubjects)
	}
	if !f.cfg.Table || f.load != nil || f.countOver {
		return goesOn
	}
	if f.check.at == 0 && !f.revives && (f.table != nil || f.keys != nil) {
		f.sound = f.verified
		f.judge()
	}
	f.freshen(before, f.print)
	return f.prove()
}
