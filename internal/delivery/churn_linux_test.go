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
		defer b.close()
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
	}
}

// TestEveryMemberIsLookedAtBeforeARoundEnds takes the looks apart from what is sent: whoever is there when an entry begins to be given has
// been looked at when its round ends, and it ends soon. The count of looks wraps meanwhile.
func TestEveryMemberIsLookedAtBeforeARoundEnds(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var s slots
		s.free = none
		g := &group{round: round{looks: ^uint32(0) - rapid.Uint32Range(0, 40).Draw(t, "before the wrap")}}
		join := func() {
			i, sl := s.take()
			g.join(i, sl)
		}
		for range rapid.IntRange(1, 12).Draw(t, "members") {
			join()
		}
		g.round.at = rapid.Uint32Range(0, uint32(len(g.members)-1)).Draw(t, "first")
		unseen, looks, most := map[*entry]map[uint32]bool{}, map[*entry]int{}, map[*entry]int{}
		var last *entry
		for range rapid.IntRange(1, 200).Draw(t, "steps") {
			switch rapid.SampledFrom([]string{"look", "look", "look", "look", "along", "leave", "join"}).Draw(t, "step") {
			case "along":
				e := &entry{}
				if last != nil {
					last.next = e
				}
				if last = e; g.log.unsent == nil {
					g.log.unsent = e
				}
				g.sendAlong(e)
				unseen[e] = map[uint32]bool{}
				for _, i := range g.members {
					unseen[e][i] = true
				}
				most[e] = len(g.members)
			case "look":
				for e := g.log.unsent; e != nil && g.round.looks-e.looks >= uint32(len(g.members)); e = e.next {
					if len(unseen[e]) > 0 {
						t.Fatalf("its round is over, and nobody has looked at %v", unseen[e])
					}
					if looks[e] > most[e] {
						t.Fatalf("%d looks, want %d at most", looks[e], most[e])
					}
					if g.log.unsent = e.next; e.next == nil {
						last = nil
					}
				}
				i := g.lookOn()
				for e := g.log.unsent; e != nil; e = e.next {
					delete(unseen[e], i)
					looks[e]++
				}
			case "leave":
				if len(g.members) == 1 {
					continue
				}
				i := g.members[rapid.IntRange(0, len(g.members)-1).Draw(t, "who")]
				g.leave(&s, s.at(i))
				s.give(i)
				for e := g.log.unsent; e != nil; e = e.next {
					delete(unseen[e], i)
					most[e]++
				}
			case "join":
				join()
				for e := g.log.unsent; e != nil; e = e.next {
					most[e]++
				}
			}
			for n, i := range g.members {
				if s.at(i).member != uint32(n) {
					t.Fatalf("member %d thinks that it is %d", n, s.at(i).member)
				}
			}
		}
	})
}
