package core

import (
	"container/list"
	"time"

	"github.com/nats-io/nats.go"

	"headgate/bridge/internal/encode"
)

// topic is one subject or pattern with one upstream subscription. There may be a hundred thousand of them, so what few need
// hangs on a pointer. All fields are guarded by the mu of its dataConn, apart from those of the demux loop.
type topic struct {
	subject string
	sub     *nats.Subscription // messages of any other subscription are stale; nil while there is none
	links   []*link            // who follows it, and who no longer does; appended to in place, copied when half of them are gone, so that a loop may run over it without the lock
	gone    int32              // links of those who no longer follow it

	ring
	lost uint64 // nothing is known about what came up to here: raised by subscription, drop, lost interest

	wait    *wait         // until NATS has confirmed the subscription
	idle    *list.Element // in dataConn.idle while nobody needs it
	refs    int32         // sources that need it
	removed bool          // not in dataConn.topics any more
	deaf    bool          // in dataConn.deaf
	dropped int           // of sub.Dropped, what has been announced

	// owned by the demux loop
	quiet uint64 // no further overflow is announced before so many messages have been received
	owed  bool   // a message of this topic has passed since the last overflow was announced, and it may have been from before it
}

// wait is how the sources that came first to a topic hear of its confirmation.
type wait struct {
	done chan struct{}
	err  error // set before done is closed
}

// link is one topic of one source.
type link struct {
	src   *Source
	topic *topic
	name  string // the route's name for the source
	form  *encode.Format
	skip  []string // patterns before it in the source: what matches one of them belongs to that topic
	entry uint8    // of the position
	lead  bool     // the first with its name on its connection: it alone tells of a lost connection
	more  bool     // a lead, and not the last one of its source on this connection
	twin  bool     // a later link of the source has the same topic
	on    bool     // the topic has it; guarded by the mu of its dataConn
}

// idleSince is the value in dataConn.idle.
type idleSince struct {
	topic *topic
	since time.Time
}

// attach adds a follower.
func (t *topic) attach(l *link) {
	l.on = true
	t.links = append(t.links, l)
}

// detach removes it. Loops that run over the old slice still see it, which is why Source.Close waits for them. When everybody leaves at
// once, each of them must not look through all the others.
func (t *topic) detach(l *link) {
	if !l.on {
		return
	}
	l.on = false
	if t.gone++; int(t.gone) <= len(t.links)/2 {
		return
	}
	var left []*link
	for _, o := range t.links {
		if o.on {
			left = append(left, o)
		}
	}
	t.links, t.gone = left, 0
}

// raise says that whatever came up to seq may be incomplete. What the ring has of it is of no use any more, for a position before
// it cannot be continued.
func (t *topic) raise(seq uint64, b *budget) {
	t.lost = max(t.lost, seq)
	t.ring.clear(b)
}
