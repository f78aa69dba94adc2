package delivery_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"headgate/internal/delivery"
)

// A client that jumps over changes of a source with a state would keep what they changed, for ever. It must have the state of the source in
// the end, and no id before that says it had.

// jumping makes clients jump that are slow or over their rate.
func (r *rig) jumping() {
	r.policy.BufferBytes = 16 << 20
	r.policy.DropOldest, r.policy.SlowGaps, r.policy.RateGaps = true, jumpGaps("slow"), jumpGaps("rate")
}

func TestJump_OverChangesOfAState(t *testing.T) {
	onBothWithBuckets(t, func(t *testing.T, r *rig, b *buckets) {
		r.jumping()
		p := r.blocked(b)
		b.remove(0, "gone")
		b.put(1, "new", "1")
		b.flood(0, 300)
		r.settle()
		p.read("the jump", func() bool { return p.slow == 2 })
		b.finish("end")
		p.last("end")
		if p.stale != 2 || p.gaps != 0 {
			t.Errorf("%d of %d gaps for the jump say that a state follows, and %d say that a source has begun again", p.stale, p.slow, p.gaps)
		}
		if found, err := r.server.Check(context.Background()); err != nil || len(found) > 0 {
			t.Errorf("%v %v", found, err)
		}
	})
}

func TestJump_WhatHasNotChangedIsNotReadAnew(t *testing.T) {
	onBothWithBuckets(t, func(t *testing.T, r *rig, b *buckets) {
		r.jumping()
		p := r.blocked(b)
		b.remove(0, "gone")
		b.flood(0, 300)
		r.settle()
		p.read("the jump", func() bool { return p.slow == 2 })
		if p.stale != 1 || !p.owed[0] {
			t.Errorf("%d states follow, of %v", p.stale, p.owed)
		}
		b.finish("end")
		p.last("end")
	})
}

func TestJump_NoIDBeforeTheState(t *testing.T) {
	onBothWithBuckets(t, func(t *testing.T, r *rig, b *buckets) {
		r.jumping()
		p := r.blocked(b)
		b.remove(0, "gone")
		b.flood(1, 300)
		r.settle()
		b.keepNext() // so it is told of the jump, and is not given the state
		p.read("the jump", func() bool { return p.slow == 2 })
		r.server.EndWhere(func(uint64) bool { return true }, delivery.Draining, 0)
		p.read("$end", func() bool { return p.ended }) // see judge
		if len(p.owed) != 2 {
			t.Errorf("the states of %v are owed", p.owed)
		}
		b.answer()
	})
}

// A client that takes nothing is not given one state after the other: it is ended as any other.
func TestJump_ABlockedClientIsGivenNoStateInVain(t *testing.T) {
	r := newRig(t, "socket")
	b := newBuckets(r)
	r.jumping()
	r.blocked(b)
	reads := func() int {
		b.mu.Lock()
		defer b.mu.Unlock()
		return b.states
	}
	before := reads()
	for range 5 {
		b.flood(0, 300)
		r.settle()
	}
	if n := reads() - before; n > 1 {
		t.Errorf("%d states were read for a client that takes nothing", n)
	}
	for n := 0; len(r.ends()) == 0 && n < 100; n++ {
		time.Sleep(10 * time.Millisecond)
		r.forward(time.Second)
	}
	if got := r.ends(); len(got) != 1 || got[0].Reason != delivery.WriteTimeout {
		t.Errorf("it ended with %+v", got)
	}
}

func TestJump_OverItsRate(t *testing.T) {
	onBothWithBuckets(t, func(t *testing.T, r *rig, b *buckets) {
		r.jumping()
		r.policy.EventsPerSecond, r.policy.WriteTimeout = 20, 0
		p := b.page(r.connect(snapshotWanted)).firstState(r)
		for n := range 400 {
			b.put(0, "often", fmt.Sprint(n))
		}
		b.remove(0, "gone")
		r.settle()
		r.forward(1100 * time.Millisecond)
		p.read("the jump", func() bool { return p.slow == 2 })
		b.finish("end")
		p.last("end")
		if r.rate.Load() == 0 || r.slow.Load() != 0 || p.stale == 0 {
			t.Errorf("%d gaps of rates, %d of slow clients, %d states", r.rate.Load(), r.slow.Load(), p.stale)
		}
	})
}

// What is read is slowed down to the budget and never cut, also when the client was behind for want of budget before.
func TestJump_AStateIsNotCutForARate(t *testing.T) {
	for _, policy := range []string{"disconnect", "drop_oldest"} {
		t.Run(policy, func(t *testing.T) {
			onBothWithBuckets(t, func(t *testing.T, r *rig, b *buckets) {
				r.jumping()
				r.policy.DropOldest = policy == "drop_oldest"
				r.policy.EventsPerSecond, r.policy.WriteTimeout = 20, 0
				p := b.page(r.connect(snapshotWanted)).firstState(r)
				for n := range 24 {
					b.put(0, "often", fmt.Sprint(n))
				}
				b.renew(1, "new")
				for n := range 28 {
					b.put(1, fmt.Sprint("key", n), "1")
				}
				b.keepNext()
				p.read("the new beginning", func() bool { return p.gaps == 1 })
				before := len(p.owed)
				b.answer()
				p.read("the state", func() bool { return len(p.owed) == 0 })
				if before != 1 || p.slow != 0 {
					t.Errorf("%d states owed, %d gaps for jumps", before, p.slow)
				}
			})
		})
	}
}

// Slow and quick clients, changes at any moment and no new beginnings: in the end everybody has what there is.
func TestJump_UnderLoad(t *testing.T) {
	onBothWithBuckets(t, func(t *testing.T, r *rig, b *buckets) {
		r.jumping()
		r.policy.BufferBytes = 512 << 10
		var pages []*page
		for range 6 {
			p := b.page(r.connect(snapshotWanted))
			pages = append(pages, p.read("the first state", func() bool { return p.s.id != "" }))
		}
		key := func() string { return string(rune('a' + rand.IntN(26))) }
		for round := range 25 {
			for range 1 + rand.IntN(20) {
				b.flood(rand.IntN(2), rand.IntN(16))
				b.put(rand.IntN(2), key(), fmt.Sprint(round))
				b.remove(rand.IntN(2), key())
			}
			value := string(rune('A' + round))
			b.finish(value)
			for _, p := range pages {
				if rand.IntN(3) > 0 || round == 24 {
					p.last(value)
				}
			}
		}
		if r.slow.Load() == 0 {
			t.Error("nobody has jumped")
		}
		if found, err := r.server.Check(context.Background()); err != nil || len(found) > 0 {
			t.Errorf("%v %v", found, err)
		}
	})
}
