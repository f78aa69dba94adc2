package feed

import (
	"sort"

	"headgate/bridge/internal/encode"
	"headgate/internal/subject"
)

const (
	// itemCost is what a kept message takes apart from its own bytes and those of a frame of it: the item, its place in the tail, the
	// headers of the frame and of the allocations. Measured by TestMemory_OfTheTailStaysWithinItsShare.
	itemCost    = 352
	subjectCost = 224 // a distinct subject, its string apart
	headerCost  = 48  // a value of a header, its bytes apart
)

// entry is a message in the tail. Its place in the tail is its number since the tail was last cleared.
type entry struct {
	it     *encode.Item
	before uint64 // the place of the message before it with the same subject, +1; 0 = there was none
}

// trail is what the tail knows of a subject.
type trail struct {
	last  uint64 // the place of its last message
	count int    // of its messages in the tail
}

// tail is the last messages of a stream, in order. It is guarded by the mu of its Feed.
type tail struct {
	floor uint64 // sequence: every match behind it is here

	ring     []entry // a power of two long; place & (len-1) is the index
	head     uint64  // the first place
	next     uint64  // the place behind the last
	bytes    int64
	subjects subject.Tree[*trail]
}

func (t *tail) len() int { return int(t.next - t.head) }

func (t *tail) at(place uint64) *entry { return &t.ring[place&uint64(len(t.ring)-1)] }

// cost is what an item is counted as: its payload twice, for the frame.
func cost(it *encode.Item) int64 {
	n := int64(itemCost + 2*len(it.Data))
	for name, values := range it.Header {
		for _, v := range values {
			n += int64(headerCost + len(name) + len(v))
		}
	}
	return n
}

// add appends a message.
func (t *tail) add(it *encode.Item) {
	if t.len() == len(t.ring) {
		t.grow()
	}
	e := entry{it: it}
	tr, ok := t.subjects.Get(it.Subject)
	if ok {
		first := t.at(tr.last)
		it.Subject = first.it.Subject // one string for all of them
		e.before = tr.last + 1
	} else {
		tr = &trail{}
		t.subjects.Put(it.Subject, tr)
		t.bytes += subjectCost + int64(len(it.Subject))
	}
	tr.last = t.next
	tr.count++
	*t.at(t.next) = e
	t.next++
	t.bytes += cost(it)
}

func (t *tail) evict() {
	e := t.at(t.head)
	it := e.it
	t.bytes -= cost(it)
	t.floor = max(t.floor, it.Seq)
	if tr, ok := t.subjects.Get(it.Subject); ok {
		if tr.count--; tr.count == 0 {
			t.subjects.Delete(it.Subject)
			t.bytes -= subjectCost + int64(len(it.Subject))
		}
	}
	*e = entry{}
	t.head++
}

// raise throws away what came up to a sequence, of which not everything is here.
func (t *tail) raise(seq uint64) {
	for t.head < t.next && t.at(t.head).it.Seq <= seq {
		t.evict()
	}
	t.floor = max(t.floor, seq)
}

// clear empties the tail: it begins behind seq.
func (t *tail) clear(seq uint64) {
	*t = tail{floor: seq}
}

func (t *tail) grow() {
	larger := make([]entry, max(64, 2*len(t.ring)))
	for p := t.head; p < t.next; p++ {
		larger[p&uint64(len(larger)-1)] = *t.at(p)
	}
	t.ring = larger
}

// behind is the first place whose message is behind a sequence.
func (t *tail) behind(seq uint64) uint64 {
	n := sort.Search(t.len(), func(i int) bool { return t.at(t.head+uint64(i)).it.Seq > seq })
	return t.head + uint64(n)
}
