package ratelimit

import (
	"time"

	"golang.org/x/time/rate"
)

const (
	sweepStep = 4  // entries with a bucket that are looked at on each use of the table
	sweepFull = 64 // and when there is no room
)

// table remembers addresses, or users: how many streams each has open, and its token bucket. An entry is forgotten as soon as it says nothing
// that a new one would not say: no streams, and a full bucket. An entry that says something is never forgotten, so whoever rotates
// addresses wins nothing and displaces nobody; when there is no room, newcomers share one entry.
//
// There is no timer: every use looks at a few entries with buckets and moves on. A bucket that was found full goes by itself, which
// leaves an address that merely has streams open at a few dozen bytes. The limiter's mutex guards everything.
type table struct {
	// Fixed after New.
	most  int
	limit rate.Limit
	burst int

	// Guarded by the limiter's mu.
	index    map[key]int32 // places in slots
	slots    []slot
	free     int32 // first of the unused slots, linked by next
	hand     int32 // first of the ring of slots with a bucket, in the order they will be looked at
	overflow slot
}

// slot is one entry. none ends a list.
type slot struct {
	key        key
	bucket     *rate.Limiter // nil: full
	streams    int32
	prev, next int32 // in the ring, when there is a bucket
}

const none = -1

func newTable(most int, limit rate.Limit, burst int) *table {
	return &table{most: max(most, 1), limit: limit, burst: burst, index: make(map[key]int32), free: none, hand: none}
}

// len is the number of addresses, or users, remembered.
func (t *table) len() int { return len(t.index) }

// find is the entry that k is judged by, and nil when it has none yet and there is room for one.
func (t *table) find(k key, now time.Time) *slot {
	t.sweep(now, sweepStep)
	if i, ok := t.index[k]; ok {
		return &t.slots[i]
	}
	if len(t.index) >= t.most {
		t.sweep(now, sweepFull)
	}
	if len(t.index) >= t.most {
		return &t.overflow
	}
	return nil
}

// shared says whether s, from find, is the entry of all newcomers.
func (t *table) shared(s *slot) bool { return s == &t.overflow }

// add makes the entry that find did not have. Pointers to other entries are void afterwards.
func (t *table) add(k key) *slot {
	i := t.free
	if i == none {
		i = int32(len(t.slots))
		t.slots = append(t.slots, slot{})
	} else {
		t.free = t.slots[i].next
	}
	t.slots[i] = slot{key: k, prev: none, next: none}
	t.index[k] = i
	return &t.slots[i]
}

// entry is find that adds. Pointers to other entries are void afterwards.
func (t *table) entry(k key, now time.Time) *slot {
	if s := t.find(k, now); s != nil {
		return s
	}
	return t.add(k)
}

// fill is the bucket of s, full when it has none yet.
func (t *table) fill(s *slot) *rate.Limiter {
	if s.bucket == nil {
		s.bucket = rate.NewLimiter(t.limit, t.burst)
		if !t.shared(s) {
			t.enter(t.index[s.key])
		}
	}
	return s.bucket
}

// take takes one token from the bucket of s, or says how long until there is one.
func (t *table) take(s *slot, now time.Time) (*rate.Reservation, time.Duration) {
	r := t.fill(s).ReserveN(now, 1)
	wait := r.DelayFrom(now)
	if wait > 0 {
		r.CancelAt(now)
	}
	return r, wait
}

// opened counts a stream.
func (t *table) opened(s *slot) { s.streams++ }

// closed uncounts a stream of k, and says whether there was one. An address that was admitted as a newcomer may have got an entry
// of its own since; then that one is asked first, and the sum is right.
func (t *table) closed(k key) bool {
	i, ok := t.index[k]
	if ok && t.slots[i].streams > 0 {
		t.slots[i].streams--
		t.forget(i)
		return true
	}
	if t.overflow.streams > 0 {
		t.overflow.streams--
		return true
	}
	return false
}

// has says whether closed would find a stream.
func (t *table) has(k key) bool {
	i, ok := t.index[k]
	return ok && t.slots[i].streams > 0 || t.overflow.streams > 0
}

// sweep looks at the next entries with a bucket, at most n of them, drops the buckets that are full again, and forgets the entries
// that then say nothing.
func (t *table) sweep(now time.Time, n int) {
	for ; n > 0 && t.hand != none; n-- {
		i := t.hand
		s := &t.slots[i]
		if s.bucket.TokensAt(now) < float64(t.burst) {
			t.hand = s.next
			continue
		}
		t.leave(i)
		s.bucket = nil
		t.forget(i)
	}
}

// settle forgets the entry of k if nothing came of it.
func (t *table) settle(k key) {
	if i, ok := t.index[k]; ok {
		t.forget(i)
	}
}

// forget gives the slot back if it says nothing.
func (t *table) forget(i int32) {
	s := &t.slots[i]
	if s.streams > 0 || s.bucket != nil {
		return
	}
	delete(t.index, s.key)
	*s = slot{prev: none, next: t.free}
	t.free = i
}

// enter puts a slot into the ring, where it is looked at last.
func (t *table) enter(i int32) {
	s := &t.slots[i]
	if t.hand == none {
		s.prev, s.next, t.hand = i, i, i
		return
	}
	head := &t.slots[t.hand]
	s.prev, s.next = head.prev, t.hand
	t.slots[head.prev].next = i
	head.prev = i
}

// leave takes a slot out of the ring.
func (t *table) leave(i int32) {
	s := &t.slots[i]
	if s.next == i {
		t.hand = none
	} else {
		t.slots[s.prev].next, t.slots[s.next].prev = s.next, s.prev
		if t.hand == i {
			t.hand = s.next
		}
	}
	s.prev, s.next = none, none
}
