package core

import (
	"context"
	"time"

	"github.com/nats-io/nats.go"

	"headgate/bridge/internal/encode"
	"headgate/internal/flow"
	"headgate/internal/subject"
)

// signalsEvery is how many messages the demux loop takes before it looks whether there is something else to do.
const signalsEvery = 64

// demuxState is owned by the demux loop.
type demuxState struct {
	received uint64 // messages taken from the channel
	pressure uint64 // until so many messages have been received, each is checked for a loss before it
	lossy    map[*topic]struct{}
	lastAt   int64
}

// demuxLoop takes every message of the connection, gives it its arrival number, and pushes it to those who follow its topic. It
// holds no lock while it pushes.
func (d *dataConn) demuxLoop(ctx context.Context) {
	d.lossy = map[*topic]struct{}{}
	for {
		in := d.ch
		if d.held {
			in = nil
		}
		select {
		case <-ctx.Done():
			return
		case <-d.toDemux.wake:
			d.attend()
		case m := <-in:
			d.handle(m)
			d.drain(signalsEvery)
		}
		if d.toDemux.any.Load() {
			d.attend()
		}
	}
}

// drain takes what is there without the price of a select over several channels.
func (d *dataConn) drain(n int) {
	for ; n > 0 && !d.held; n-- {
		select {
		case m := <-d.ch:
			d.handle(m)
		default:
			return
		}
	}
}

// handle gives one message to its topic.
func (d *dataConn) handle(m *nats.Msg) {
	if m.Sub == nil {
		d.atMark(m)
		return
	}
	d.received++
	d.watch()
	if d.pressure == 0 {
		d.relay(m)
		return
	}
	d.overflowBefore(m)
	d.relay(m)
	d.relax()
}

func (d *dataConn) relay(m *nats.Msg) {
	d.lastAt = max(d.lastAt, time.Now().UnixNano()) // the wall clock may step back; the order of arrival does not
	d.mu.Lock()
	t := d.topics[m.Sub.Subject]
	if t == nil || t.sub != m.Sub {
		d.mu.Unlock()
		return // of a subscription that has ended, or is not confirmed again yet
	}
	if subject.Internal(m.Subject) {
		d.mu.Unlock()
		d.notRelayed.Add(1)
		return
	}
	d.seq++
	it := &item{}
	it.Message = encode.Message{Subject: m.Subject, Data: m.Data, Header: m.Header, At: d.lastAt}
	it.Seq = d.seq
	d.keep(t, it, m.Size())
	links := t.links
	d.mu.Unlock()

	d.messages.Add(1)
	d.bytes.Add(uint64(len(m.Data)))
	for _, l := range links {
		d.deliver(l, it)
	}
	d.pushing.Store(nil)
	d.progress.Store(it.Seq)
}

// deliver pushes a message to one follower of its topic, or the gap that takes its place.
func (d *dataConn) deliver(l *link, it *item) {
	if l.skips(it.Subject) {
		return
	}
	r := d.frame(&it.Item, l.form)
	f := r.Frame
	if r.Refused {
		f = d.core.gap(r.Reason, l.name)
	}
	d.push(l.src, flow.Event{Frame: f, Entry: int(l.entry), Seq: it.Seq, At: it.At})
}

// push gives an event to a source's sink. The source says that it is closed before it waits for pushing to change, and pushing
// changes before closed is read, so no push comes after Close.
func (d *dataConn) push(s *Source, e flow.Event) {
	d.pushing.Store(s)
	if !s.closed.Load() {
		s.sink.Push(e)
	}
}

func (l *link) skips(literal string) bool {
	for _, p := range l.skip {
		if subject.Match(p, literal) {
			return true
		}
	}
	return false
}

// attend does what the signals ask for.
func (d *dataConn) attend() {
	for _, s := range d.toDemux.take() {
		switch s.kind {
		case sigUp:
			d.sessionUp(s.dial)
		case sigSlow:
			d.overflowOf(s.sub)
		case sigSuspect:
			d.tellAll("NATS has refused subscriptions without saying which")
		case sigRefused:
			d.interestLost(s.topic)
		case sigHealed:
			d.interestBack(s.topic, s.sub)
		}
	}
}
