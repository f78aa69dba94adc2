package history

import (
	"cmp"
	"crypto/rand"
	"errors"
	"hash/maphash"
	"math"
	"slices"
	"strconv"
	"sync"
	"time"

	"headgate/bridge/internal/encode"
	"headgate/bridge/internal/jsapi"
)

const (
	listPatience = 5 * time.Minute // how long a List may take; there may be millions of subjects
	listTries    = 3               // consumers that a List is read with, where the last message vanishes meanwhile
	entryCost    = 72              // of an entry beside its subject: itself, and its place among the hashes while the list is made
	growEntries  = 64 << 10        // bytes of room asked for at once
	recentBytes  = 1 << 20         // of parts that are kept for others who read the same list
)

// hdrSize says how large a message is of which only the headers were asked for.
const hdrSize = "Nats-Msg-Size"

// List is where the last message of every subject was, as of one sequence, without what it holds: so that what is too much for one answer can
// be read part by part, by many who each have a place of their own in it.
type List struct {
	// fixed once it is made
	t       target
	id      string // tells its parts from those of others
	entries []entry

	mu     sync.Mutex
	recent []listPart // the last ones that were read, not more than recentBytes
	bytes  int64
}

type entry struct {
	subject string
	seq     uint64 // 0: there is none; not in a list that is made
	size    uint32
}

// listPart is what was read of a list. Guarded by the mu of its List.
type listPart struct {
	from, upto int
	items      []*encode.Item
	bytes      int64
	read       time.Time
}

// Len is how many subjects there are.
func (l *List) Len() int { return len(l.entries) }

// List finds the last message of every matching subject, of those up to r.To, apart from those that void says something of by their headers;
// nil = none. A subject that has a younger message may be missing: whoever reads on behind r.To meets it there. Equal requests that wait
// at the same time are served by one read. r.Grow is asked for room for the list; the answer's Items are nil.
func (c *Coordinator) List(r Request, void func(*encode.Item) bool, done func(Answer)) {
	key := r.key()
	c.m.reads.Inc()
	r.long = true
	c.operate(r, "list "+key, func(s *session) Answer {
		t := target{stream: r.Stream, created: r.Created, direct: r.Direct, filters: r.Filters, to: r.To}
		m := &listMaker{c: c, s: s, list: &List{t: t, id: rand.Text()}, void: void, grow: r.Grow}
		if err := m.make(); err != nil {
			return Answer{Err: err}
		}
		return Answer{List: m.list, Upto: r.To}
	}, done)
}

// listMaker makes a List.
type listMaker struct {
	c    *Coordinator
	s    *session
	list *List
	void func(*encode.Item) bool
	grow func(bytes int64) bool

	at         map[uint64]int // entries by the hash of their subject
	size, room int64
}

// make reads the last messages from a consumer that begins with them, without their payloads. A replica that lags begins with what were the
// last ones, and goes on with what followed: so the last of each subject counts.
func (m *listMaker) make() error {
	l := m.list
	for try := 0; l.t.to > 0; try++ {
		i, err := m.c.bounds(m.s.ctx, m.s.nc, &l.t)
		if err != nil {
			return err
		}
		lasts, err := m.c.lastsOf(m.s.ctx, m.s.nc, &l.t, i, time.Now().Add(-fresh))
		if err != nil {
			return err
		}
		end := min(together(lasts).seq, l.t.to)
		if end == 0 {
			break
		}
		all, err := m.scan(end)
		if !gone(err) {
			return err
		}
		if all {
			break
		}
		m.c.m.lag.Inc()
		if try == listTries {
			return ErrAway
		}
		if err := pause(m.s.ctx, backoff[min(try, len(backoff)-1)]); err != nil {
			return err
		}
	}
	l.entries = slices.DeleteFunc(l.entries, func(e entry) bool { return e.seq == 0 })
	slices.SortFunc(l.entries, func(a, b entry) int { return cmp.Compare(a.seq, b.seq) })
	m.at = nil
	_, err := m.c.after(m.s.ctx, m.s.nc, &l.t)
	return err
}

// scan says whether it has come to the sequence end, which the leader knows of.
func (m *listMaker) scan(end uint64) (all bool, err error) {
	l := m.list
	l.entries, m.at, m.size = nil, map[uint64]int{}, 0
	sc := scan{stream: l.t.stream, perSubj: true, bare: true}
	if sc.filters = consumerFilters(l.t.filters); sc.filters[0] == ">" {
		sc.filters = nil
	}
	var failed error
	err = m.c.consume(m.s.ctx, m.s.nc, sc, func(it *encode.Item) bool {
		if it.Seq <= l.t.to && l.t.wants(it.Subject) {
			failed = m.put(it)
		}
		all = it.Seq >= end
		return failed == nil && !all
	})
	return all, cmp.Or(failed, err)
}

// put notes a message in the place of the one before it of its subject.
func (m *listMaker) put(it *encode.Item) error {
	l := m.list
	hash := maphash.String(m.c.seed, it.Subject)
	at, known := m.at[hash]
	known = known && l.entries[at].subject == it.Subject
	if m.void != nil && m.void(it) {
		if known {
			l.entries[at].seq = 0
		}
		return nil
	}
	size := uint32(min(number(it.Header, hdrSize), math.MaxUint32))
	if known {
		l.entries[at].seq, l.entries[at].size = it.Seq, size
		return nil
	}
	m.at[hash] = len(l.entries)
	l.entries = append(l.entries, entry{subject: it.Subject, seq: it.Seq, size: size})
	m.size += entryCost + int64(len(it.Subject))
	if m.room == 0 && m.grow != nil {
		if !m.grow(recentBytes) {
			return ErrCrowded
		}
	}
	if m.grow != nil && m.size > m.room {
		if !m.grow(growEntries) {
			return ErrCrowded
		}
		m.room += growEntries
	}
	return nil
}

