package core

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/nats-io/nats.go"

	"headgate/bridge/internal/encode"
	"headgate/internal/flow"
	"headgate/internal/gap"
	"headgate/internal/sse"
)

// gap is a $gap frame, counted.
func (c *Core) gap(r gap.Reason, name string) *sse.Frame {
	c.gaps.Add(r, 1)
	return gap.Shared(r, name)
}

// watch sees when the channel is full, which is when nats.go loses messages. The loop cannot miss it: behind a loss lie as many
// messages as the channel holds, and only this loop takes them out. From then on each message is checked until those have passed.
func (d *dataConn) watch() {
	if len(d.ch) >= cap(d.ch)-1 {
		d.pressure = d.received + uint64(cap(d.ch)) + 1
	}
}

// relax ends the checks when all that waited has been pushed, with one last look at the topics that lost messages: theirs may
// have been the last.
func (d *dataConn) relax() {
	if len(d.ch) > 0 && d.received <= d.pressure {
		return
	}
	d.pressure = 0
	for t := range d.lossy {
		// A topic stays in the list: nats.go tells of a loss only when the last message before it was not lost as well.
		if !d.overflow(t) {
			delete(d.lossy, t)
		}
	}
}

// overflowBefore announces a loss before the message that follows it.
func (d *dataConn) overflowBefore(m *nats.Msg) {
	t := d.topicOf(m.Sub)
	if t == nil {
		return
	}
	if d.received > t.quiet {
		d.overflow(t)
	}
	t.owed = d.received <= t.quiet
}

// overflowOf announces the loss that nats.go has just told of, unless a message was quicker.
func (d *dataConn) overflowOf(sub *nats.Subscription) {
	if t := d.topicOf(sub); t != nil && d.received > t.quiet {
		d.overflow(t)
	}
}

func (d *dataConn) topicOf(sub *nats.Subscription) *topic {
	d.mu.Lock()
	defer d.mu.Unlock()
	if t := d.topics[sub.Subject]; t != nil && t.sub == sub {
		return t
	}
	return nil
}

// overflow announces what nats.go has dropped of a topic since the last time. It is false for a topic that has ended.
//
// nats.go counts what it drops and does not say between which messages that was: the hole lies somewhere among those that wait in
// the channel now, or behind them. So there is a gap at once, because the next message may be the first behind the hole, and a
// second one when those have passed, if any was of this topic: a client that asked for the present state at the first gap has
// then been given older messages. What is dropped later lies behind all of them, so that nothing else is said in between.
func (d *dataConn) overflow(t *topic) bool {
	d.mu.Lock()
	sub, gone := t.sub, t.removed
	d.mu.Unlock()
	if sub == nil {
		return !gone
	}
	n, err := sub.Dropped()
	if err != nil {
		return true
	}
	d.mu.Lock()
	lost := 0
	if t.sub == sub {
		lost = n - t.dropped
		t.dropped = n
	}
	d.mu.Unlock()
	if lost <= 0 {
		if t.owed {
			t.owed = false
			d.announce(t, gap.Overflow)
		}
		return true
	}
	d.dropped.Add(uint64(lost))
	d.losses.note(lossOverflow, lost, t.subject)
	t.owed = false
	t.quiet = d.received + uint64(len(d.ch)) // at least the message that is being handled
	d.lossy[t] = struct{}{}
	if d.pressure == 0 {
		d.pressure = t.quiet + 1
	}
	d.announce(t, gap.Overflow)
	return true
}

// announce tells everybody who follows a topic of a hole in it.
func (d *dataConn) announce(t *topic, r gap.Reason) {
	d.mu.Lock()
	d.seq++
	n := d.seq
	t.raise(n, &d.budget)
	links := t.links
	d.mu.Unlock()
	for _, l := range links {
		d.tell(l, r, n, l.twin)
	}
	d.told(n)
}

// tell pushes a gap to one follower. When another one with the same number follows for the same source, the position stays before
// it: a client that is cut between the two is told again.
func (d *dataConn) tell(l *link, r gap.Reason, seq uint64, more bool) {
	if more {
		seq--
	}
	d.push(l.src, flow.Event{Frame: d.core.gap(r, l.name), Entry: int(l.entry), Seq: seq, At: time.Now().UnixNano()})
}

func (d *dataConn) told(seq uint64) {
	d.pushing.Store(nil)
	d.progress.Store(seq)
}

func (d *dataConn) reconnected() { d.tellAll("NATS was away") }

