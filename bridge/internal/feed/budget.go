package feed

import (
	"runtime"
	"slices"
	"sync/atomic"
)

// Of a budget, so much is for nothing but tails, and so much for states on their way to clients at most. The rest is what tables may
// take. Tails have what nobody else uses.
const (
	floorsPart = 8 // an eighth, in equal floors: below its own no tail is made smaller for others
	statesPart = 4 // a quarter
)

// Budget is the memory that the feeds of a process have together, and the states that are read for their clients. Its methods may be
// called from any goroutine.
//
// Whoever grows beyond it makes the largest tail smaller, its own or another's. So every stream keeps as much as it wants until all
// that want more have equally much.
type Budget struct {
	limit   int64
	feeds   atomic.Pointer[[]*Feed]
	used    atomic.Int64 // by tails, tables and rooms
	tables  atomic.Int64 // of that
	rooms   atomic.Int64 // of that
	granted atomic.Int64 // to tails at their start
	alone   atomic.Pointer[Room]
}

// NewBudget is one of so many bytes.
func NewBudget(bytes int64) *Budget {
	b := &Budget{limit: bytes}
	b.feeds.Store(&[]*Feed{})
	return b
}

func (b *Budget) join(f *Feed) {
	for {
		old := b.feeds.Load()
		list := append((*old)[:len(*old):len(*old)], f)
		if b.feeds.CompareAndSwap(old, &list) {
			return
		}
	}
}

// leave takes a feed out that has ended. What it had been granted others may read at their start.
func (b *Budget) leave(f *Feed) {
	b.granted.Add(-f.granted)
	for {
		old := b.feeds.Load()
		list := slices.DeleteFunc(slices.Clone(*old), func(o *Feed) bool { return o == f })
		if b.feeds.CompareAndSwap(old, &list) {
			return
		}
	}
}

// Used is what is taken of it.
func (b *Budget) Used() int64 { return b.used.Load() }

// States is what of that is states on their way to clients.
func (b *Budget) States() int64 { return b.rooms.Load() }

// MostOfStates is how much of it states may be together.
func (b *Budget) MostOfStates() int64 { return b.limit / statesPart }

func (b *Budget) over() bool { return b.used.Load() > b.limit }

// floor is what the tail of each feed has for certain.
func (b *Budget) floor() int64 { return b.limit / floorsPart / int64(max(1, len(*b.feeds.Load()))) }

// grant is how much of what it needs a feed should read into its tail when it starts: its part, or what the others have left.
func (b *Budget) grant(need int64) int64 {
	part := b.limit / int64(max(1, len(*b.feeds.Load())))
	for {
		g := b.granted.Load()
		n := min(need, max(part, b.limit-g))
		if b.granted.CompareAndSwap(g, g+n) {
			return n
		}
	}
}

// tablesFit says whether a feed's table may take so much.
func (b *Budget) tablesFit(f *Feed, bytes int64) bool {
	return b.tables.Load()-f.heldTable.Load()+bytes <= b.limit-b.limit/floorsPart-b.limit/statesPart
}

// largest is the feed with the largest tail, nil when none is above its floor.
func (b *Budget) largest() (f *Feed) {
	most := b.floor()
	for _, o := range *b.feeds.Load() {
		if n := o.heldTail.Load(); n > most {
			most, f = n, o
		}
	}
	return f
}

// shrink makes tails smaller until all is within the budget. The caller holds no lock of a feed.
func (b *Budget) shrink() {
	for b.over() {
		f := b.largest()
		if f == nil {
			return // tables and states have bounds of their own
		}
		f.mu.Lock()
		n := f.room()
		f.mu.Unlock()
		f.metrics.evicted.Add(float64(n))
	}
}

// account tells the budget what the feed keeps. It needs mu.
func (f *Feed) account() {
	b := f.cfg.Budget
	tail := f.tail.bytes - f.heldTail.Load()
	table := f.tableBytes() - f.heldTable.Load()
	f.heldTail.Add(tail)
	f.heldTable.Add(table)
	b.tables.Add(table)
	b.used.Add(tail + table)
}

// tableBytes is what table and keys take. Of one that is being loaded, what it has in common with the present one is the same memory.
// It needs mu.
func (f *Feed) tableBytes() int64 { return max(f.table.size(), f.loads) + f.keysHeld }

// room throws the oldest messages away while the budget is exceeded and no other tail is larger. It needs mu.
func (f *Feed) room() (evicted int) {
	b := f.cfg.Budget
	for f.account(); b.over() && f.tail.len() > 0 && b.largest() == f; f.account() {
		f.tail.evict()
		evicted++
	}
	return evicted
}

// Room is a part of a budget for something that is on its way to clients. Its methods may be called from any goroutine.
type Room struct {
	budget *Budget
	bytes  atomic.Int64
	users  atomic.Int32
}

// Room takes nothing yet.
func (b *Budget) Room() *Room { return &Room{budget: b} }

// Grow takes more, or says that there is no more at present. One room at a time may grow beyond, so that what is larger than the
// budget allows can be given all the same; it is not counted among the others then.
func (r *Room) Grow(bytes int64) bool { return r.grow(bytes, true) }

// Fit is Grow, but never beyond.
func (r *Room) Fit(bytes int64) bool { return r.grow(bytes, false) }

func (r *Room) grow(bytes int64, beyond bool) bool {
	b := r.budget
	for {
		n := b.rooms.Load()
		if n-b.beyond(r)+bytes > b.MostOfStates() && !(beyond && (b.alone.Load() == r || b.alone.CompareAndSwap(nil, r))) {
			return false
		}
		if b.rooms.CompareAndSwap(n, n+bytes) {
			break
		}
	}
	r.bytes.Add(bytes)
	b.used.Add(bytes)
	b.shrink()
	return true
}

// beyond is what the room takes that is larger than the budget allows, where that is another one: a client takes its time for a large state, and
// meanwhile all the others have what they are to have.
func (b *Budget) beyond(r *Room) int64 {
	if a := b.alone.Load(); a != nil && a != r {
		return a.bytes.Load()
	}
	return 0
}

// isAlone says whether the room is the one that is larger than the budget allows.
func (r *Room) isAlone() bool { return r.budget.alone.Load() == r }

// Free gives everything back.
func (r *Room) Free() {
	b := r.budget
	n := r.bytes.Swap(0)
	b.rooms.Add(-n)
	b.used.Add(-n)
	b.alone.CompareAndSwap(r, nil)
}

// Use is one user of a room, which is given back when the last has ended, or is forgotten: a client that goes away in the middle of
// its state tells nobody.
type Use struct {
	room   *Room
	ended  atomic.Bool
	forgot runtime.Cleanup
}

// Use begins one.
func (r *Room) Use() *Use {
	r.users.Add(1)
	u := &Use{room: r}
	u.forgot = runtime.AddCleanup(u, (*Room).leave, r)
	return u
}

// End ends it. It may be called more than once, and on nil.
func (u *Use) End() {
	if u == nil || u.ended.Swap(true) {
		return
	}
	u.forgot.Stop()
	u.room.leave()
}

func (r *Room) leave() {
	if r.users.Add(-1) == 0 {
		r.Free()
	}
}
