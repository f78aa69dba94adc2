package feed

import (
	"context"
	"math"
	"sort"
	"time"

	"headgate/bridge/internal/encode"
	"headgate/bridge/internal/jsapi"
)

// mark is a message that was taken from the stream. Its time is its name: two messages that got the same sequence, one before and one
// after a backup was restored, did not come in the same nanosecond.
type mark struct {
	seq uint64
	at  int64
}

func markOf(it *encode.Item) mark { return mark{it.Seq, it.At} }

// marksAsked is how many messages are looked for at most that may have been removed.
const marksAsked = 8

// clocksApart is how much the clocks of two leaders may differ. Nobody puts a stream back in less.
const clocksApart = time.Second

// kept is up to which sequence the stream is what was taken of it. It is the cursor, unless the stream was restored from a backup that
// kept its time of creation, and has grown beyond the cursor before anybody looked: then the end of the stream says nothing. Servers
// before 2.15 keep it, and so does a disk that is put back. sure is false where the last message that was taken is not there any more: a
// bucket that was put back may then have older values of some keys, and nothing younger in their place.
func (f *Feed) kept(ctx context.Context, s *session, info jsapi.Info, same bool) (upto uint64, sure bool, err error) {
	if !same || info.LastSeq < f.Cursor { // which says enough
		return f.Cursor, true, nil
	}
	marks := f.marks(marksAsked)
	for n, m := range marks {
		there, err := f.has(ctx, s, m)
		switch {
		case err != nil:
			return f.Cursor, false, err
		case there == no:
			upto, err = f.common(ctx, s, info, m)
			return upto, true, err
		case there == yes && n == 0:
			return f.Cursor, true, nil
		}
		if there == yes {
			break
		}
	}
	if len(marks) == 0 {
		return f.Cursor, true, nil
	}
	upto, err = f.younger(ctx, s, info, marks[0])
	return upto, false, err
}

// younger is up to which sequence the stream has nothing that came behind the last message that was taken, where that was removed: by its
// publisher, or by what came behind it. What is in front of its place and came later says that the stream was put back.
func (f *Feed) younger(ctx context.Context, s *session, info jsapi.Info, newest mark) (uint64, error) {
	first, err := f.firstAfter(ctx, s, max(info.FirstSeq, 1), newest.seq+1, time.Unix(0, newest.at).Add(clocksApart))
	if err != nil || first > newest.seq {
		return f.Cursor, err
	}
	found, err := f.next(ctx, s, everything[0], first)
	switch {
	case isNoMessage(err):
		return f.Cursor, nil
	case err != nil || found.Seq > newest.seq:
		return f.Cursor, err
	}
	return first - 1, nil
}

// marks are the last n messages that were taken, as far as they are in memory, the last one first.
func (f *Feed) marks(n int) []mark {
	f.mu.Lock()
	defer f.mu.Unlock()
	var list []mark
	if f.newest.seq > 0 {
		list = append(list, f.newest)
	}
	for place := f.tail.next; place > f.tail.head && len(list) < n; place-- {
		if m := markOf(f.tail.at(place - 1).it); len(list) == 0 || m.seq < list[len(list)-1].seq {
			list = append(list, m)
		}
	}
	return list
}

// presence is whether a stream has a message.
type presence int

const (
	removed presence = iota // it has nothing in its place
	yes
	no // it has another one
)

func (f *Feed) has(ctx context.Context, s *session, m mark) (presence, error) {
	found, err := f.next(ctx, s, everything[0], m.seq)
	switch {
	case isNoMessage(err):
		return removed, nil
	case err != nil:
		return removed, err
	case found.Seq != m.seq:
		return removed, nil
	case found.Time.UnixNano() != m.at:
		return no, nil
	}
	return yes, nil
}

// common is the last message that a restored stream has kept: what is behind it is new. It is looked for among what is in memory, and if
// that does not reach back so far, by time: what came behind the restore is younger than newest, which was taken before it.
func (f *Feed) common(ctx context.Context, s *session, info jsapi.Info, newest mark) (uint64, error) {
	marks := f.marks(math.MaxInt)
	var failed error
	n := sort.Search(len(marks), func(i int) bool {
		if failed != nil {
			return true
		}
		there, err := f.has(ctx, s, marks[i])
		failed = err
		return there == yes
	})
	if failed != nil || n < len(marks) {
		return marks[min(n, len(marks)-1)].seq, failed
	}
	first, err := f.firstAfter(ctx, s, max(info.FirstSeq, 1), newest.seq, time.Unix(0, newest.at))
	return first - 1, err
}
