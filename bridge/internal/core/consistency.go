package core

import (
	"context"
	"fmt"

	"headgate/internal/walk"
)

const (
	checkStep  = 64       // topics that are looked at under one hold of the lock
	checkLinks = 1024     // of a topic: those of one with more are not counted
	checkItems = 16 << 10 // in the rings of a connection: with more, their sum is not reckoned
)

// wrong notes what is broken.
type wrong func(format string, args ...any)

// Check lists what is broken, while everything goes on.
func (c *Core) Check(ctx context.Context) ([]string, error) {
	return walk.Still(ctx, func() (found []string) {
		note := func(format string, args ...any) { found = append(found, fmt.Sprintf(format, args...)) }
		before, there := c.topics.Load(), int64(0)
		for i, d := range c.conns {
			there += d.look(func(format string, args ...any) { note("data-%d: "+format, append([]any{i}, args...)...) })
		}
		if now := c.topics.Load(); there < min(before, now) || there > max(before, now) {
			note("other topics count for LIMIT_TOPICS than there are")
		}
		return found
	})
}

// look looks at the topics a few at a time, and says how many there are.
func (d *dataConn) look(note wrong) int64 {
	d.mu.Lock()
	all := make([]*topic, 0, len(d.topics))
	for subject, t := range d.topics {
		if t.subject != subject || t.removed {
			note("%q leads to the topic %q, removed %v", subject, t.subject, t.removed)
		}
		all = append(all, t)
	}
	d.mu.Unlock()
	for from := 0; from < len(all); from += checkStep {
		d.mu.Lock()
		for _, t := range all[from:min(from+checkStep, len(all))] {
			if !t.removed {
				d.lookAt(t, note)
			}
		}
		d.mu.Unlock()
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.lookAtShares(note)
	return int64(len(d.topics))
}

// lookAt needs mu.
func (d *dataConn) lookAt(t *topic, note wrong) {
	d.lookAtReferences(t, note)
	settled := d.ready && !d.up.pending && t.wait == nil && !t.deaf
	switch {
	case settled && t.sub == nil:
		note("topic %q: confirmed, and there is no subscription", t.subject)
	case settled && t.sub.Subject != t.subject:
		note("topic %q: its subscription is for %q", t.subject, t.sub.Subject)
	case t.deaf != (d.deaf[t] != nil):
		note("topic %q: refused %v, to be tried again %v", t.subject, t.deaf, !t.deaf)
	}
	d.lookAtRing(t, note)
}

// lookAtReferences needs mu.
func (d *dataConn) lookAtReferences(t *topic, note wrong) {
	switch {
	case t.refs < 0:
		note("topic %q: %d references", t.subject, t.refs)
	case t.idle != nil && t.refs != 0:
		note("topic %q: it has references, and waits for its end", t.subject)
	case t.idle == nil && t.refs == 0 && t.wait == nil && !d.stopped:
		note("topic %q: nobody needs it, and it does not wait for its end", t.subject)
	}
	if len(t.links) > checkLinks {
		return
	}
	on := 0
	for _, l := range t.links {
		if l.on {
			on++
		}
		if l.on && l.topic != t {
			note("topic %q: a link that is not its own", t.subject)
		}
	}
	if on != len(t.links)-int(t.gone) {
		note("topic %q: its followers are miscounted", t.subject)
	}
	if on > int(t.refs) {
		note("topic %q: more followers than references", t.subject)
	}
}

// lookAtRing needs mu.
func (d *dataConn) lookAtRing(t *topic, note wrong) {
	listed := t.listed > 0 && int(t.listed) <= len(d.ringed) && d.ringed[t.listed-1] == t
	if len(t.items) > 0 && !listed || t.listed > 0 && !listed {
		note("topic %q: its ring is not looked after", t.subject)
	}
	if len(t.items) > int(t.size) {
		note("topic %q: more in its ring than it is for", t.subject)
	}
	bytes, last := int32(0), t.evicted
	for _, it := range t.items {
		bytes += int32(len(it.Data))
		if it.inBudget.topic != t || it.Seq <= last || it.Seq > d.seq {
			note("topic %q: its ring is out of order", t.subject)
			return
		}
		last = it.Seq
	}
	if bytes != t.ring.bytes {
		note("topic %q: the bytes of its ring are miscounted", t.subject)
	}
}

// lookAtShares looks at what the topics of the connection share. It needs mu.
func (d *dataConn) lookAtShares(note wrong) {
	b := &d.budget
	if b.bytes < 0 || b.bytes > b.share || (b.oldest == nil) != (b.newest == nil) || b.oldest == nil && b.bytes != 0 {
		note("the rings take %d bytes of %d", b.bytes, b.share)
	}
	sum, n := int64(0), 0
	for it := b.oldest; it != nil && n < checkItems; it = it.inBudget.next {
		if next := it.inBudget.next; next != nil && next.inBudget.prev != it || next == nil && b.newest != it {
			note("what the rings keep is not in a row")
		}
		sum += it.cost
		n++
	}
	if n < checkItems && sum != b.bytes {
		note("the bytes of all rings are miscounted")
	}
	idle := 0
	for e := d.idle.Front(); e != nil && idle < checkItems; e = e.Next() {
		if t := e.Value.(idleSince).topic; t.idle != e || d.topics[t.subject] != t {
			note("topic %q: waits for its end, and is not there", t.subject)
		}
		idle++
	}
	for t := range d.deaf {
		if d.topics[t.subject] != t {
			note("topic %q: is to be tried again, and is not there", t.subject)
		}
	}
}
