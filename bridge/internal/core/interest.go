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
	next time.Time
	wait time.Duration
	sub  *nats.Subscription // accepted again; the demux loop has not heard of it yet
}

// work is what one pass of the interest loop has to do.
type work struct {
	nc      *nats.Conn
	pending []*topic
	dead    []*nats.Subscription
	heal    []*topic
	up      upState
	refused bool
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
	w := work{nc: d.nc, pending: d.pending, dead: d.dead, up: d.up, refused: len(d.refused) > 0}
	d.pending, d.dead = nil, nil
	if d.nc == nil {
		w.up = upState{}
		return w
	}
	d.up = upState{}
	for t, h := range d.deaf {
		if h.sub == nil && (w.up.pending || !now.Before(h.next)) {
			w.heal = append(w.heal, t)
		}
	}
	if w.up.fresh {
		w.pending = append(w.pending, d.resubscribe()...)
		w.heal = nil
	}
	return w
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
	return all
}

func (d *dataConn) pass(w work) {
	for _, sub := range w.dead {
		sub.Unsubscribe() // fails only where the connection is gone, and the subscription with it
	}
	if w.nc == nil {
		d.settle(w.pending, flow.ErrUnavailable, nil)
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
	refused := d.takeRefused()
	if w.up.pending {
		d.confirmed(w.nc, dial, err)
	}
	d.settle(w.pending, failure(err), refused)
	d.settleHealing(healed, err, refused)
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

// takeRefused is what the server has refused since the last time. The nil map refuses nothing.
func (d *dataConn) takeRefused() map[string]bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	if len(d.refused) == 0 {
		return nil
	}
	m := make(map[string]bool, len(d.refused))
	for _, s := range d.refused {
		m[s] = true
	}
	d.refused = nil
	return m
}

// settle tells those who wait for topics how it ended. A refusal without a subject (too many subscriptions) may concern any of them.
func (d *dataConn) settle(pending []*topic, err error, refused map[string]bool) {
	for _, t := range pending {
		terr := err
		if terr == nil && (refused[t.subject] || refused[""]) {
			terr = fmt.Errorf("%w: %q", flow.ErrRefused, t.subject)
			delete(refused, t.subject)
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
		if err != nil && !t.removed {
			d.deafen(t)
		}
		return
	case err != nil:
		d.remove(t)
	default:
		// The subscription takes a number of its own: a position from before it, be it the last one given, says nothing about this
		// topic, for what was published while nobody was subscribed has no number.
		d.seq++
		t.raise(d.seq)
		if t.refs == 0 {
			t.idle = d.idle.PushBack(idleSince{t, time.Now()})
		}
	}
	w.err = err
	close(w.done)
}

// deafen takes note that the server does not send this topic, and plans to try again. It needs mu.
func (d *dataConn) deafen(t *topic) {
	d.end(t)
	if t.refs == 0 {
		d.remove(t)
		return
	}
	t.deaf = true
	if d.deaf[t] == nil {
		d.deaf[t] = &healing{wait: healFirst, next: time.Now().Add(healFirst + rand.N(healFirst/2))}
	}
}

// loseInterest deals with refusals of topics that were confirmed before, as after a change of permissions.
func (d *dataConn) loseInterest(refused map[string]bool) {
	for s := range refused {
		d.mu.Lock()
		t := d.topics[s]
		if t == nil || t.wait != nil || t.deaf {
			d.mu.Unlock()
			continue
		}
		d.deafen(t)
		d.mu.Unlock()
		d.toDemux.put(signal{kind: sigRefused, topic: t})
	}
}

// subscribeHealing tries the refused topics again whose time has come.
func (d *dataConn) subscribeHealing(w work) map[*topic]*nats.Subscription {
	subs := make(map[*topic]*nats.Subscription, len(w.heal))
	for _, t := range w.heal {
		if sub, err := w.nc.ChanSubscribe(t.subject, d.ch); err == nil {
			subs[t] = sub
		}
	}
	return subs
}

func (d *dataConn) settleHealing(subs map[*topic]*nats.Subscription, err error, refused map[string]bool) {
	for t, sub := range subs {
		failed := err != nil || refused[t.subject]
		delete(refused, t.subject)
		d.mu.Lock()
		h := d.deaf[t]
		healed := h != nil && !failed
		switch {
		case healed:
			h.sub = sub
		case h != nil:
			h.wait = min(h.wait*2, healLast)
			h.next = time.Now().Add(h.wait + rand.N(h.wait/2))
			fallthrough
		default:
			d.dead = append(d.dead, sub)
		}
		d.mu.Unlock()
		if healed {
			d.toDemux.put(signal{kind: sigHealed, topic: t, sub: sub})
		}
	}
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
	d.settle(pending, flow.ErrUnavailable, nil)
}
