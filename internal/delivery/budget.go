package delivery

import (
	"math"
	"time"
)

// budget is a client's: for events and for bytes the time at which the bucket will be full again (the generic cell rate algorithm, which
// decides as a token bucket does and needs one number).
type budget struct{ events, bytes int64 }

// toll is what events and their bytes take from a budget: how long each bucket takes to get that back. It is worked out once for all
// clients, so that a client costs additions only.
type toll struct{ events, bytes int64 }

func (t toll) plus(u toll) toll  { return toll{t.events + u.events, t.bytes + u.bytes} }
func (t toll) minus(u toll) toll { return toll{t.events - u.events, t.bytes - u.bytes} }

const (
	// rateBucket is how long a full budget takes to fill, so how much may be sent at once.
	rateBucket = int64(time.Second)
	// rateLongest bounds what absurd rates make of that, for a run of as many entries as there can be not to overflow: four days.
	rateLongest = 4e14
	// never is when no bucket is full, however much of a toll is taken from it again.
	never = math.MinInt64 / 2
)

// toll is what so many events and bytes take. What has no limit takes nothing.
func (p *Policy) toll(events, bytes int) toll {
	return toll{refill(events, p.EventsPerSecond), refill(bytes, float64(p.BytesPerSecond))}
}

// refill is how long a bucket takes to get n back.
func refill(n int, perSecond float64) int64 {
	if perSecond <= 0 {
		return 0
	}
	return int64(min(float64(n)*(float64(time.Second)/perSecond), rateLongest))
}

// deepest is how much may be missing in a client's buckets before nothing more is given. A bucket holds one at least.
func (p *Policy) deepest() toll {
	one := p.toll(1, 1)
	return toll{max(rateBucket, one.events), max(rateBucket, one.bytes)}
}

// take is the budget less a toll, and from when on that may be taken: when it is there, or when the bucket is full and it never will be.
func (b budget) take(now int64, t, deepest toll) (left budget, due int64) {
	left = budget{max(b.events, now) + t.events, max(b.bytes, now) + t.bytes}
	return left, max(now, min(left.events-deepest.events, b.events), min(left.bytes-deepest.bytes, b.bytes))
}

// latest is when buckets must be full again at the latest so that a toll can be taken now. What is more than a bucket holds is not looked
// at here: see take.
func (t toll) latest(now int64, deepest toll) budget {
	if t.events > deepest.events || t.bytes > deepest.bytes {
		return budget{never, never}
	}
	return budget{now + deepest.events - t.events, now + deepest.bytes - t.bytes}
}

// later is the latest for a toll that is less by so much.
func (b budget) later(t toll) budget { return budget{b.events + t.events, b.bytes + t.bytes} }

// reaches says whether a budget will be full early enough. That is all a client costs that is far from its limits.
func (b *budget) reaches(latest budget) bool {
	return b.events <= latest.events && b.bytes <= latest.bytes
}

// pay takes a toll that is there.
func (b *budget) pay(now int64, t toll) {
	b.events = max(b.events, now) + t.events
	b.bytes = max(b.bytes, now) + t.bytes
}

// giveBack undoes so much of what was paid just now.
func (b *budget) giveBack(t toll) { b.events, b.bytes = b.events-t.events, b.bytes-t.bytes }

// budgets is a table beside the slots, with room only where clients have budgets. It holds no pointers to anything but its slabs.
type budgets struct{ slabs []*[slabSize]budget }

// of is the budget of a slot.
func (t *budgets) of(i uint32) *budget {
	n := int(i / slabSize)
	if n >= len(t.slabs) || t.slabs[n] == nil {
		t.grow(n)
	}
	return &t.slabs[n][i%slabSize]
}

func (t *budgets) grow(n int) {
	for n >= len(t.slabs) {
		t.slabs = append(t.slabs, nil)
	}
	t.slabs[n] = new([slabSize]budget)
}
