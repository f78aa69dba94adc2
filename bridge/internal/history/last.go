package history

import (
	"cmp"
	"context"
	"errors"
	"maps"
	"math"
	"slices"
	"time"

	"github.com/nats-io/nats.go"

	"headgate/bridge/internal/encode"
	"headgate/bridge/internal/jsapi"
)

const (
	mostSubjects  = 100_000  // of one LastPerSubject; also what the server lists at once
	mostBytes     = 64 << 20 // of one LastPerSubject
	multiSubjects = 512      // asked for at once; the server refuses more than 1024
	multiBytes    = 8 << 20  // asked for at once
	growBytes     = 64 << 10 // more room is asked for at once
)

// errMany says that a multi_last has more than one answer can bring.
var errMany = errors.New("more than one answer can bring")

// errLags says that the replica which answered has not come to the sequence that was asked for, however often it was asked.
var errLags = errors.New("the replica lags")

// LastPerSubject reads the last message of every matching subject, of those up to r.To, in order of sequence. All of them, or
// ErrTooLarge. Equal requests that wait at the same time are served by one read.
func (c *Coordinator) LastPerSubject(r Request, done func(Answer)) {
	key := r.key()
	c.m.reads.Inc()
	c.operate(r, "last-per-subject "+key, func(s *session) Answer {
		t := target{stream: r.Stream, created: r.Created, direct: r.Direct, filters: r.Filters, to: r.To}
		l := &lastReader{c: c, ctx: s.ctx, nc: s.nc, t: &t, most: c.most, mostBytes: mostBytes, grow: r.Grow, last: map[string]*encode.Item{}}
		return l.read()
	}, done)
}

// lastReader makes one LastPerSubject.
type lastReader struct {
	c         *Coordinator
	ctx       context.Context
	nc        *nats.Conn
	t         *target
	most      int                     // subjects
	last      map[string]*encode.Item // by subject
	size      int64
	mostBytes int64                  // of size
	data      int64                  // the payloads in it: frames have them once more
	grow      func(bytes int64) bool // of the request
	list      []entry                // a part of a list is read
	room      int64                  // what it has given
}

func (l *lastReader) read() Answer {
	if l.t.to == 0 {
		return Answer{}
	}
	if _, err := l.c.bounds(l.ctx, l.nc, l.t); err != nil {
		return Answer{Err: err}
	}
	var err error
	if l.t.direct {
		err = l.direct()
	} else {
		err = l.listed(l.consumer)
	}
	if err != nil {
		return Answer{Err: err}
	}
	i, err := l.c.after(l.ctx, l.nc, l.t)
	if err != nil {
		return Answer{Err: err}
	}
	return Answer{Items: l.items(), Upto: l.t.to, First: i.FirstSeq}
}

// items are what was read, in order.
func (l *lastReader) items() []*encode.Item {
	return slices.SortedFunc(maps.Values(l.last), func(a, b *encode.Item) int { return cmp.Compare(a.Seq, b.Seq) })
}

// put keeps an item unless a later one of its subject is there.
func (l *lastReader) put(it *encode.Item) error {
	if old := l.last[it.Subject]; old != nil {
		if old.Seq >= it.Seq {
			return nil
		}
		l.size -= size(old)
		l.data -= int64(len(old.Data))
	}
	l.last[it.Subject] = it
	l.data += int64(len(it.Data))
	if l.size += size(it); l.size > l.mostBytes || len(l.last) > l.most {
		return ErrTooLarge
	}
	if more := l.size + l.data - l.room; l.grow != nil && more > 0 {
		more = max(more, min(l.room, growBytes))
		if !l.grow(more) {
			return ErrCrowded
		}
		l.room += more
	}
	return nil
}

// reset forgets what was read. The room stays.
func (l *lastReader) reset() {
	clear(l.last)
	l.size, l.data = 0, 0
}

// direct asks with multi_last: at once, and where the subjects are too many, group by group.
func (l *lastReader) direct() error {
	beyond, err := l.multi(l.t.filters)
	switch {
	case err == nil:
		return l.earlier(beyond)
	case errors.Is(err, errMany), errors.Is(err, errLags):
		l.reset()
		err = l.listed(l.groups)
	}
	if errors.Is(err, errNoDirect) {
		l.t.direct = false
		l.reset()
		return l.listed(l.consumer)
	}
	return err
}

// listed reads the subjects that the leader names, in some way; those that are still missing then are asked of the leader.
func (l *lastReader) listed(read func(names []string) error) error {
	names, err := l.c.subjects(l.ctx, l.nc, l.t.stream, l.t.filters, l.c.most)
	if err != nil {
		return err
	}
	if err := read(slices.Sorted(maps.Keys(names))); err != nil {
		return err
	}
	for s := range l.last {
		delete(names, s)
	}
	return l.earlier(slices.Sorted(maps.Keys(names)))
}

// groups asks for named subjects with multi_last. What lags is left to the leader.
func (l *lastReader) groups(names []string) error {
	for group := range slices.Chunk(names, multiSubjects) {
		if err := l.group(group); err != nil {
			return err
		}
	}
	return nil
}

func (l *lastReader) group(names []string) error {
	_, err := l.multi(names)
	switch {
	case errors.Is(err, errMany) && len(names) > 1: // large messages
		if err := l.group(names[:len(names)/2]); err != nil {
			return err
		}
		return l.group(names[len(names)/2:])
	case errors.Is(err, errLags):
		return nil
	}
	return err
}

