package delivery

import (
	"bytes"
	"testing"
	"time"
)

// TestANoticeComesInTimeUnderLoad publishes without a pause: everybody hears that his identity ends, although hardly anybody has ever been
// given everything.
func TestANoticeComesInTimeUnderLoad(t *testing.T) {
	b := newByHand(t, Policy{Heartbeat: time.Minute, BufferBytes: 1 << 20})
	defer b.close()
	now := b.shard.server.cfg.Now()
	b.shard.server.cfg.Now = func() time.Time { return now }
	const members = 1000
	for range members {
		b.join()
	}
	const ticks = 20
	for _, i := range b.group().members {
		sl := b.shard.slots.at(i)
		sl.notice, sl.deadline, sl.deadlineR = b.shard.tick+1, b.shard.tick+ticks+2, TokenExpired
		b.shard.replan(i, sl, b.group())
	}
	for range ticks {
		now = now.Add(tickLength)
		for range 1 + members/sliceSends {
			b.publish(100)
			b.shard.readTime()
			b.shard.takeTurns()
			b.slice()
		}
	}
	told := 0
	for _, f := range b.members {
		told += bytes.Count(f.got, []byte("event: $expiring\n"))
	}
	if told != members {
		t.Errorf("%d of %d members heard that their identity ends", told, members)
	}
}

// TestWhatIsToldBetweenTwoEventsLosesNone tells a client something whose socket refuses it, while an event is sealed that it has not been given.
func TestWhatIsToldBetweenTwoEventsLosesNone(t *testing.T) {
	b := newByHand(t, Policy{Heartbeat: time.Minute, BufferBytes: 1 << 20})
	defer b.close()
	b.join()
	g, s := b.group(), b.shard
	i := g.members[0]
	sl, f := s.slots.at(i), b.members[i]
	b.publish(10)
	g.log.seal(&s.buffers, s.now)
	b.publish(10)
	for junk := bytes.Repeat([]byte("junk"), 1000); ; {
		if _, err := send(sl.fd, junk); err != nil {
			break
		}
	}
	s.tell(i, sl, g, []byte(":told\n\n"))
	if !sl.hasSide {
		t.Fatal("the socket has refused nothing")
	}
	for !g.idle() || sl.hasSide {
		b.slice()
	}
	_, rest, ok := bytes.Cut(f.got, []byte(":told\n\n"))
	if f.got = rest; !ok {
		t.Error("it was not told")
	}
	b.check()
}
