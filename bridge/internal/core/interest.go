package core

import (
	"context"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/nats-io/nats.go"

	"headgate/bridge/internal/conn"
	"headgate/internal/flow"
)

const (
	healFirst = time.Second // after a late refusal; doubled up to healLast, each with up to half of it on top
	healLast  = 30 * time.Second
)

// healing is a topic that the server has refused after it was confirmed.
type healing struct {
	full bool      // for want of room, which decides when it is tried again
	next time.Time // otherwise
	wait time.Duration
	sub  *nats.Subscription // accepted again; the demux loop has not heard of it yet
}

// attempt is a new subscription for a refused topic; nil when nats.go did not make it.
type attempt struct {
	topic *topic
	sub   *nats.Subscription
}

// refusals are what the server has refused.
type refusals struct {
	subjects map[string]bool
	unnamed  unnamed
}

// unnamed counts refusals without a subject, which are those for want of room.
type unnamed struct {
	n    int
	dial uint64 // the last came from the session of this dial or an earlier one
}

// work is what one pass of the interest loop has to do.
type work struct {
	nc      *nats.Conn
	pending []*topic
	dead    []*nats.Subscription
	heal    []*topic
	room    bool // heal is a batch of those who wait for room
	up      upState
	refused bool // there are refusals already
	unnamed unnamed
}

// interestLoop is the only one that subscribes and unsubscribes on this connection. One confirmation is under way at a time, and
// whoever comes meanwhile shares the next.
func (d *dataConn) interestLoop(ctx context.Context) {
	tick := time.NewTicker(min(max(d.linger/8, 5*time.Millisecond), time.Second))
	defer tick.Stop()
	defer d.stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-d.toInterest:
		case now := <-tick.C:
			d.sweep(now)
		}
		d.pass(d.collect(time.Now()))
	}
}

func (d *dataConn) collect(now time.Time) work {
	d.mu.Lock()
	defer d.mu.Unlock()
	w := work{nc: d.nc, dead: d.dead, refused: len(d.refused) > 0 || d.unnamed.n > 0, unnamed: d.unnamed}
	d.dead = nil
	if d.nc == nil {
		w.pending, d.pending = d.pending, nil
		return w
	}
	w.up, d.up = d.up, upState{}
	switch {
	case w.up.pending:
		w.pending = d.renew(w.up.fresh, now)
		return w
	case len(d.room.waiting) > 0 && (len(d.pending) > 0 || !now.Before(d.room.next)):
		w.heal, w.room = d.nextBatch(), true
		return w
	}
	w.pending, d.pending = d.pending, nil
	w.heal = d.dueHeals(now)
	return w
}

// renew is what is to be confirmed at the beginning of a session, and nothing else, so that a refusal is known to be of it. On a
// connection that nats.go has kept, it has sent everything again itself. It needs mu.
func (d *dataConn) renew(fresh bool, now time.Time) []*topic {
	d.wakeInterest() // for the rest
	if fresh {
		return d.resubscribe()
	}
	for _, h := range d.deaf {
		h.next = now
	}
	d.healAt = now
	d.room.reset()
	return nil
}

// dueHeals are the topics whose time to be tried again has come. It needs mu.
func (d *dataConn) dueHeals(now time.Time) (due []*topic) {
	if len(d.deaf) == 0 || now.Before(d.healAt) {
		return nil
	}
	d.healAt = now.Add(healLast)
	for t, h := range d.deaf {
		switch {
		case h.full || h.sub != nil:
		case now.Before(h.next):
			d.healBy(h.next)
		default:
			due = append(due, t)
		}
	}
	return due
}

// healBy needs mu.
func (d *dataConn) healBy(at time.Time) {
	if at.Before(d.healAt) {
		d.healAt = at
	}
}

// resubscribe makes all confirmed topics pending again, because the connection is new. It needs mu.
func (d *dataConn) resubscribe() []*topic {
	var all []*topic
	for _, t := range d.topics {
		if t.wait == nil {
			t.sub, t.dropped, t.deaf = nil, 0, false
			all = append(all, t)
		}
	}
	clear(d.deaf)
	d.room = room{}
	d.room.reset()
	return all
}

func (d *dataConn) pass(w work) {
	for _, sub := range w.dead {
		sub.Unsubscribe() // fails only where the connection is gone, and the subscription with it
	}
	if w.nc == nil {
		d.settle(w.pending, flow.ErrUnavailable, refusals{})
		return
	}
	if len(w.pending) == 0 && len(w.heal) == 0 && !w.up.pending && !w.refused {
		return
	}
	dial := d.conn.Dials()
	var err error
	for _, t := range w.pending {
		if err == nil {
			err = d.subscribe(w.nc, t)
		}
	}
	healed := d.subscribeHealing(w)
	if err == nil {
		err = d.conn.Flush(w.nc, d.confirm)
	}
	refused := d.takeRefused(dial)
	suspect := d.isSuspect(w, refused, len(w.pending)+len(w.heal), dial)
	if err == nil && d.conn.Dials() == dial {
		d.checked = dial
	}
	if suspect {
		d.suspectAll()
		if !w.up.pending { // else the gap of the new session follows
			d.toDemux.put(signal{kind: sigSuspect})
		}
	}
	d.settle(w.pending, failure(err), refused)
	if w.up.pending {
		d.confirmed(w.nc, dial, err)
	}
	d.settleHealing(healed, err, refused)
	if w.room {
		d.settleRoom(len(healed), err, refused)
	}
	d.loseInterest(refused)
}

