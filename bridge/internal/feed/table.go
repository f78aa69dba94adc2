package feed

import (
	"slices"

	"headgate/bridge/internal/encode"
	"headgate/bridge/internal/jsapi"
	"headgate/internal/gap"
	"headgate/internal/subject"
)

// table is the last message of every subject. It is guarded by the mu of its Feed, apart from one that is being loaded.
type table struct {
	rows  subject.Tree[row]
	bytes int64
}

// row is a subject's last message. The one that says that the subject has no value is not kept, but that there was one is: the number
// of subjects is compared with the stream's.
type row struct {
	it  *encode.Item // nil: no value
	seq uint64
}

func (t *table) size() int64 {
	if t == nil {
		return 0
	}
	return t.bytes
}

func (t *table) put(it *encode.Item, gone bool) {
	r := row{it: it, seq: it.Seq}
	if gone {
		r.it = nil
	}
	old, ok := t.rows.Get(it.Subject)
	t.rows.Put(it.Subject, r)
	switch {
	case !ok:
		t.bytes += subjectCost + int64(len(it.Subject))
	case old.it != nil:
		t.bytes -= cost(old.it)
	}
	if !gone {
		t.bytes += cost(it)
	}
}

// load is a table on its way.
type load struct {
	table table
	at    uint64         // the last message taken
	fresh []*encode.Item // those behind the cursor
}

func (f *Feed) isGone(it *encode.Item) bool { return f.cfg.Gone != nil && f.cfg.Gone(it.Header) }

// keep puts a message into the tail and the table. It needs mu.
func (f *Feed) keep(it *encode.Item) (evicted int) {
	if f.table != nil {
		f.table.put(it, f.isGone(it))
		if f.table.bytes > f.share.Load() {
			f.dropTable()
		}
	}
	return f.tail.add(it, f.table.size())
}

// dropTable needs mu.
func (f *Feed) dropTable() {
	f.table, f.listed, f.reload, f.tooLarge = nil, listed{}, false, true
	f.log.Warn("the bucket's values do not fit into memory: each new client's state is read from NATS; raise JETSTREAM_TAIL_BYTES",
		"share", f.share.Load())
}

// loading takes one message of a consumer that begins with the last message of every subject. They come in order, but until the last
// of them the table is what the stream never was.
func (f *Feed) loading(it *encode.Item) reset {
	l := f.load
	l.at = it.Seq
	if f.relays(it.Subject) {
		l.table.put(it, f.isGone(it))
		if it.Seq > f.Cursor {
			l.fresh = append(l.fresh, it)
		}
	}
	if l.table.bytes > f.share.Load() {
		f.mu.Lock()
		f.dropTable()
		f.mu.Unlock()
		return resetTable // and go on without one
	}
	f.arrive()
	return goesOn
}

// loaded replaces the table by the one that was loaded, and tells what that means: a hole when it was owed, or when a value differs
// from the one we had; else the messages that are new are pushed like any other.
func (f *Feed) loaded(position uint64) {
	l := f.load
	f.load, f.reload = nil, false
	position = max(position, f.Cursor)
	hole := f.differs(l)
	if f.owed != nil {
		hole, f.owed = f.owed, nil
	}
	type pushed struct {
		it    *encode.Item
		links []*Link
	}
	var list []pushed
	change := func() {
		if position > f.Cursor || f.table == nil {
			f.tail.clear(position) // messages that were replaced meanwhile are not in it
		}
		if hole != nil || f.table == nil {
			f.Doubt = position // nobody knows what those had who were here before
		}
		f.table, f.Cursor, f.caughtUp = &l.table, position, true
		f.tail.room(f.table.size())
		if hole == nil {
			for _, it := range l.fresh {
				list = append(list, pushed{it, slices.Clone(f.followers(it.Subject))})
			}
		}
	}
	if hole != nil {
		f.announce(*hole, change)
		return
	}
	f.mu.Lock()
	change()
	inc := f.Inc
	f.tell()
	f.mu.Unlock()
	for _, p := range list {
		f.deliver(p.it, inc, p.links)
	}
	f.progress.raise(position)
}

// differs compares the table that was loaded with the one we had: there is a hole when a value went, or another one came, without a
// message behind the cursor that says so.
func (f *Feed) differs(l *load) *Hole {
	if f.table == nil {
		return nil
	}
	same := true
	f.table.rows.Match(">", func(literal string, old row) bool {
		_, ok := l.table.rows.Get(literal)
		same = ok || old.it == nil
		return same
	})
	if same {
		l.table.rows.Match(">", func(literal string, now row) bool {
			old, _ := f.table.rows.Get(literal)
			same = now.seq > f.Cursor || now.seq == old.seq || now.it == nil && old.it == nil
			return same
		})
	}
	if same {
		return nil
	}
	return &Hole{Reason: gap.Reset}
}

// vanished says whether subjects, or messages, were removed from a stream that we have read to its end.
func (f *Feed) vanished(info jsapi.Info, before fingerprint) bool {
	if f.table == nil || f.filters != nil || info.LastSeq != f.Cursor {
		return false
	}
	now := printOf(info)
	return info.NumSubjects != uint64(f.table.rows.Len()) || before.last == now.last && before != now
}

// Table is the last message of every matching subject that has a value, in the order of their sequences, as it was when everything up
// to at had been taken. The list is shared. ok is false while there is no table: not wanted, not loaded, or too large for Share.
func (f *Feed) Table(filters []string) (items []*encode.Item, at uint64, inc *Incarnation, ok bool) {
	f.mu.Lock()
	if f.table == nil || !f.caughtUp || f.ended {
		f.mu.Unlock()
		return nil, 0, nil, false
	}
	if l := f.listed; l.table == f.table && l.at == f.Cursor && slices.Equal(l.filters, filters) {
		f.mu.Unlock()
		return l.items, l.at, l.inc, true
	}
	of := f.table
	for i, p := range filters {
		f.table.rows.Match(p, func(literal string, r row) bool {
			twice := slices.ContainsFunc(filters[:i], func(before string) bool { return subject.Match(before, literal) })
			if r.it != nil && !twice {
				items = append(items, r.it)
			}
			return true
		})
	}
	at, inc = f.Cursor, f.Inc
	f.mu.Unlock()
	slices.SortFunc(items, bySeq)
	f.mu.Lock()
	f.listed = listed{of, slices.Clone(filters), at, inc, items}
	f.mu.Unlock()
	return items, at, inc, true
}

// listed is what Table answered last: those who come at the same time share it. It is only read.
type listed struct {
	table   *table
	filters []string
	at      uint64
	inc     *Incarnation
	items   []*encode.Item
}
