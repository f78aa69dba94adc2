package feed

import (
	"context"
	"time"

	"github.com/nats-io/nats.go"

	"headgate/bridge/internal/encode"
	"headgate/bridge/internal/pull"
	"headgate/internal/gap"
	"headgate/internal/subject"
)

const messagesInARow = 256 // before the loop looks whether there is something else to do

// follow takes what the consumer of a session delivers, until something goes wrong with it.
func (f *Feed) follow(ctx context.Context, s *session) reset {
	every := min(f.cfg.Heartbeat/4, f.cfg.VerifyEvery)
	tick := time.NewTicker(min(every, pokeEvery))
	defer tick.Stop()
	for loads := true; ; {
		why := goesOn
		if loads && f.load == nil {
			loads = false
			tick.Reset(every)
		}
		if f.countOver {
			return resetTable
		}
		if f.load != nil && f.load.wanted {
			f.chase(ctx, s)
		}
		select {
		case <-ctx.Done():
			return resetConnection
		case <-f.wake:
			if _, number := f.connected(); number != s.number {
				return resetConnection
			}
			if f.asksOther() {
				return resetFilters
			}
		case m := <-s.ch:
			why = f.takeAll(ctx, s, m)
		case now := <-tick.C:
			why = f.due(ctx, s, now)
		}
		if why != goesOn {
			return why
		}
	}
}

// takeAll takes a message, and what is behind it in the channel without the price of a select over several channels.
func (f *Feed) takeAll(ctx context.Context, s *session, m *nats.Msg) reset {
	s.heard = time.Now()
	f.judge()
	if f.Missing != nil {
		f.found()
	}
	for n := 0; ; n++ {
		if why := f.take(ctx, s, m); why != goesOn {
			return why
		}
		if n == messagesInARow {
			return goesOn
		}
		select {
		case m = <-s.ch:
		default:
			return goesOn
		}
	}
}

// take takes one message of the consumer's subscription.
func (f *Feed) take(ctx context.Context, s *session, m *nats.Msg) reset {
	s.came++
	at, ok := pull.PlaceOf(m.Reply)
	if !ok { // not of the stream
		if last, ok := pull.LastOf(m); ok && last > s.taken {
			return resetSequence
		}
		if why := endings[s.pull.Status(m)]; why != goesOn {
			return why
		}
	} else {
		if at.Consumer != s.taken+1 {
			return resetSequence
		}
		s.taken++
		s.pull.Took()
		if why := f.message(ctx, s, m, at); why != goesOn {
			return why
		}
	}
	if err := s.pull.Fill(s.nc); err != nil {
		return resetConnection
	}
	return goesOn
}

// message takes one message of the stream.
func (f *Feed) message(ctx context.Context, s *session, m *nats.Msg, at pull.Place) reset {
	if f.countOver {
		return resetTable
	}
	seq := at.Stream
	it := &encode.Item{Seq: seq}
	it.Message = encode.Message{Subject: m.Subject, Data: m.Data, Header: m.Header, At: at.At}
	if len(m.Header) == 0 {
		it.Header = nil
	}
	f.metrics.messages.Inc()
	f.metrics.bytes.Add(float64(len(m.Data)))
	f.metrics.lag.Set(float64(at.Pending))
	if f.load != nil {
		return f.loading(it)
	}
	switch {
	case seq <= f.Cursor:
		if f.removedSince(ctx, s, seq) {
			return goesOn
		}
		f.backwards(seq)
	case seq > f.Cursor+1:
		if f.check.at != 0 {
			f.check = check{} // the leader may have counted what was replaced before it came
			f.hurry()
		}
		if why := f.jumped(ctx, s, jump{f.Cursor + 1, seq - 1}); why != goesOn {
			return why
		}
	}
	f.relay(it)
	if f.target.set {
		f.arrive()
	}
	return f.checked(seq)
}

// relay keeps a message and pushes it to those who follow its subject. Under the lock the cursor passes the message, the tail takes it
// and its followers are found, so that whoever follows later begins behind it.
func (f *Feed) relay(it *encode.Item) {
	literal := it.Subject
	relayed := f.relays(literal)
	f.mu.Lock()
	inc := f.Inc
	f.Cursor = it.Seq
	var links []*Link
	if relayed {
		evicted := f.keep(it)
		f.metrics.evicted.Add(float64(evicted))
		links = f.followers(literal)
	}
	f.mu.Unlock()
	f.newest = markOf(it)
	f.cfg.Budget.shrink()
	f.deliver(it, inc, links)
	f.progress.raise(it.Seq)
}

// relays says whether a message is for anybody: a consumer may deliver more than the feed wants.
func (f *Feed) relays(literal string) bool {
	if !f.cfg.Table && subject.Internal(literal) {
		return false
	}
	if f.mine == nil {
		return true
	}
	for _, p := range f.mine {
		if subject.Match(p, literal) {
			return true
		}
	}
	return false
}

// removedSince says whether a message that the cursor has passed was removed while it was on its way to us, so that the leader was right
// to say that there was none.
func (f *Feed) removedSince(ctx context.Context, s *session, seq uint64) bool {
	m, err := f.next(ctx, s, everything[0], seq)
	return isNoMessage(err) || err == nil && m.Seq > seq
}

// backwards: there is a message of which the leader said that there was none. The cursor was raised too far, or the stream went back.
func (f *Feed) backwards(seq uint64) {
	f.epoch++
	f.newest = mark{}
	f.announce(Hole{Reason: gap.Rewound}, func() {
		inc := *f.Inc
		inc.epoch = f.epoch
		f.Inc, f.Cursor, f.covered = &inc, seq-1, 0
		f.tail.clear(seq - 1)
	})
}

// due does what is due.
func (f *Feed) due(ctx context.Context, s *session, now time.Time) reset {
	if err := f.refused(); err != nil {
		return f.failed(ctx, s.nc, err)
	}
	f.judge()
	if len(s.ch) == 0 && now.Sub(s.heard) > 2*s.pull.Heartbeat() {
		return resetHeartbeat
	}
	if l := f.load; l != nil && now.Sub(l.heard) > pokeEvery {
		if l.heard = now; s.pull.Poke(s.nc) != nil {
			return resetConnection
		}
	}
	every := f.cfg.VerifyEvery
	if !f.caughtUp {
		every = min(every, time.Second)
	}
	if time.Since(f.verified) >= every {
		return f.verify(ctx, s)
	}
	if len(f.late) > 0 && time.Since(f.asked) >= jumpEvery {
		return f.look(ctx, s)
	}
	f.gauges()
	return goesOn
}

// gauges shows what is kept.
func (f *Feed) gauges() {
	f.mu.Lock()
	n, bytes := f.tail.len(), f.tail.bytes+f.tableBytes()
	unknown, unproven := 0.0, 0.0
	if f.cfg.Table && f.table == nil && f.keys == nil {
		unknown = 1
	}
	if f.cfg.Table && f.Inc != nil && f.Inc.Tag == f.Inc.Doubted {
		unproven = 1
	}
	f.mu.Unlock()
	f.metrics.unknown.Set(unknown)
	f.metrics.unproven.Set(unproven)
	f.metrics.tailMessages.Set(float64(n))
	f.metrics.tailBytes.Set(float64(bytes))
}
