package core

import (
	"fmt"
	"math/rand/v2"
	"time"

	"headgate/internal/flow"
)

// roomMost is how many subscriptions are asked for at once at most while the server may not have room for all.
const roomMost = 4096

// room finds out how many subscriptions the server takes, after it has refused some without saying which ("maximum subscriptions
// exceeded" names none). Those that may have been refused wait here and are asked for in batches, each with a confirmation of its
// own: twice as many after each that was taken as a whole, half as many after each that was not. So as many as fit come back, after
// a number of confirmations that grows with the logarithm of theirs, whatever the server's order. One that is refused alone says
// that there is no room, and the next is tried later.
type room struct {
	waiting []*topic // those that have gone meanwhile are skipped
	batch   int
	steady  bool // a larger batch was refused
	wait    time.Duration
	next    time.Time
}

func (r *room) reset() { *r = room{waiting: r.waiting, batch: 1, wait: healFirst} }

// settle plans the next batch, and says whether the server has no room now.
func (r *room) settle(asked int, taken bool, now time.Time) (full bool) {
	switch {
	case taken:
		if !r.steady {
			r.batch = min(r.batch*2, roomMost)
		}
		r.wait, r.next = healFirst, time.Time{}
	case asked > 1:
		r.batch, r.steady, r.next = asked/2, true, time.Time{}
	default:
		r.batch, r.steady = 1, false
		r.next = now.Add(r.wait + rand.N(r.wait/2))
		r.wait = min(r.wait*2, healLast)
		return true
	}
	return false
}

// nextBatch takes the next of those who wait for room. It needs mu.
func (d *dataConn) nextBatch() (batch []*topic) {
	r := &d.room
	for len(r.waiting) > 0 && len(batch) < r.batch {
		t := r.waiting[0]
		r.waiting[0] = nil
		r.waiting = r.waiting[1:]
		if h := d.deaf[t]; h != nil && h.full && h.sub == nil {
			batch = append(batch, t)
		}
	}
	if len(r.waiting) == 0 {
		r.waiting = nil
	}
	return batch
}

// settleRoom is the end of a pass with a batch. New topics have waited for it, for those that clients have been promised go first.
func (d *dataConn) settleRoom(asked int, err error, refused refusals) {
	d.mu.Lock()
	full := d.room.settle(asked, err == nil && refused.unnamed.n == 0, time.Now())
	if len(d.room.waiting) == 0 {
		full = false
		d.room.reset()
	}
	var pending []*topic
	if full {
		pending, d.pending = d.pending, nil
	} else {
		d.wakeInterest()
	}
	d.mu.Unlock()
	d.settle(pending, failure(err), refusals{unnamed: unnamed{n: 1}})
}

// suspectAll deals with refusals that may concern any confirmed topic: all of them count as lost until the server has taken them
// again. The messages of those that it had not refused are covered by the same gap.
func (d *dataConn) suspectAll() {
	d.mu.Lock()
	d.room.reset()
	n, example := 0, ""
	for _, t := range d.topics {
		if t.wait == nil && !t.deaf {
			n, example = n+1, t.subject
			d.deafen(t, true)
		}
	}
	for t, h := range d.deaf {
		if h.sub != nil { // accepted again, and perhaps not
			d.dead = append(d.dead, h.sub)
			h.sub, h.full = nil, true
			d.room.waiting = append(d.room.waiting, t)
		}
	}
	d.room.next = time.Time{}
	d.wakeInterest()
	d.mu.Unlock()
	if n > 0 {
		d.losses.note(lossRoom, n, example)
	}
}

// isSuspect says whether refusals without a subject may be of topics that were confirmed before this pass: they are surely its own
// only if they came during it, are not more than it sent, and everything that nats.go sent again for this session is confirmed.
func (d *dataConn) isSuspect(w work, refused refusals, sent int, dial uint64) bool {
	if refused.unnamed.n == 0 {
		return false
	}
	early := w.unnamed.n > 0 && w.unnamed.dial >= dial
	return early || w.up.pending || refused.unnamed.n > sent || refused.unnamed.dial != dial || d.checked != dial
}

func errRefused(subject string) error { return fmt.Errorf("%w: %q", flow.ErrRefused, subject) }

// deafTopics is how many topics the server refuses now.
func (d *dataConn) deafTopics() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return len(d.deaf)
}
