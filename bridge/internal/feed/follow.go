package feed

import (
	"runtime"
	"sync/atomic"
	"time"

	"headgate/bridge/internal/encode"
	"headgate/internal/flow"
	"headgate/internal/gap"
)

// Hole is data that is, or may be, missing.
type Hole struct {
	Reason   gap.Reason
	Silent   bool   // nothing is missing that was not told before: only the position begins again
	Renamed  bool   // nothing is missing at all: the position has another tag
	Certain  bool   // messages of the feed's subjects are certainly missing
	From, To uint64 // first and last missing sequence, inclusive; 0 when unknown
}

// Follower is given what a feed reads. It is called by the feed's loop, in order, without any lock held, and must be quick.
type Follower interface {
	// Message is a message with a subject that the link follows.
	Message(it *encode.Item, inc *Incarnation)
	// Hole: data is missing here. The follower's position becomes exactly (inc.Tag, position). A feed with a table has it ready.
	Hole(h Hole, inc *Incarnation, position uint64)
	// Lost: the stream has been missing for LostAfter. It may come back all the same.
	Lost()
}

// Link is a follower's tie to a feed.
type Link struct {
	feed    *Feed
	filters []string
	to      Follower
	closed  atomic.Bool
	stamp   uint64 // the message it was last matched with; guarded by the mu of its Feed
}

// Follow ties a follower to the subjects that filters match. Every match behind cursor goes to it, once, and everything up to cursor
// is in the tail or in history. The error wraps flow.ErrMissing when the stream is missing, and is flow.ErrUnavailable when it has
// not been seen yet and flow.ErrClosed after Run.
func (f *Feed) Follow(filters []string, to Follower) (l *Link, inc *Incarnation, cursor uint64, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	switch {
	case f.ended:
		return nil, nil, 0, flow.ErrClosed
	case f.Missing != nil:
		return nil, nil, 0, f.missingError(f.Missing)
	case f.Inc == nil || f.cfg.Table && !f.caughtUp:
		return nil, nil, 0, flow.ErrUnavailable
	}
	l = &Link{feed: f, filters: filters, to: to}
	f.all[l] = struct{}{}
	for _, p := range filters {
		f.links.Add(p, l)
	}
	return l, f.Inc, f.Cursor, nil
}

// closeWait bounds how long Close waits for a push that is under way; a push is quick by contract.
const closeWait = time.Second

// Close unties the follower. After it returns the follower is not called any more. The follower itself must not call it from a push.
func (l *Link) Close() {
	if l.closed.Swap(true) {
		return
	}
	f := l.feed
	f.mu.Lock()
	delete(f.all, l)
	for _, p := range l.filters {
		f.links.Remove(p, l)
	}
	f.mu.Unlock()
	for range 100 {
		if f.pushing.Load() != l {
			return
		}
		runtime.Gosched()
	}
	for end := time.Now().Add(closeWait); f.pushing.Load() == l && time.Now().Before(end); {
		time.Sleep(20 * time.Microsecond)
	}
}

// push calls a follower. A link says that it is closed before it waits for pushing to change, and pushing changes before closed is
// read, so nothing is pushed after Close.
func (f *Feed) push(l *Link, call func(Follower)) {
	f.pushing.Store(l)
	if !l.closed.Load() {
		call(l.to)
	}
}

// followers are the links whose filters match a subject, each once. It needs mu; the list is the loop's until the next message.
func (f *Feed) followers(literal string) []*Link {
	f.stamp++
	f.matched = f.matched[:0]
	f.links.Match(literal, func(l *Link) {
		if l.stamp != f.stamp {
			l.stamp = f.stamp
			f.matched = append(f.matched, l)
		}
	})
	return f.matched
}

// deliver pushes one message to its followers.
func (f *Feed) deliver(it *encode.Item, inc *Incarnation, links []*Link) {
	for _, l := range links {
		f.pushing.Store(l)
		if !l.closed.Load() {
			l.to.Message(it, inc)
		}
	}
	if len(links) > 0 {
		f.pushing.Store(nil)
	}
}

// announce changes the feed under its lock and tells everybody who follows it then of a hole. Whoever follows it later begins behind
// the change.
func (f *Feed) announce(h Hole, change func()) {
	f.mu.Lock()
	change()
	f.account()
	inc, position := f.Inc, f.Cursor
	links := f.everybody()
	f.tell()
	f.mu.Unlock()
	f.progress.begin(inc)
	if h.Renamed {
		f.progress.raise(position) // where everybody is already
	}
	if len(links) > 0 && !h.Silent {
		f.metrics.hole(h.Reason)
		f.log.Warn("messages are or may be missing: told to all who follow the stream", "reason", h.Reason, "certain", h.Certain,
			"from", h.From, "to", h.To, "position", position, "sources", len(links))
	}
	for _, l := range links {
		f.push(l, func(to Follower) { to.Hole(h, inc, position) })
	}
	f.pushing.Store(nil)
	f.progress.raise(position)
}

// everybody needs mu.
func (f *Feed) everybody() []*Link {
	links := make([]*Link, 0, len(f.all))
	for l := range f.all {
		links = append(links, l)
	}
	return links
}
