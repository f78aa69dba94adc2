package delivery

import "time"

// The wheel gives every client its turn: a heartbeat when it was silent, an end when its time has come. One turn per client is
// planned at a time, linked through the slots, so the wheel costs nothing per client beyond its slot.
const (
	tickLength  = 100 * time.Millisecond
	wheelSpokes = 512 // 51 s; a turn further away comes round again
)

type wheel struct {
	heads [wheelSpokes]uint32
	tick  uint32 // the last tick that was worked off
	count int
	// Whose turn it is, worked off in slices. With the generation, since a slot may change hands before its turn.
	current []turn
}

type turn struct{ slot, gen uint32 }

func (w *wheel) init() {
	for i := range w.heads {
		w.heads[i] = none
	}
}

func (w *wheel) add(t *slots, i uint32, sl *slot, due uint32) {
	if due <= w.tick {
		due = w.tick + 1
	}
	sl.due = due
	head := &w.heads[due%wheelSpokes]
	sl.wheelPrev, sl.wheelNext = none, *head
	if *head != none {
		t.at(*head).wheelPrev = i
	}
	*head = i
	w.count++
}

func (w *wheel) remove(t *slots, i uint32, sl *slot) {
	if sl.wheelPrev != none {
		t.at(sl.wheelPrev).wheelNext = sl.wheelNext
	} else if head := &w.heads[sl.due%wheelSpokes]; *head == i {
		*head = sl.wheelNext
	} else {
		return // not on the wheel
	}
	if sl.wheelNext != none {
		t.at(sl.wheelNext).wheelPrev = sl.wheelPrev
	}
	sl.wheelPrev, sl.wheelNext = none, none
	w.count--
}

// advance moves to the next tick that is not later than now and collects whose turn it is. It says whether there was a tick.
func (w *wheel) advance(t *slots, now uint32) bool {
	if w.tick >= now {
		return false
	}
	w.tick++
	for i := w.heads[w.tick%wheelSpokes]; i != none; {
		sl := t.at(i)
		next := sl.wheelNext
		if sl.due <= w.tick {
			w.remove(t, i, sl)
			w.current = append(w.current, turn{i, sl.gen})
		}
		i = next
	}
	return true
}

// idle is how many ticks from now nothing happens.
func (w *wheel) idle() uint32 {
	if w.count == 0 {
		return wheelSpokes
	}
	for n := uint32(1); n < wheelSpokes; n++ {
		if w.heads[(w.tick+n)%wheelSpokes] != none {
			return n
		}
	}
	return wheelSpokes
}
