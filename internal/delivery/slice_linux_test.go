package delivery

import (
	"testing"
	"time"
)

// TestASliceThatSendsNothingEndsAsWell has a round find nobody to send to: every slice of it ends when its time is over.
func TestASliceThatSendsNothingEndsAsWell(t *testing.T) {
	for _, refused := range []bool{false, true} {
		policy := Policy{Heartbeat: time.Minute, BufferBytes: 1 << 20}
		if refused {
			policy.EventsPerSecond = 4
		}
		b := newByHand(t, policy)
		defer b.shard.poll.close()
		b.join()
		g := b.group()
		const members = 20_000
		for range members {
			i, sl := b.shard.slots.take()
			sl.fd, sl.state = -1, reading
			if g.join(i, sl); refused {
				sl.state = live
				b.shard.budgets.of(i).events = b.shard.now + int64(time.Hour)
			}
		}
		b.publish(100)
		now := b.shard.server.cfg.Now()
		b.shard.server.cfg.Now = func() time.Time { now = now.Add(sliceTime); return now }
		most := uint32(0)
		for !g.idle() {
			before := g.round.looks
			b.shard.runRounds()
			most = max(most, g.round.looks-before)
		}
		if most > 1000 {
			t.Errorf("refused %v: the shard has looked at %d members before it looked at its mailbox", refused, most)
		}
	}
}

// TestNobodyIsFirstInEveryRound lets rounds follow each other that are too large to be one send.
func TestNobodyIsFirstInEveryRound(t *testing.T) {
	for _, members := range []int{31, 100} {
		b := newByHand(t, Policy{Heartbeat: time.Minute, BufferBytes: 64 << 20})
		defer b.close()
		for range members {
			b.join()
		}
		g := b.group()
		const rounds = 8
		for range rounds {
			b.publish(entryLimit)
		}
		first := map[uint32]bool{}
		for !g.idle() {
			begins, looks := g.round.entry == nil, g.round.looks
			b.slice()
			if n := g.round.looks - looks; begins && n > 0 {
				first[(g.round.at+uint32(members)-n%uint32(members))%uint32(members)] = true
			}
		}
		if len(first) < rounds/2 {
			t.Errorf("%d members: in %d rounds %d of them were first", members, rounds, len(first))
		}
		b.check()
	}
}