// tellAll tells every source with a topic on this connection that messages may be missing, once for each of its names.
func (d *dataConn) tellAll(cause string) {
	d.mu.Lock()
	d.seq++
	n := d.seq
	d.lost = n
	var last []*link // one of each source
	for _, t := range d.topics {
		t.clear(&d.budget)
		for _, l := range t.links {
			if l.on && l.lead && !l.more {
				last = append(last, l)
			}
		}
	}
	topics := len(d.topics)
	d.mu.Unlock()
	if len(last) > 0 {
		d.log.Warn("messages may have been lost: told to all streams of this connection", "cause", cause, "reason", gap.Reconnect,
			"topics", topics, "groups", len(last))
	}
	for _, l := range last {
		for i := range l.src.links {
			if o := &l.src.links[i]; o.lead && o.entry == l.entry {
				d.tell(o, gap.Reconnect, n, o.more)
			}
		}
	}
	d.told(n)
}

// interestLost: the server does not send this topic's messages any more.
func (d *dataConn) interestLost(t *topic) {
	d.losses.note(lossRefused, 1, t.subject)
	d.announce(t, gap.Reconnect)
}

// interestBack: the server sends them again. Only now does the topic take the messages of the new subscription, so that the gap,
// which covers the time between, comes before them.
func (d *dataConn) interestBack(t *topic, sub *nats.Subscription) {
	d.mu.Lock()
	h := d.deaf[t]
	if h == nil || h.sub != sub { // it ended, or was subscribed on another connection meanwhile
		d.mu.Unlock()
		return
	}
	delete(d.deaf, t)
	t.deaf = false
	t.sub, t.dropped = sub, 0
	d.mu.Unlock()
	d.announce(t, gap.Reconnect)
}

// frame is an item's in a format. What went wrong when it was made is noted then.
func (d *dataConn) frame(it *encode.Item, f *encode.Format) *encode.Result {
	r, fresh := it.Frame(f, d.idPrefix)
	if fresh {
		d.core.encoded(it, r, &d.losses)
	}
	return r
}

// encoded hears of every frame that was made: it notes what was wrong with the message, and the trace that it belongs to.
func (c *Core) encoded(it *encode.Item, r *encode.Result, l *losses) {
	switch {
	case r.Refused && r.Reason == gap.Invalid:
		l.refused(lossInvalid, it)
	case r.Refused:
		l.refused(lossTooLarge, it)
	case r.BadType:
		c.badTypes.Inc()
	}
	if log := l.log; !r.Refused && len(it.Header) > 0 && log.Enabled(context.Background(), slog.LevelDebug) {
		if trace := encode.Traceparent(it.Header); trace != "" {
			log.Debug("message relayed", "subject", it.Subject, "traceparent", trace)
		}
	}
}

type loss uint8

const (
	lossOverflow loss = iota
	lossRefused
	lossRoom
	lossInvalid
	lossTooLarge
	lossKinds
)

var lossText = [lossKinds]string{
	lossOverflow: "messages lost between NATS and headgate, which was too slow to take them: told with $gap; a larger NATS_PENDING_MSGS " +
		"or more NATS_DATA_CONNECTIONS may help",
	lossRefused: "NATS refuses a subscription that it accepted before: told with $gap; trying again",
	lossRoom: "NATS refuses subscriptions because this connection has too many: told with $gap; asking again for as many as it takes; " +
		"raise max_subscriptions of the server, or the limit of the account or user, or use more NATS_DATA_CONNECTIONS",
	lossInvalid:  "messages were replaced by $gap because they are not what their route promises: not JSON with data: json, or a CloudEvent that is none",
	lossTooLarge: "messages above the route's max_event_bytes were replaced by $gap",
}

const lossesEvery = 10 * time.Second

// losses writes one log line per kind of loss and lossesEvery, with how many there were and a subject for example.
type losses struct {
	log *slog.Logger

	mu    sync.Mutex
	kinds [lossKinds]struct {
		last    time.Time
		n       int
		subject string
		trace   string
	}
}

// note counts a loss; subject is an example.
func (l *losses) note(k loss, n int, subject string) { l.add(k, n, subject, "") }

// refused notes a message that nobody gets, with the trace that it belongs to.
func (l *losses) refused(k loss, it *encode.Item) {
	l.add(k, 1, it.Subject, encode.Traceparent(it.Header))
}

func (l *losses) add(k loss, n int, subject, trace string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	s := &l.kinds[k]
	s.n += n
	s.subject, s.trace = subject, trace
	l.say(k, time.Now())
}

// flush writes what is still unsaid.
func (l *losses) flush(now time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for k := range lossKinds {
		l.say(k, now)
	}
}

// say needs mu.
func (l *losses) say(k loss, now time.Time) {
	s := &l.kinds[k]
	if s.n == 0 || now.Sub(s.last) < lossesEvery {
		return
	}
	about := []any{"count", s.n, "subject", s.subject}
	if s.trace != "" {
		about = append(about, "traceparent", s.trace)
	}
	l.log.Warn(lossText[k], about...)
	s.n, s.last = 0, now
}
