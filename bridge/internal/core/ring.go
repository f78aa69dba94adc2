package core

import (
	"sort"
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

// item is a message with its arrival number.
type item struct {
	encode.Item
	inBudget // guarded by the mu of its dataConn
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
		r.evicted = it.Seq
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
	r.evicted = it.Seq
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
	lo := sort.Search(len(r.items), func(i int) bool { return r.items[i].Seq > from })
	hi := lo + sort.Search(len(r.items)-lo, func(i int) bool { return r.items[lo+i].Seq > to })
	return r.items[lo:hi]
}
