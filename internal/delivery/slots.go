package delivery

// none is no slot.
const none = ^uint32(0)

const slabSize = 1024

type state uint8

const (
	free    state = iota
	live          // follows the group's log
	reading       // reads from its own position; has a side
)

// slot is everything that is kept for a quiet client. It holds no pointer, so that the garbage collector never looks at a million
// of them. A client that is anything but quiet has a side as well.
type slot struct {
	tag       uint64
	next      uint64 // number of the log entry it gets next
	events    uint64
	bytes     uint64
	fd        int32  // -1: ResponseWriter transport
	gen       uint32 // raised when the slot is given back, so that late messages miss
	group     uint32
	member    uint32 // index in the group's members
	wheelNext uint32 // also: the next free slot
	wheelPrev uint32
	due       uint32 // tick of its turn on the wheel
	opened    uint32 // tick
	written   uint32 // tick of the last write
	deadline  uint32 // tick at which it ends; 0 = none
	told      uint32 // version of the position it was last told
	received  uint16 // bytes it sent after its request
	notice    uint32 // tick at which it is told that its identity ends; 0 = not, or it has been
	state     state
	deadlineR Reason
	hasSide   bool
}

// slots is the table. Slabs never move, so a *slot stays good while the slot is taken.
type slots struct {
	slabs []*[slabSize]slot
	free  uint32
	used  int
}

func (t *slots) at(i uint32) *slot { return &t.slabs[i/slabSize][i%slabSize] }

// take gives a zeroed slot, all but its generation.
func (t *slots) take() (uint32, *slot) {
	if t.free == none {
		t.grow()
	}
	i := t.free
	sl := t.at(i)
	t.free = sl.wheelNext
	t.used++
	*sl = slot{gen: sl.gen, wheelNext: none, wheelPrev: none}
	return i, sl
}

func (t *slots) grow() {
	base := uint32(len(t.slabs) * slabSize)
	slab := new([slabSize]slot)
	for i := range slab {
		slab[i].wheelNext = base + uint32(i) + 1
	}
	slab[slabSize-1].wheelNext = none
	t.slabs = append(t.slabs, slab)
	t.free = base
}

func (t *slots) give(i uint32) {
	sl := t.at(i)
	*sl = slot{gen: sl.gen + 1, wheelNext: t.free, fd: -1}
	t.free = i
	t.used--
}

// each calls f for every taken slot. f may give the slot back.
func (t *slots) each(f func(i uint32, sl *slot)) {
	for n, slab := range t.slabs {
		for i := range slab {
			if slab[i].state != free {
				f(uint32(n*slabSize+i), &slab[i])
			}
		}
	}
}
