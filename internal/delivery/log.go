package delivery

import (
	"headgate/internal/cursor"
	"headgate/internal/sse"
)

// entryLimit is where a round's buffer is closed and the next one begun, so that one burst is not one huge send.
const entryLimit = 256 << 10

// entry is what one round sends: one contiguous buffer, shared by every client of the group.
//
// The last entry of a log is the tail: the buffer that events are being appended to. It gets its bytes when it is sealed.
// Whoever has not been given an entry completely holds a reference on the entry it is at; entries are let go from the front while
// nobody holds the first. A caught-up group has only an empty tail, or nothing.
type entry struct {
	seq     uint64
	buf     []byte // blocks
	bytes   []byte // the same once sealed: what goes to the sockets; nil before
	events  int
	version uint32 // of the position behind it
	along   bool   // the members that are looked at are given it
	looks   uint32 // of the group's rounds when that began; of the tail, when a round last sealed one
	toll    toll   // what it takes from a budget, once it is sent along in a group with budgets
	sum     amount // everything up to its end; of the tail, up to its beginning

	// The position in front of it and its version, while it is the tail and has events: behind everything that has been sealed.
	before        cursor.Position
	versionBefore uint32

	at      int64  // when it was begun, shard clock
	arrived int64  // arrival of its first message, Unix ns; 0 unknown
	end     Reason // None, or: whoever has been given it completely ends
	again   *again // not nil: whoever has been given it completely reads
	refs    int
	lent    bool // a ResponseWriter may still read bytes: never reuse buf
	next    *entry
}

// amount is how much of a log there is: to compare two of them says how far one place is behind another, without a walk between them.
type amount struct{ bytes, events int64 }

func (a amount) plus(b amount) amount  { return amount{a.bytes + b.bytes, a.events + b.events} }
func (a amount) minus(b amount) amount { return amount{a.bytes - b.bytes, a.events - b.events} }

// own is what a sealed entry adds.
func (e *entry) own() amount { return amount{int64(len(e.bytes)) + entryCost, int64(e.events)} }

// sent is everything whose round has run. There must be a tail.
func (l *groupLog) sent() amount {
	if l.unsent != nil {
		return l.unsent.sum.minus(l.unsent.own())
	}
	return l.tail.sum
}

// entryCost is what an entry takes apart from its blocks. It counts as bytes for the bound of a client that is behind: small events would
// otherwise take many times what the bound says.
const entryCost = 224

// groupLog is the merge order of a group's topics.
type groupLog struct {
	first  *entry // oldest retained
	tail   *entry // being filled; nil when nothing was needed yet
	unsent *entry // first sealed entry whose round has not run; nil = none
	seq    uint64 // of the tail
}

// open gives the tail, making one when there is none.
func (l *groupLog) open(b *buffers, now int64) *entry {
	if l.tail == nil {
		l.tail = b.entry()
		l.tail.seq, l.tail.at = l.seq, now
		l.first = l.tail
	}
	return l.tail
}

// at is the entry with that number, whose round has not run, or the tail.
func (l *groupLog) at(seq uint64, b *buffers, now int64) *entry {
	for e := l.unsent; e != nil; e = e.next {
		if e.seq == seq {
			return e
		}
	}
	return l.open(b, now)
}

// pending says whether the tail has blocks.
func (l *groupLog) pending() bool { return l.tail != nil && len(l.tail.buf) > 0 }

// begin notes where the log is, ahead of the first event of the tail.
func (l *groupLog) begin(b *buffers, now int64, p cursor.Position, version uint32) {
	e := l.open(b, now)
	e.before, e.versionBefore = append(e.before[:0], p...), version
}

// append writes one block to the tail.
func (l *groupLog) append(b *buffers, f *sse.Frame, id []byte, now, arrived int64, version uint32) *entry {
	e := l.open(b, now)
	if e.buf == nil {
		e.buf = b.take()
		e.at, e.arrived = now, arrived
	}
	e.buf = f.AppendBlock(e.buf, id)
	e.events++
	e.version = version
	return e
}

// seal closes the tail and begins the next. The tail must have blocks. A content coding would be added here, once per group and round.
func (l *groupLog) seal(b *buffers, now int64) *entry {
	e := l.tail
	e.bytes = e.buf
	e.sum = e.sum.plus(e.own())
	l.seq++
	l.tail = b.entry()
	l.tail.seq, l.tail.at, l.tail.sum, l.tail.looks = l.seq, now, e.sum, e.looks
	e.next = l.tail
	if l.unsent == nil {
		l.unsent = e
	}
	return e
}

// keep makes an entry whose round has run as small as it can be, because somebody is still behind it. The old buffer is not used again:
// whoever is being given it may still read it.
func (l *groupLog) keep(e *entry) {
	if cap(e.buf) < 2*len(e.buf) {
		return
	}
	e.buf = append(make([]byte, 0, len(e.buf)), e.buf...)
	e.bytes = e.buf
}

// trim lets entries go from the front: nobody is at them, and their round is over.
func (l *groupLog) trim(b *buffers) {
	for l.first != nil && l.first != l.tail && l.first != l.unsent && l.first.refs == 0 {
		e := l.first
		l.first = e.next
		b.giveEntry(e)
	}
	if l.first == l.tail && l.tail != nil && l.tail.refs == 0 && len(l.tail.buf) == 0 {
		b.giveEntry(l.tail)
		l.first, l.tail = nil, nil
	}
}

// buffers are a shard's spare round buffers and entries.
type buffers struct {
	spare   [][]byte
	entries []*entry
}

const (
	keepBuffers = 64
	keepBytes   = 1 << 20
)

func (b *buffers) take() []byte {
	if n := len(b.spare); n > 0 {
		buf := b.spare[n-1]
		b.spare = b.spare[:n-1]
		return buf[:0]
	}
	return make([]byte, 0, 512)
}

func (b *buffers) give(buf []byte) {
	if len(b.spare) < keepBuffers && cap(buf) <= keepBytes && cap(buf) > 0 {
		b.spare = append(b.spare, buf)
	}
}

func (b *buffers) entry() *entry {
	if n := len(b.entries); n > 0 {
		e := b.entries[n-1]
		b.entries = b.entries[:n-1]
		return e
	}
	return &entry{}
}

func (b *buffers) giveEntry(e *entry) {
	if !e.lent {
		b.give(e.buf)
	}
	*e = entry{before: e.before[:0]}
	if len(b.entries) < keepBuffers {
		b.entries = append(b.entries, e)
	}
}