// confirmed opens the connection to requests, and lets the demux loop take its messages. A confirmation that did not come in time
// is no reason to hold them back for ever. When the connection was lost meanwhile, the next one comes here again.
func (d *dataConn) confirmed(nc *nats.Conn, dial uint64, err error) {
	if err != nil && !nc.IsConnected() || !d.unmark(dial) {
		return
	}
	d.toDemux.put(signal{kind: sigUp, dial: dial})
	d.mu.Lock()
	defer d.mu.Unlock()
	d.ready = d.nc == nc
	d.ever = d.ever || d.ready
}

func failure(err error) error {
	switch {
	case err == nil:
		return nil
	case conn.IsAway(err):
		return fmt.Errorf("%w: %w", flow.ErrUnavailable, err)
	}
	return fmt.Errorf("%w: %w", flow.ErrUnconfirmed, err)
}

func (d *dataConn) subscribe(nc *nats.Conn, t *topic) error {
	sub, err := nc.ChanSubscribe(t.subject, d.ch)
	if err != nil {
		return d.conn.Redact(err)
	}
	d.mu.Lock()
	t.sub = sub
	d.mu.Unlock()
	return nil
}

// takeRefused is what the server has refused since the last time. Refusals without a subject that are older than the session say
// nothing about it.
func (d *dataConn) takeRefused(dial uint64) refusals {
	d.mu.Lock()
	defer d.mu.Unlock()
	var r refusals
	if d.unnamed.dial >= dial {
		r.unnamed = d.unnamed
	}
	if len(d.refused) > 0 {
		r.subjects = make(map[string]bool, len(d.refused))
	}
	for _, s := range d.refused {
		r.subjects[s] = true
	}
	d.refused, d.unnamed = nil, unnamed{}
	return r
}

// settle tells those who wait for topics how it ended. A refusal without a subject may concern any of them.
func (d *dataConn) settle(pending []*topic, err error, refused refusals) {
	for _, t := range pending {
		terr := err
		if terr == nil && (refused.subjects[t.subject] || refused.unnamed.n > 0) {
			terr = errRefused(t.subject)
			delete(refused.subjects, t.subject)
		}
		d.settleTopic(t, terr)
	}
}

func (d *dataConn) settleTopic(t *topic, err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	w := t.wait
	t.wait = nil
	switch {
	case w == nil: // subscribed again on a new connection
		if err != nil && !t.removed && !t.deaf {
			d.deafen(t, false)
		}
		return
	case err != nil:
		d.remove(t)
	default:
		// The subscription takes a number of its own: a position from before it, be it the last one given, says nothing about this
		// topic, for what was published while nobody was subscribed has no number.
		d.seq++
		t.raise(d.seq, &d.budget)
		if t.refs == 0 {
			t.idle = d.idle.PushBack(idleSince{t, time.Now()})
		}
	}
	w.err = err
	close(w.done)
}

// deafen takes note that the server does not send this topic, and plans to try again. It needs mu.
func (d *dataConn) deafen(t *topic, full bool) {
	d.end(t)
	if t.refs == 0 {
		d.remove(t)
		return
	}
	t.deaf = true
	h := &healing{full: full, wait: healFirst, next: time.Now().Add(healFirst + rand.N(healFirst/2))}
	d.deaf[t] = h
	if full {
		d.room.waiting = append(d.room.waiting, t)
	} else {
		d.healBy(h.next)
	}
}

// loseInterest deals with refusals of topics that were confirmed before, as after a change of permissions.
func (d *dataConn) loseInterest(refused refusals) {
	for s := range refused.subjects {
		d.mu.Lock()
		t := d.topics[s]
		if t == nil || t.wait != nil || t.deaf {
			d.mu.Unlock()
			continue
		}
		d.deafen(t, false)
		d.mu.Unlock()
		d.toDemux.put(signal{kind: sigRefused, topic: t})
	}
}

// subscribeHealing tries the refused topics again whose time has come.
func (d *dataConn) subscribeHealing(w work) []attempt {
	tried := make([]attempt, 0, len(w.heal))
	for _, t := range w.heal {
		sub, err := w.nc.ChanSubscribe(t.subject, d.ch)
		if err != nil {
			sub = nil
		}
		tried = append(tried, attempt{t, sub})
	}
	return tried
}

func (d *dataConn) settleHealing(tried []attempt, err error, refused refusals) {
	for _, a := range tried {
		named := refused.subjects[a.topic.subject]
		delete(refused.subjects, a.topic.subject)
		if d.settleAttempt(a, named, err != nil || refused.unnamed.n > 0) {
			d.toDemux.put(signal{kind: sigHealed, topic: a.topic, sub: a.sub})
		}
	}
}

func (d *dataConn) settleAttempt(a attempt, named, failed bool) (healed bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	h := d.deaf[a.topic]
	if h != nil && a.sub != nil && !named && !failed {
		h.sub = a.sub
		return true
	}
	if a.sub != nil {
		d.dead = append(d.dead, a.sub)
	}
	switch {
	case h == nil: // it has ended meanwhile
	case h.full && !named:
		d.room.waiting = append(d.room.waiting, a.topic)
	default:
		h.full = false
		h.wait = min(h.wait*2, healLast)
		h.next = time.Now().Add(h.wait + rand.N(h.wait/2))
		d.healBy(h.next)
	}
	return false
}

// stop fails those who wait, and forgets the idle topics; the others go with their sources.
func (d *dataConn) stop() {
	d.mu.Lock()
	d.stopped = true
	pending := d.pending
	d.pending = nil
	for e := d.idle.Front(); e != nil; e = d.idle.Front() {
		d.remove(e.Value.(idleSince).topic)
	}
	d.mu.Unlock()
	d.settle(pending, flow.ErrUnavailable, refusals{})
}