// multi asks any replica for the last messages of the filters, as they are now. It returns the subjects whose last message is behind
// what was asked for.
func (l *lastReader) multi(filters []string) (beyond []string, err error) {
	for try := 0; ; try++ {
		g, err := l.c.directGet(l.ctx, l.nc, l.t.stream, ask{MultiLast: filters, MaxBytes: multiBytes})
		switch {
		case errors.Is(err, errLost): // asked again below
		case err != nil:
			return nil, err
		case g.status == 413, g.status == 204 && g.pending > 0:
			return nil, errMany
		case g.status == 204 && g.upTo >= l.t.to:
			return l.keep(g.items)
		}
		// The replica lags; or there is nothing at all, which only the leader can tell.
		if g.status == 404 {
			if none, err := l.nothing(filters); none || err != nil {
				return nil, err
			}
		}
		if try >= len(backoff) {
			return nil, errLags
		}
		if err := pause(l.ctx, backoff[try]); err != nil {
			return nil, err
		}
	}
}

// nothing asks the leader, where that does not take many questions: there is nothing of the filters, or of a list nothing where they were.
func (l *lastReader) nothing(filters []string) (bool, error) {
	first, last := uint64(1), uint64(math.MaxUint64)
	if n := len(l.list); n > 0 {
		filters, first, last = l.t.filters, l.list[0].seq, l.list[n-1].seq
		if i, err := l.c.info(l.ctx, l.nc, l.t.stream, time.Now()); err != nil || i.LastSeq < l.t.to {
			return false, err // one that was just elected may not have everything yet
		}
	}
	if len(filters) > maxFilters {
		return false, nil
	}
	for _, f := range filters {
		m, err := l.c.next(l.ctx, l.nc, l.t.stream, f, first)
		if err != nil && !errors.Is(err, jsapi.ErrNoMessage) || err == nil && m.Seq <= last {
			return false, err
		}
	}
	return true, nil
}

func (l *lastReader) keep(items []*encode.Item) (beyond []string, err error) {
	for _, it := range items {
		if it.Seq > l.t.to {
			beyond = append(beyond, it.Subject)
		} else if err := l.put(it); err != nil {
			return nil, err
		}
	}
	return beyond, nil
}

// consumer takes the last messages from a consumer that begins with them.
func (l *lastReader) consumer([]string) error {
	i, err := l.c.bounds(l.ctx, l.nc, l.t)
	if err != nil {
		return err
	}
	lasts, err := l.c.lastsOf(l.ctx, l.nc, l.t, i, time.Now().Add(-fresh))
	if err != nil {
		return err
	}
	end := min(together(lasts).seq, l.t.to)
	if end == 0 {
		return nil
	}
	s := scan{stream: l.t.stream, perSubj: true}
	if s.filters = consumerFilters(l.t.filters); s.filters[0] == ">" {
		s.filters = nil
	}
	var failed error
	err = l.c.consume(l.ctx, l.nc, s, func(it *encode.Item) bool {
		if it.Seq <= l.t.to && l.t.wants(it.Subject) {
			failed = l.put(it)
		}
		return failed == nil && it.Seq < end
	})
	if failed != nil || !gone(err) {
		return cmp.Or(failed, err)
	}
	if err != nil { // the replica lags: what it gave may not be the last
		l.reset()
	}
	return nil
}

// earlier finds the last message up to the end of subjects that have younger ones, or none that was found. Replicas propose, the
// leader decides: what follows the right one in its subject is beyond the end.
func (l *lastReader) earlier(names []string) error {
	proposed := map[string]*encode.Item{}
	if l.t.direct {
		for group := range slices.Chunk(names, multiSubjects) {
			g, err := l.c.directGet(l.ctx, l.nc, l.t.stream, ask{MultiLast: group, UpToSeq: l.t.to, MaxBytes: multiBytes})
			if err != nil && !errors.Is(err, errLost) && !errors.Is(err, errNoDirect) {
				return err
			}
			for _, it := range g.items {
				proposed[it.Subject] = it
			}
		}
	}
	for _, name := range names {
		it, err := l.upTo(name, proposed[name])
		if err != nil {
			return err
		}
		if it == nil {
			continue
		}
		if err := l.put(it); err != nil {
			return err
		}
	}
	return nil
}

// upTo is the last message of one subject up to the end, nil when there is none; it is the one proposed or behind it.
func (l *lastReader) upTo(name string, it *encode.Item) (*encode.Item, error) {
	for k := 0; ; k++ {
		after := uint64(0)
		if it != nil {
			after = it.Seq
		}
		m, err := l.c.next(l.ctx, l.nc, l.t.stream, name, after+1)
		switch {
		case errors.Is(err, jsapi.ErrNoMessage), err == nil && m.Seq > l.t.to:
			return it, nil
		case err != nil:
			return nil, err
		}
		if it, err = stored(m); err != nil {
			return nil, err
		}
		if k < few {
			continue
		}
		t := *l.t
		t.filters, t.from = []string{name}, it.Seq
		err = l.c.walk(l.ctx, l.nc, t, func(items []*encode.Item) bool {
			if len(items) > 0 {
				it = items[len(items)-1]
			}
			return true
		})
		return it, err
	}
}