// Part reads the messages of a list from a place on, of about so many bytes as the request says, and gives the place behind them. What has got
// a younger message meanwhile, or is not there any more, is left out.
func (c *Coordinator) Part(l *List, r Request, from int, done func(items []*encode.Item, next int, err error)) {
	upto := l.upto(from, r.MaxBytes)
	if items, ok := l.kept(from, upto); ok {
		c.m.hits.Inc()
		done(items, upto, nil)
		return
	}
	c.m.reads.Inc()
	equal := "part " + l.id + " " + strconv.Itoa(from) + " " + strconv.Itoa(upto)
	r.To = l.t.to
	c.operate(r, equal, func(s *session) Answer {
		items, err := c.part(s, l, l.entries[from:upto])
		if err != nil {
			return Answer{Err: err}
		}
		l.keep(from, upto, items)
		return Answer{Items: items}
	}, func(a Answer) { done(a.Items, upto, a.Err) })
}

// upto is where a part ends.
func (l *List) upto(from, maxBytes int) int {
	if maxBytes <= 0 || maxBytes > multiBytes/2 {
		maxBytes = multiBytes / 2
	}
	n := from
	for size := 0; n < len(l.entries) && n-from < multiSubjects && size < maxBytes; n++ {
		size += int(l.entries[n].size) + len(l.entries[n].subject)
	}
	return n
}

func (l *List) kept(from, upto int) ([]*encode.Item, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, p := range l.recent {
		if p.from == from && p.upto == upto && time.Since(p.read) < keepFor {
			return p.items, true
		}
	}
	return nil, from == upto
}

func (l *List) keep(from, upto int, items []*encode.Item) {
	p := listPart{from: from, upto: upto, items: items, read: time.Now()}
	for _, it := range items {
		p.bytes += size(it)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.recent = append(l.recent, p)
	l.bytes += p.bytes
	for l.bytes > recentBytes {
		l.bytes -= l.recent[0].bytes
		l.recent[0] = listPart{}
		l.recent = l.recent[1:]
	}
}

// part reads some of the messages of a list.
func (c *Coordinator) part(s *session, l *List, entries []entry) ([]*encode.Item, error) {
	t := l.t
	i, err := c.bounds(s.ctx, s.nc, &t)
	if err != nil {
		return nil, err
	}
	for len(entries) > 0 && entries[0].seq < i.FirstSeq {
		entries = entries[1:]
	}
	if len(entries) == 0 {
		return nil, nil
	}
	r := &lastReader{c: c, ctx: s.ctx, nc: s.nc, t: &t, most: len(entries), mostBytes: math.MaxInt64, last: map[string]*encode.Item{}}
	err = errNoDirect
	if t.direct {
		err = r.named(entries)
	}
	if errors.Is(err, errNoDirect) {
		r.reset()
		err = r.placed(entries)
	}
	if err != nil {
		return nil, err
	}
	if _, err := c.after(s.ctx, s.nc, &t); err != nil {
		return nil, err
	}
	return r.items(), nil
}

// named asks any replica for the messages by their subjects.
func (l *lastReader) named(entries []entry) error {
	names := make([]string, len(entries))
	for i, e := range entries {
		names[i] = e.subject
	}
	l.list = entries
	_, err := l.multi(names)
	switch {
	case errors.Is(err, errMany) && len(entries) > 1:
		if err := l.named(entries[:len(entries)/2]); err != nil {
			return err
		}
		return l.named(entries[len(entries)/2:])
	case errors.Is(err, errMany), errors.Is(err, errLags):
		return l.ofLeader(entries)
	}
	return err
}

// placed reads where the messages are: all that is there, or where they are few among others one by one, of the leader.
func (l *lastReader) placed(entries []entry) error {
	first, last := entries[0].seq, entries[len(entries)-1].seq
	if (last-first)/8 > uint64(len(entries)) {
		return l.ofLeader(entries)
	}
	t := *l.t
	t.from, t.to, t.direct = first-1, last, false
	return l.c.walk(l.ctx, l.nc, t, func(items []*encode.Item) bool {
		for _, it := range items {
			at, ok := slices.BinarySearchFunc(entries, it.Seq, func(e entry, seq uint64) int { return cmp.Compare(e.seq, seq) })
			if ok && entries[at].subject == it.Subject {
				l.last[it.Subject] = it
			}
		}
		return true
	})
}

// ofLeader asks the leader for each message. The first one from its place on is it, or it is there no more.
func (l *lastReader) ofLeader(entries []entry) error {
	for _, e := range entries {
		m, err := l.c.next(l.ctx, l.nc, l.t.stream, e.subject, e.seq)
		if errors.Is(err, jsapi.ErrNoMessage) || err == nil && m.Seq != e.seq {
			continue
		}
		if err != nil {
			return err
		}
		it, err := stored(m)
		if err != nil {
			return err
		}
		l.last[it.Subject] = it
	}
	return nil
}
