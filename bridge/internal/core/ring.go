package core

import (
	"sort"
	"sync/atomic"
	"time"

	"headgate/bridge/internal/encode"
)

// ringBytes bounds the payload bytes one ring keeps, whatever its size in events: rings are for small, quick reconnects.
const ringBytes = 1 << 20

// ring is the last messages of a topic. An empty one costs its fields, and one that has grown old is emptied.
type ring struct {
	items   []*item
	evicted uint64        // the last message that was thrown away: a position before it has expired
	age     time.Duration // how long messages stay
	size    int32         // how many; 0 = none
	bytes   int32
	listed  int32 // place in dataConn.ringed + 1; 0 = not there
}

// item is a message with its arrival number, and its frames in the formats that were asked for so far.
type item struct {
	encode.Message
	seq     uint64
	results atomic.Pointer[result]

	inBudget // guarded by the mu of its dataConn
}

// result is a node of an item's list of frames.
type result struct {
	encode.Result
	format *encode.Format
	next   *result
}

// want makes the ring at least as large as a source needs it.
func (r *ring) want(size int, age time.Duration) {
	if size > 0 {
		r.size = max(r.size, int32(min(size, 1<<20)))
		r.age = max(r.age, age)
	}
}

func (r *ring) push(it *item, b *budget) {
	if r.size == 0 {
		r.evicted = it.seq
		return
	}
	r.items = append(r.items, it)
	r.bytes += int32(len(it.Data))
	b.add(it)
	for len(r.items) > int(r.size) || r.bytes > ringBytes && len(r.items) > 1 {
		r.evict(b)
	}
}

func (r *ring) evict(b *budget) {
	it := r.items[0]
	b.remove(it)
	r.items[0] = nil
	r.items = r.items[1:]
	r.bytes -= int32(len(it.Data))
	r.evicted = it.seq
	if len(r.items) == 0 {
		r.items = nil
	}
}

// expire throws away what arrived before a time.
func (r *ring) expire(before int64, b *budget) {
	for len(r.items) > 0 && r.items[0].At < before {
		r.evict(b)
	}
}

func (r *ring) clear(b *budget) {
	for _, it := range r.items {
		b.remove(it)
	}
	r.items, r.bytes = nil, 0
}

// between is what the ring has in (from, to].
func (r *ring) between(from, to uint64) []*item {
	lo := sort.Search(len(r.items), func(i int) bool { return r.items[i].seq > from })
	hi := lo + sort.Search(len(r.items)-lo, func(i int) bool { return r.items[lo+i].seq > to })
	return r.items[lo:hi]
}

// frame is the item's frame in a format, made when first asked for. Any goroutine may ask.
func (it *item) frame(f *encode.Format, d *dataConn) *result {
	first := it.results.Load()
	for r := first; r != nil; r = r.next {
		if r.format == f {
			return r
		}
	}
	m := it.Message
	if f.WantsID() {
		m.ID = encode.ID(d.idPrefix, it.seq)
	}
	made := &result{Result: f.Encode(&m), format: f}
	d.encoded(it, made)
	for {
		made.next = first
		if it.results.CompareAndSwap(first, made) {
			return made
		}
		first = it.results.Load()
	}
}
