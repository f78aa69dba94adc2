package delivery

import (
	"bytes"
	"math/rand/v2"
	"testing"
	"unsafe"

	"pgregory.net/rapid"

	"headgate/internal/sse"
)

func TestWheelGivesEveryoneItsTurnOnceAndNotBefore(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var w wheel
		w.init()
		var slots slots
		slots.free = none
		due := map[uint32]uint32{}
		for range rapid.IntRange(1, 200).Draw(t, "clients") {
			i, sl := slots.take()
			sl.state = live
			at := rapid.Uint32Range(1, 3*wheelSpokes).Draw(t, "due")
			w.add(&slots, i, sl, at)
			due[i] = at
			if rapid.IntRange(0, 9).Draw(t, "remove") == 0 {
				w.remove(&slots, i, sl)
				w.remove(&slots, i, sl) // twice does no harm
				delete(due, i)
			}
		}
		now := uint32(0)
		for w.count > 0 {
			if w.idle() > 1 && len(w.current) == 0 && w.heads[(w.tick+1)%wheelSpokes] != none {
				t.Fatal("idle although somebody is on the next spoke")
			}
			now++
			if !w.advance(&slots, now) {
				t.Fatal("the wheel stands still")
			}
			for _, turn := range w.current {
				if due[turn.slot] != now {
					t.Fatalf("slot %d, due at %d, had its turn at %d", turn.slot, due[turn.slot], now)
				}
				delete(due, turn.slot)
			}
			w.current = nil
		}
		if len(due) != 0 {
			t.Fatalf("%d never had their turn", len(due))
		}
	})
}

func TestPeriodSpreadsOverAQuarterOfTheInterval(t *testing.T) {
	least, most := ^uint32(0), uint32(0)
	for i := range uint32(10000) {
		p := period(i, 20e9)
		least, most = min(least, p), max(most, p)
	}
	if least < 150 || most > 200 || most-least < 45 {
		t.Fatalf("periods from %d to %d ticks, want 150 to 200", least, most)
	}
}

func TestSlotsAreReusedUnderANewGeneration(t *testing.T) {
	var s slots
	s.free = none
	i, sl := s.take()
	gen := sl.gen
	sl.state, sl.tag = live, 7
	s.give(i)
	j, again := s.take()
	if i != j || again.gen == gen || again.tag != 0 || s.used != 1 {
		t.Fatalf("slot %d generation %d, then slot %d generation %d, %d used", i, gen, j, again.gen, s.used)
	}
}

// TestSizeOfASlot holds what a quiet client costs here, identity included.
func TestSizeOfASlot(t *testing.T) {
	if size := unsafe.Sizeof(slot{}); size > 88 {
		t.Errorf("%d bytes", size)
	}
}

// TestSizeOfAGroup holds what a client with a subject of its own costs here: the next size of Go's allocator is 176 bytes.
func TestSizeOfAGroup(t *testing.T) {
	if size := unsafe.Sizeof(group{}); size > 160 && unsafe.Sizeof(uintptr(0)) == 8 {
		t.Errorf("a group takes %d bytes, want at most 160", size)
	}
}

func TestALogThatIsCaughtUpHoldsNothing(t *testing.T) {
	var b buffers
	var l groupLog
	for range 200 {
		var want []byte
		for range 1 + rand.IntN(5) {
			f := sse.NewFrame("x", bytes.Repeat([]byte("y"), rand.IntN(3000)))
			l.append(&b, f, []byte("1~aaaaaa.1"), 0, 0, 0)
			want = f.AppendBlock(want, []byte("1~aaaaaa.1"))
		}
		e := l.seal(&b, 0)
		if !bytes.Equal(e.bytes, want) {
			t.Fatalf("sealed %q, want %q", e.bytes, want)
		}
		l.unsent = nil
		l.trim(&b)
		if l.first != nil {
			t.Fatal("a caught-up log holds entries")
		}
	}
}
