package feed

import (
	"slices"

	"headgate/bridge/internal/encode"
	"headgate/internal/subject"
)

// A pass over the tail costs what it passes, a walk along the trails of its subjects what it finds, but those jump about in memory
// and begin at the end. While a pass is on its way, the lock is given back every passStep messages.
const (
	stepCost = 4 // of a walk, in messages of a pass
	passStep = 4096
)

// Tail is the matches in (from, to] in order, each once, and at least one when there is any: about maxBytes of payload. done says that
// it is all of them up to to, or up to the cursor when that is smaller. ok is false when inc is not the present incarnation, or the
// tail does not reach back to from.
func (f *Feed) Tail(inc *Incarnation, filters []string, from, to uint64, maxBytes int) (items []*encode.Item, done, ok bool) {
	w := want{filters: filters, to: to, maxBytes: maxBytes}
	f.mu.Lock()
	if !f.reaches(inc, from) {
		f.mu.Unlock()
		return nil, false, false
	}
	if trails, few := f.tail.trails(&w, from); few {
		defer f.mu.Unlock()
		items, done = f.tail.walk(&w, trails, from)
		return items, done, true
	}
	for at := from; ; {
		ended := false
		at, ended = f.tail.pass(&w, at, passStep)
		if ended {
			f.mu.Unlock()
			return w.items, !w.full, true
		}
		f.mu.Unlock() // let the loop go on
		f.mu.Lock()
		if !f.reaches(inc, at) {
			f.mu.Unlock()
			return w.items, false, len(w.items) > 0
		}
	}
}

// FirstInTail is the first match behind after that is in memory, however far back the tail reaches.
func (f *Feed) FirstInTail(inc *Incarnation, filters []string, after uint64) (seq uint64, ok bool) {
	w := want{filters: filters, to: ^uint64(0), maxBytes: 0}
	f.mu.Lock()
	defer f.mu.Unlock()
	if !inc.Same(f.Inc) {
		return 0, false
	}
	if trails, few := f.tail.trails(&w, after); few {
		w.items, _ = f.tail.walk(&w, trails, after)
	} else {
		f.tail.pass(&w, after, f.tail.len()+1)
	}
	if len(w.items) == 0 {
		return 0, false
	}
	return w.items[0].Seq, true
}

// reaches says whether the tail has everything of an incarnation that is behind from. It needs mu.
func (f *Feed) reaches(inc *Incarnation, from uint64) bool {
	return inc.Same(f.Inc) && from >= f.tail.floor && !f.ended
}

// want is what a reader wants, and what it has got so far.
type want struct {
	filters  []string
	to       uint64
	maxBytes int

	items []*encode.Item
	bytes int
	full  bool // there is more, but not for now
}

// take gives the reader one more message, unless it has enough.
func (w *want) take(it *encode.Item) bool {
	if len(w.items) > 0 && w.bytes >= w.maxBytes {
		w.full = true
		return false
	}
	w.items = append(w.items, it)
	w.bytes += max(1, len(it.Data))
	return true
}

func (w *want) matches(literal string) bool {
	return slices.ContainsFunc(w.filters, func(p string) bool { return p == ">" || subject.Match(p, literal) })
}

// trails are those of the subjects that match, if walking along them is cheaper than a pass. The pass ends when the reader has enough,
// which is sooner the more of the tail it wants.
func (t *tail) trails(w *want, from uint64) (found []*trail, few bool) {
	span := int(t.next - t.behind(from))
	if span == 0 || len(w.filters) == 0 {
		return nil, true
	}
	enough := max(1, w.maxBytes*t.len()/max(1, int(t.bytes))) // messages
	steps := 0
	few = true
	for i, p := range w.filters {
		t.subjects.Match(p, func(literal string, tr *trail) bool {
			if slices.ContainsFunc(w.filters[:i], func(before string) bool { return subject.Match(before, literal) }) {
				return true
			}
			found = append(found, tr)
			steps += min(tr.count, span) + 1
			few = steps*stepCost < min(span, enough*t.len()/steps)
			return few
		})
		if !few {
			return nil, false
		}
	}
	return found, true
}

// walk collects the messages of some subjects.
func (t *tail) walk(w *want, trails []*trail, from uint64) (items []*encode.Item, done bool) {
	for _, tr := range trails {
		for place := tr.last + 1; place > t.head; place = t.at(place - 1).before {
			it := t.at(place - 1).it
			if it.Seq <= from {
				break
			}
			if it.Seq <= w.to {
				items = append(items, it)
			}
		}
	}
	slices.SortFunc(items, bySeq)
	for i, it := range items {
		if !w.take(it) {
			return items[:i:i], false
		}
	}
	return items, true
}

func bySeq(a, b *encode.Item) int {
	switch {
	case a.Seq < b.Seq:
		return -1
	case a.Seq > b.Seq:
		return 1
	}
	return 0
}

// pass looks at the next n messages behind from, and says how far it came, and whether there is nothing more to look at.
func (t *tail) pass(w *want, from uint64, n int) (at uint64, ended bool) {
	at = from
	for place := t.behind(from); n > 0; place, n = place+1, n-1 {
		if place >= t.next {
			return at, true
		}
		it := t.at(place).it
		if it.Seq > w.to {
			return at, true
		}
		if w.matches(it.Subject) && !w.take(it) {
			return at, true
		}
		at = it.Seq
	}
	return at, false
}
