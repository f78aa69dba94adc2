package feed

import (
	"slices"
	"time"

	"headgate/bridge/internal/encode"
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
	keys  *keys          // not nil: only these are wanted
	began time.Time      // before its consumer was made
	at    uint64         // the last message taken
	heard time.Time      // when that was
	fresh []*encode.Item // those behind the cursor
	chase
}

func (f *Feed) isGone(it *encode.Item) bool { return f.cfg.Gone != nil && f.cfg.Gone(it.Header) }

// keep puts a message into the tail and the table. It needs mu.
func (f *Feed) keep(it *encode.Item) (evicted int) {
	if f.table != nil {
		f.table.put(it, f.isGone(it))
		if !f.fits(f.table.bytes) {
			f.dropTable()
			if f.keys == nil {
				f.tooManyKeys()
			}
		}
	} else if f.keys != nil {
		f.keys.take(it.Subject, f.isGone(it))
		if !f.fits(f.keys.size()) {
			f.tooManyKeys()
		}
	}
	f.keysHeld = f.keys.size()
	f.tail.add(it)
	return f.room()
}

// fits says whether a table, or keys, of so many bytes may be kept.
func (f *Feed) fits(bytes int64) bool { return f.cfg.Budget.tablesFit(f, bytes) }

// dropTable goes on with the keys alone. It needs mu.
func (f *Feed) dropTable() {
	f.keys = f.keysOf(f.table)
	f.table, f.reload, f.tooLarge = nil, false, true
	f.list(listed{})
	f.log.Warn("the bucket's values do not fit into memory: each new client's state is read from NATS; raise JETSTREAM_TAIL_BYTES",
		"limit", f.cfg.Budget.limit)
}

// loading takes one message of a consumer that begins with the last message of every subject. They come in order, but until the last
// of them the table is what the stream never was.
func (f *Feed) loading(it *encode.Item) reset {
	l := f.load
	l.jumped = l.jumped || it.Seq > l.at+1
	l.at, l.heard = it.Seq, time.Now()
	if l.keys != nil {
		return f.counting(it.Subject, f.isGone(it))
	}
	if f.relays(it.Subject) {
		if f.table != nil {
			if old, _ := f.table.rows.Get(it.Subject); old.it != nil && old.seq == it.Seq {
				it = old.it // while both are there, it is kept once
			}
		}
		l.table.put(it, f.isGone(it))
		if it.Seq > f.Cursor {
			l.fresh = append(l.fresh, it)
		}
	}
	if !f.fits(l.table.bytes) {
		f.mu.Lock()
		f.dropTable()
		f.mu.Unlock()
		f.recount = true
		return resetTable // and go on without one
	}
	f.taking(l.table.bytes)
	f.arrive()
	return goesOn
}

// taking tells the budget how much of a load has been taken.
func (f *Feed) taking(bytes int64) {
	f.mu.Lock()
	f.loads = bytes
	f.account()
	f.mu.Unlock()
	f.cfg.Budget.shrink()
}

// loaded replaces the table by the one that was loaded, and tells what that means: a hole when it was owed, or when a value differs
// from the one we had; else the messages that are new are pushed like any other.
func (f *Feed) loaded(position uint64) {
	l := f.load
	now := time.Now()
	f.load, f.reload, f.sound = nil, false, l.began
	f.loadedAt, f.loadTook = now, now.Sub(l.began)
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
			f.Inc = f.named()
			f.Cursor = position
			f.doubt() // nobody knows what those had who were here before
		}
		f.table, f.Cursor, f.caughtUp = &l.table, position, true
		f.keys, f.recount = nil, false
		f.loads, f.keysHeld = 0, 0
		f.account()
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
	f.judge() // at the cursor, ahead of what is pushed
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

// lostBy says whether a subject has a value here that a later table knows nothing of.
func (t *table) lostBy(later *table) (lost bool) {
	t.rows.Match(">", func(literal string, old row) bool {
		_, ok := later.rows.Get(literal)
		lost = !ok && old.it != nil
		return !lost
	})
	return lost
}

// differs compares the table that was loaded with the one we had: there is a hole when a value went, or another one came, without a
// message behind the cursor that says so.
func (f *Feed) differs(l *load) *Hole {
	if f.table == nil {
		return nil
	}
	same := !f.table.lostBy(&l.table)
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
