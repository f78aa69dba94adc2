package core

// itemCost is what a kept message takes apart from its own bytes and those of its frame: the item, its place in the ring, the
// headers of the frame and of the allocations. Measured by TestMemory_OfRingsStaysWithinTheBudget.
const itemCost = 288

// budget is the share of NATS_RING_BYTES that the rings of one connection have together, and what they keep in the order of its
// arrival. It is guarded by the mu of its dataConn.
//
// Each connection has a fixed share, since one that is busy could otherwise leave nothing for the others' clients.
type budget struct {
	share          int64
	bytes          int64
	oldest, newest *item
}

// inBudget is an item's place in it.
type inBudget struct {
	topic      *topic
	prev, next *item
	cost       int64
}

func (b *budget) add(it *item) {
	b.bytes += it.cost
	it.prev = b.newest
	if b.newest == nil {
		b.oldest = it
	} else {
		b.newest.next = it
	}
	b.newest = it
}

func (b *budget) remove(it *item) {
	b.bytes -= it.cost
	if it.prev == nil {
		b.oldest = it.next
	} else {
		it.prev.next = it.next
	}
	if it.next == nil {
		b.newest = it.prev
	} else {
		it.next.prev = it.prev
	}
	it.topic, it.prev, it.next = nil, nil, nil // whoever still reads the item keeps only that alive
}

// keep puts a message of a given size into the ring of its topic, and throws away the oldest messages of the connection, whichever
// their topics, until the rings are within the budget again. It needs mu.
func (d *dataConn) keep(t *topic, it *item, size int) {
	it.inBudget = inBudget{topic: t, cost: int64(size+len(it.Data)) + itemCost}
	t.push(it, &d.budget)
	if t.items != nil && t.listed == 0 {
		d.list(t)
	}
	for d.budget.bytes > d.budget.share {
		o := d.budget.oldest.topic // its oldest message is the oldest of all
		o.evict(&d.budget)
		if o.items == nil {
			d.unlist(o)
		}
		d.crowded.Add(1)
	}
}

// ringedBytes is what the rings of the connection take.
func (d *dataConn) ringedBytes() int64 {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.budget.bytes
}
