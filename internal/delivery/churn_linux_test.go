package delivery

import (
	"testing"
	"time"

	"pgregory.net/rapid"
)

// backlog is how many entries of the group are sealed and have not had their round.
func (b *byHand) backlog() (n int) {
	g := b.group()
	for e := g.log.unsent; e != nil && e != g.log.tail; e = e.next {
		n++
	}
	return n
}

// TestRoundsEndWhereMembersComeAndGo publishes without a pause to a group that one leaves and another joins in every slice: each entry's
// round is over after about one pass all the same.
func TestRoundsEndWhereMembersComeAndGo(t *testing.T) {
	for _, churn := range []bool{false, true} {
		b := newByHand(t, Policy{Heartbeat: time.Minute, BufferBytes: 1 << 20})
		const members = 600
		for range members {
			b.join()
		}
		most := 0
		for n := range 200 {
			b.publish(100)
			if churn {
				b.leave(b.group().members[n*37%members])
				b.join()
			}
			b.slice()
			most = max(most, b.backlog())
		}
		if most > 2*lapParts {
			t.Errorf("members come and go %v: up to %d entries waited for the end of their round, want %d at most", churn, most, 2*lapParts)
		}
		for !b.group().idle() {
			b.slice()
		}
		b.check()
		b.close()
	}
}

// laps are looks without sends.
type laps struct {
	t     *rapid.T
	slots slots
	group *group
	last  *entry         // that is along
	of    map[*entry]lap // by entry
}

// lap is what an entry should have.
type lap struct {
	unseen map[uint32]bool // members that nobody has looked at since it began to be given
	most   uint32          // looks that it may take
}

func (l *laps) join() {
	i, sl := l.slots.take()
	l.group.join(i, sl)
	l.mayTake(1)
}

func (l *laps) mayTake(more uint32) {
	for e, lap := range l.of {
		lap.most += more
		l.of[e] = lap
	}
}

func (l *laps) leave() {
	g := l.group
	if len(g.members) == 1 {
		return
	}
	i := g.members[rapid.IntRange(0, len(g.members)-1).Draw(l.t, "who")]
	g.leave(&l.slots, l.slots.at(i))
	l.slots.give(i)
	for _, lap := range l.of {
		delete(lap.unseen, i)
	}
	l.mayTake(1)
}

func (l *laps) along() {
	e := &entry{}
	if l.group.log.unsent == nil {
		l.group.log.unsent = e
	} else {
		l.last.next = e
	}
	l.last = e
	l.group.sendAlong(e)
	lap := lap{unseen: map[uint32]bool{}, most: uint32(len(l.group.members))}
	for _, i := range l.group.members {
		lap.unseen[i] = true
	}
	l.of[e] = lap
}

// look ends the rounds that are over, and looks at a member.
func (l *laps) look() {
	g := l.group
	for e := g.log.unsent; e != nil && g.round.looks-e.looks >= uint32(len(g.members)); e = e.next {
		if len(l.of[e].unseen) > 0 {
			l.t.Fatalf("its round is over, and nobody has looked at %v", l.of[e].unseen)
		}
		delete(l.of, e)
		g.log.unsent = e.next
	}
	i := g.lookOn()
	for e, lap := range l.of {
		delete(lap.unseen, i)
		if lap.most == 0 {
			l.t.Fatal("its round does not end")
		}
		lap.most--
		l.of[e] = lap
	}
}

// TestEveryMemberIsLookedAtBeforeARoundEnds takes the looks apart from what is sent: whoever is there when an entry begins to be given has
// been looked at when its round ends, and it ends soon. The count of looks wraps meanwhile.
func TestEveryMemberIsLookedAtBeforeARoundEnds(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		l := &laps{t: t, group: &group{}, of: map[*entry]lap{}}
		l.slots.free = none
		l.group.round.looks = ^uint32(0) - rapid.Uint32Range(0, 40).Draw(t, "before the wrap")
		for range rapid.IntRange(2, 12).Draw(t, "members") {
			l.join()
		}
		l.group.round.at = rapid.Uint32Range(0, uint32(len(l.group.members)-1)).Draw(t, "first")
		for range rapid.IntRange(50, 300).Draw(t, "steps") {
			switch rapid.SampledFrom([]string{"look", "look", "look", "look", "along", "leave", "join"}).Draw(t, "step") {
			case "along":
				l.along()
			case "look":
				l.look()
			case "leave":
				l.leave()
			case "join":
				l.join()
			}
			for n, i := range l.group.members {
				if l.slots.at(i).member != uint32(n) {
					t.Fatalf("member %d thinks that it is %d", n, l.slots.at(i).member)
				}
			}
		}
	})
}
