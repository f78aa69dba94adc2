package feed

// checkItems is how many messages of a tail, or subjects of a table, are looked at: those of a larger one are not reckoned.
const checkItems = 16 << 10

// Wrong notes what is broken.
type Wrong func(format string, args ...any)

// Check looks at the feed under its lock, for a moment.
func (f *Feed) Check(wrong Wrong) {
	f.mu.Lock()
	defer f.mu.Unlock()
	name := f.cfg.Stream
	if f.ended {
		return
	}
	if f.heldTail.Load() != f.tail.bytes || f.heldTable.Load() != f.tableBytes() {
		wrong("stream %s: the budget has been told of other bytes than there are", name)
	}
	if inc, seq := f.progress.load(); inc.Same(f.Inc) && seq > f.Cursor {
		wrong("stream %s: more has been pushed than has come", name)
	}
	if f.Missing == nil && f.tail.floor > f.Cursor {
		wrong("stream %s: the tail begins behind its end", name)
	}
	links := 0
	for l := range f.all {
		links += len(l.filters)
		if l.feed != f {
			wrong("stream %s: a follower of another one", name)
		}
	}
	if links != f.links.Len() {
		wrong("stream %s: %d filters of followers, and %d are matched", name, links, f.links.Len())
	}
	f.checkTail(wrong)
}

// checkTail needs mu.
func (f *Feed) checkTail(wrong Wrong) {
	t, name := &f.tail, f.cfg.Stream
	if t.len() > checkItems {
		return
	}
	bytes, last, count := int64(0), t.floor, map[string]int{}
	for p := t.head; p < t.next; p++ {
		it := t.at(p).it
		if it.Seq <= last || it.Seq > f.Cursor {
			wrong("stream %s: the tail is out of order", name)
			return
		}
		last = it.Seq
		bytes += cost(it)
		count[it.Subject]++
	}
	if len(count) != t.subjects.Len() {
		wrong("stream %s: the tail knows %d subjects, and has %d", name, t.subjects.Len(), len(count))
	}
	for s, n := range count {
		bytes += subjectCost + int64(len(s))
		if tr, ok := t.subjects.Get(s); !ok || tr.count != n || t.at(tr.last).it.Subject != s {
			wrong("stream %s: the tail miscounts what it has of a subject", name)
			return
		}
	}
	if bytes != t.bytes {
		wrong("stream %s: the bytes of the tail are miscounted", name)
	}
}

// Check looks at the whole of it. What is told to it a moment later than it is so looks wrong: look again before you believe it.
func (b *Budget) Check(wrong Wrong) {
	var tails, tables, granted int64
	for _, f := range *b.feeds.Load() {
		tails += f.heldTail.Load()
		tables += f.heldTable.Load()
	}
	rooms := b.rooms.Load()
	if tails+tables+rooms != b.used.Load() || tables != b.tables.Load() {
		wrong("the memory of streams is miscounted")
	}
	if granted = b.granted.Load(); granted < 0 {
		wrong("streams were granted %d bytes", granted)
	}
	if b.over() && b.largest() != nil {
		wrong("streams take more than JETSTREAM_TAIL_BYTES, and none gives way")
	}
	if rooms > b.limit/statesPart && b.alone.Load() == nil {
		wrong("states on their way take more than their part")
	}
}

// Has says whether a feed counts for the budget.
func (b *Budget) Has(f *Feed) bool {
	for _, o := range *b.feeds.Load() {
		if o == f {
			return true
		}
	}
	return false
}

// Len is how many feeds count for the budget.
func (b *Budget) Len() int { return len(*b.feeds.Load()) }
