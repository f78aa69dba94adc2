package core

import (
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
)

// markWait is how long a new session waits for room in the channel for its mark.
const markWait = 250 * time.Millisecond

// sessions keeps apart what arrived before and after a connection was lost, so that the gap stands between them.
//
// Before nats.go connects again, a mark is put into the channel, behind the last message of the session that ended. When the demux
// loop comes to the mark, it takes nothing more until the server has confirmed all subscriptions of the next session, and then
// announces the gap. So a client that asks for the present state by other means when it sees the gap misses nothing after it, and
// is given nothing older behind it.
type sessions struct {
	unmarked atomic.Bool // there was no room for a mark

	markMu   sync.Mutex
	marked   bool   // a mark is in the channel, or waited at, and no session has been confirmed since
	markedAt uint64 // how many messages nats.go had received then

	// owned by the demux loop
	held          bool   // at a mark
	heldFor       uint64 // until a session of this dial or a later one is confirmed
	lastConfirmed uint64 // dial of the last confirmed session
}

// onDial puts the mark, unless there is one already and nothing has been received since.
func (d *dataConn) onDial(dial, received uint64) {
	d.markMu.Lock()
	needless := d.marked && received == d.markedAt
	d.marked, d.markedAt = true, received
	d.markMu.Unlock()
	if needless {
		return
	}
	mark := &nats.Msg{Reply: strconv.FormatUint(dial, 10)} // messages have a Sub
	timer := time.NewTimer(markWait)
	defer timer.Stop()
	select {
	case d.ch <- mark:
	case <-timer.C:
		d.unmarked.Store(true)
	}
}

// unmark says that the session of a dial is confirmed, unless another one has begun; whose mark may then be the one that is there.
func (d *dataConn) unmark(dial uint64) bool {
	d.markMu.Lock()
	defer d.markMu.Unlock()
	if d.conn.Dials() != dial {
		return false
	}
	d.marked = false
	return true
}

// atMark is the demux loop between two sessions.
func (d *dataConn) atMark(m *nats.Msg) {
	dial, _ := strconv.ParseUint(m.Reply, 10, 64)
	if d.lastConfirmed >= dial {
		d.reconnected()
		return
	}
	d.held, d.heldFor = true, dial
}

// sessionUp goes on behind the mark.
func (d *dataConn) sessionUp(dial uint64) {
	d.lastConfirmed = dial
	if d.held && dial >= d.heldFor {
		d.held = false
		d.reconnected()
	}
	if d.unmarked.Swap(false) {
		for n := len(d.ch); n > 0 && !d.held; n-- {
			d.handle(<-d.ch)
		}
		d.reconnected()
	}
}
