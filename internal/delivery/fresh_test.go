package delivery_test

import (
	"context"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"headgate/internal/delivery"
)

// A source that begins again says so in the log, and some clients pass over what it says there. Each of them must have the state of the
// source in the end, and no id before that says it had.

// onBothWithBuckets is onBoth for a source of two parts, each with a key that does not survive a new beginning.
func onBothWithBuckets(t *testing.T, f func(t *testing.T, r *rig, b *buckets)) {
	onBoth(t, func(t *testing.T, r *rig) {
		b := newBuckets(r)
		b.put(0, "gone", "1")
		b.put(1, "gone", "1")
		f(t, r, b)
	})
}

// here is the position of a client that has everything.
func (b *buckets) here() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.position().String()
}

// remembers is the page of a client that comes back with the first keys.
func (b *buckets) remembers(s *stream) *page {
	p := b.page(s)
	p.keys[0]["gone"], p.keys[1]["gone"] = "1", "1"
	return p
}

// blocked is a client that has been given its first state, and that takes nothing more of what floods it.
func (r *rig) blocked(b *buckets) *page {
	r.t.Helper()
	p := b.page(r.connect(snapshotWanted)).firstState(r)
	b.flood(0, 100)
	r.settle()
	return p
}

func TestFresh_AReaderWhosePlaceWasLetGo(t *testing.T) {
	onBothWithBuckets(t, func(t *testing.T, r *rig, b *buckets) {
		r.policy.BufferBytes = 256 << 10
		b.keepNext()
		p := b.remembers(r.connect(b.here()))
		r.streams(1)
		for part := range 2 {
			b.renew(part, "new")
			b.flood(part, 20)
			r.settle()
		}
		b.finish("end")
		r.settle()
		b.answer()
		p.last("end")
	})
}

func TestFresh_AJumpOverTwoNewBeginnings(t *testing.T) {
	onBothWithBuckets(t, func(t *testing.T, r *rig, b *buckets) {
		r.policy.BufferBytes = 16 << 20
		r.policy.DropOldest, r.policy.SlowGaps = true, slowGaps()
		p := r.blocked(b)
		b.renew(0, "new")
		b.renew(1, "new")
		b.flood(0, 300)
		b.finish("end")
		r.settle()
		p.last("end")
		if p.slow != 2 || p.gaps != 2 {
			t.Errorf("%d gaps for the jump and %d for new beginnings, want 2 and 2", p.slow, p.gaps)
		}
	})
}

func TestFresh_TheSecondNewBeginningComesBeforeTheFirstHasBeenTaken(t *testing.T) {
	onBothWithBuckets(t, func(t *testing.T, r *rig, b *buckets) {
		r.policy.BufferBytes = 64 << 20
		p := r.blocked(b)
		b.renew(0, "new")
		b.put(0, "between", "1")
		b.renew(1, "new")
		b.renew(0, "newer")
		b.finish("end")
		r.settle()
		p.last("end")
	})
}

func TestFresh_ABeginningThatAYoungStateIsAheadOf(t *testing.T) {
	onBothWithBuckets(t, func(t *testing.T, r *rig, b *buckets) {
		b.hold(true)
		b.put(0, "early", "1") // in the state, and not in the log yet
		p := b.page(r.connect(snapshotWanted))
		p.read("the first state", func() bool { return p.s.id != "" })
		r.settle()
		b.renewAhead(1, "new")
		r.settle()
		b.hold(false)
		b.finish("end")
		p.last("end")
	})
}

func TestFresh_NoIDBeforeTheStateThatAJumpOwes(t *testing.T) {
	onBothWithBuckets(t, func(t *testing.T, r *rig, b *buckets) {
		r.policy.BufferBytes = 16 << 20
		r.policy.DropOldest, r.policy.SlowGaps = true, slowGaps()
		p := r.blocked(b)
		b.keepNext() // so it is told of everything, and is not given the state
		b.renew(0, "new")
		b.flood(1, 300)
		r.settle()
		p.read("the new beginning", func() bool { return len(p.owed) > 0 })
		before := p.s.id
		r.server.EndWhere(func(uint64) bool { return true }, delivery.Draining, 0)
		p.read("$end", func() bool { return p.ended })
		if p.s.id != before {
			t.Errorf("$end has id %s", p.s.id)
		}
		b.answer()
	})
}

// The end of a client that is just being told of a new beginning comes behind that, and instead of the state.
func TestFresh_NoIDWithAnEndInsteadOfTheState(t *testing.T) {
	onBothWithBuckets(t, func(t *testing.T, r *rig, b *buckets) {
		r.policy.BufferBytes = 64 << 20
		p := b.page(r.connect(snapshotWanted)).firstState(r)
		b.mu.Lock()
		b.pad = strings.Repeat("x", 8<<20)
		b.mu.Unlock()
		b.renew(0, "new")
		r.settle()
		r.server.EndWhere(func(uint64) bool { return true }, delivery.Draining, 0)
		eventually(t, "the end to be planned", func() bool {
			n, err := r.server.Ending(t.Context())
			return err == nil && n == 1
		})
		p.read("$end", func() bool { return p.ended })
		if p.gaps != 1 {
			t.Errorf("it was told of %d new beginnings", p.gaps)
		}
	})
}

func TestFresh_WhatNobodyCanPassOverIsForgotten(t *testing.T) {
	onBothWithBuckets(t, func(t *testing.T, r *rig, b *buckets) {
		r.policy.BufferBytes = 64 << 20
		agains := func() int {
			n, err := r.server.Agains(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			return n
		}
		p := r.blocked(b)
		for range 100 {
			b.renew(0, "new")
			b.renew(1, "new")
		}
		r.settle()
		r.forward(2 * time.Second)
		r.settle()
		if n := agains(); n != 2 {
			t.Errorf("%d new beginnings are remembered for one that is behind them, want one for each part", n)
		}
		b.finish("end")
		p.last("end")
		eventually(t, "the new beginnings to be forgotten", func() bool {
			r.forward(2 * time.Second)
			return agains() == 0
		})
	})
}

// Slow and quick clients, both policies, new beginnings at any moment: in the end everybody has what there is.
func TestFresh_UnderLoad(t *testing.T) {
	onBothWithBuckets(t, func(t *testing.T, r *rig, b *buckets) {
		r.policy.BufferBytes = 512 << 10
		r.policy.DropOldest, r.policy.SlowGaps = true, slowGaps()
		var pages []*page
		for range 6 {
			p := b.page(r.connect(snapshotWanted))
			pages = append(pages, p.read("the first state", func() bool { return p.s.id != "" }))
		}
		for round := range 40 {
			for range 1 + rand.IntN(20) {
				b.flood(rand.IntN(2), rand.IntN(16))
				if rand.IntN(4) == 0 {
					b.renew(rand.IntN(2), string(rune('a'+rand.IntN(26))))
				}
				b.put(rand.IntN(2), string(rune('a'+rand.IntN(26))), "x")
			}
			value := string(rune('A' + round))
			b.renew(0, "new") // since jumps lose changes otherwise, as they may
			b.renew(1, "new")
			b.finish(value)
			for _, p := range pages {
				if rand.IntN(3) > 0 || round == 39 {
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
