package feed

import (
	"fmt"
	"math/rand/v2"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"headgate/bridge/internal/encode"
)

// filler puts messages into the tail of a feed that nobody runs.
type filler struct {
	*Feed
	seq uint64
}

func newFiller(b *Budget) *filler { return &filler{Feed: New(Config{Budget: b})} }

func (f *filler) put(n, payload int) {
	for range n {
		f.seq++
		it := &encode.Item{Seq: f.seq}
		it.Message = encode.Message{Subject: fmt.Sprint("s.", f.seq%100), Data: make([]byte, payload)}
		f.mu.Lock()
		f.keep(it)
		f.mu.Unlock()
		f.cfg.Budget.shrink()
	}
}

func (f *filler) bytes() int64 {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.tail.bytes
}

func TestBudget_ABusyTailUsesWhatAnIdleOneDoesNot(t *testing.T) {
	const limit = 10 << 20
	b := NewBudget(limit)
	idle, busy := newFiller(b), newFiller(b)
	idle.put(10, 100)
	busy.put(100_000, 100)
	if n := busy.bytes(); n < limit*9/10 {
		t.Errorf("the busy one has %d of %d bytes", n, limit)
	}
	if idle.tail.len() != 10 || idle.tail.floor != 0 {
		t.Errorf("the idle one has lost what it had: %d messages", idle.tail.len())
	}
	floor := busy.tail.floor
	idle.put(100_000, 100)
	if n := idle.bytes(); n < limit*4/10 || n > limit*6/10 {
		t.Errorf("who comes later has %d of %d bytes", n, limit)
	}
	if busy.tail.floor <= floor || b.Used() > limit {
		t.Errorf("floor %d, used %d", busy.tail.floor, b.Used())
	}
	if got := idle.bytes() + busy.bytes(); got != b.Used() {
		t.Errorf("counted %d, there are %d", b.Used(), got)
	}
}

// Whatever tables and states take, every tail has its floor.
func TestBudget_EveryTailHasItsFloor(t *testing.T) {
	const limit = 8 << 20
	b := NewBudget(limit)
	tails := []*filler{newFiller(b), newFiller(b), newFiller(b)}
	bucket := New(Config{Budget: b, Table: true})
	if bucket.fits(limit) || !bucket.fits(limit/2) {
		t.Error("a table of the whole budget, or none of half of it")
	}
	bucket.taking(limit * 5 / 8)
	if other := New(Config{Budget: b, Table: true}); other.fits(limit / 8) {
		t.Error("tables for which there is no room")
	}
	room := b.Room()
	for room.bytes.Load() < limit/statesPart {
		if !room.Grow(64 << 10) {
			t.Fatalf("no room behind %d bytes", room.bytes.Load())
		}
	}
	if !room.Grow(4 << 20) { // the one that may be too large
		t.Error("a single state must be given, whatever its size")
	}
	others := b.Room()
	if !others.Grow(limit / statesPart) {
		t.Error("no room for others beside it")
	}
	if b.Room().Grow(1) {
		t.Error("room for more than that")
	}
	others.Free()
	for _, f := range tails {
		f.put(30_000, 100)
	}
	for _, f := range tails {
		if n := f.bytes(); n < b.floor()-1000 { // about a message
			t.Errorf("a tail has %d bytes, its floor is %d", n, b.floor())
		}
	}
	room.Free()
	if b.States() != 0 || !b.Room().Grow(1) {
		t.Error("not given back")
	}
}

func TestBudget_HoldsWithManyAtOnce(t *testing.T) {
	const limit = 4 << 20
	b := NewBudget(limit)
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	var wg sync.WaitGroup
	var feeds []*filler
	for range 5 {
		feeds = append(feeds, newFiller(b))
	}
	for i, f := range feeds {
		wg.Go(func() {
			rnd := rand.New(rand.NewPCG(seed, uint64(i)))
			for range 300 {
				f.put(rnd.IntN(100), rnd.IntN(500))
				if r := b.Room(); r.Grow(int64(rnd.IntN(limit / 8))) {
					r.Use().End()
				}
				if over := b.Used() - limit; over > 5*2000+limit { // a message each is on its way, and one state
					t.Errorf("%d bytes too many", over)
				}
			}
		})
	}
	wg.Wait()
	sum := int64(0)
	for _, f := range feeds {
		sum += f.bytes()
	}
	if b.shrink(); sum != b.Used() || sum > limit || b.States() != 0 {
		t.Errorf("counted %d, there are %d, states %d", b.Used(), sum, b.States())
	}
}

func TestRoom_OfWhoIsForgottenIsGivenBack(t *testing.T) {
	b := NewBudget(1 << 20)
	r := b.Room()
	r.Grow(1000)
	kept := r.Use()
	r.Use() // by nobody
	eventually(t, "the forgotten use to end", func() bool { runtime.GC(); return r.users.Load() == 1 })
	if b.States() != 1000 {
		t.Error(b.States())
	}
	kept.End()
	kept.End()
	if b.States() != 0 {
		t.Error(b.States())
	}
}

// Two streams on one budget, of which one was idle: real messages, and a real bucket beside them.
func TestBudget_OfRealStreams(t *testing.T) {
	w := newWorld(t)
	w.stream(ordinary())
	idleCfg := ordinary("i.>")
	idleCfg.Name = "I"
	w.stream(idleCfg)
	b := NewBudget(400_000)
	busy := w.run(Config{Budget: b}).ready()
	idle := w.run(Config{Budget: b, Stream: "I"}).ready()
	w.put("i.1")
	w.many(3000, "s.1", "s.2")
	busy.wait("everything", func(s State) bool { return s.Cursor == 3000 })
	if n := 3000 - busy.State().Floor; n < 800 {
		t.Errorf("the busy one has %d messages", n)
	}
	eventually(t, "the idle one's message", func() bool { return idle.State().Cursor == 1 })
	if s := idle.State(); s.Floor != 0 {
		t.Errorf("%+v", s)
	}
	w.many(3000, "i.1", "i.2")
	idle.wait("everything", func(s State) bool { return s.Cursor == 3001 })
	if n := 3001 - idle.State().Floor; n < 400 {
		t.Errorf("who was idle has %d messages", n)
	}
	if n := 3000 - busy.State().Floor; n > 700 {
		t.Errorf("the other one has not given way: %d messages", n)
	}
	kv := w.loose(1)
	for i := range 50 {
		w.set(kv, fmt.Sprint("k", i))
	}
	cfg := bucketFeed()
	cfg.Budget = b
	f := w.run(cfg).ready()
	if got := f.rows(); !strings.HasPrefix(got, "1 k0, ") {
		t.Errorf("no table: %s", got)
	}
	if b.Used() > 400_000 {
		t.Errorf("%d bytes", b.Used())
	}
}

func TestBudget_GrantsWhatOthersLeaveAndAPartAtLeast(t *testing.T) {
	b := NewBudget(1000)
	newFiller(b)
	newFiller(b)
	for _, c := range [][2]int64{{100, 100}, {2000, 900}, {2000, 500}, {30, 30}} {
		if got := b.grant(c[0]); got != c[1] {
			t.Errorf("%d of %d, want %d", got, c[0], c[1])
		}
	}
}
