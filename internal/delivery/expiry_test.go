package delivery_test

import (
	"strings"
	"testing"
	"time"

	"headgate/internal/delivery"
)

func TestExpiryIsAnnouncedAndThenEndsTheStream(t *testing.T) {
	onBoth(t, func(t *testing.T, r *rig) {
		r.expires, r.notice, r.policy.WriteTimeout = 2*time.Minute, 30*time.Second, 0
		s := r.connect("").start()
		s.expect("$ready", "")
		r.forward(88 * time.Second)
		r.topic.publish("still here")
		before := s.expect("message", "still here")
		r.forward(2 * time.Second)
		if e := s.expect("$expiring", `{"in":30}`); e.ID != before.ID {
			t.Errorf("it moved the id from %q to %q", before.ID, e.ID)
		}
		r.topic.publish("in between")
		s.expect("message", "in between")
		r.forward(28 * time.Second)
		r.topic.publish("the last")
		s.expect("message", "the last")
		r.forward(2 * time.Second)
		s.expect("$end", `{"reason":"token-expired","reconnect":true}`)
		s.expectEOF()
		eventually(t, "ended", func() bool { return len(r.ends()) == 1 })
		if got := r.ends()[0].Reason; got != delivery.TokenExpired {
			t.Errorf("reason %v", got)
		}
	})
}

func TestExpiryThatIsNearIsAnnouncedAtOnce(t *testing.T) {
	onBoth(t, func(t *testing.T, r *rig) {
		r.expires, r.notice, r.policy.WriteTimeout = 5*time.Second, 30*time.Second, 0
		s := r.connect("").start()
		s.expect("$ready", "")
		r.forward(200 * time.Millisecond)
		s.expect("$expiring", `{"in":5}`)
		r.forward(5 * time.Second)
		s.expect("$end", `{"reason":"token-expired","reconnect":true}`)
	})
}

func TestExpiryThatHasPassedEndsTheStream(t *testing.T) {
	onBoth(t, func(t *testing.T, r *rig) {
		r.expires, r.policy.WriteTimeout = -time.Minute, 0
		s := r.connect("").start()
		s.expect("$ready", "")
		r.forward(200 * time.Millisecond)
		s.expect("$end", `{"reason":"token-expired","reconnect":true}`)
	})
}

func TestExpiryBehindTheLifetimeIsNotAnnounced(t *testing.T) {
	onBoth(t, func(t *testing.T, r *rig) {
		r.expires, r.notice, r.lifetime, r.policy.WriteTimeout = time.Minute, 30*time.Second, 40*time.Second, 0
		s := r.connect("").start()
		s.expect("$ready", "")
		r.forward(41 * time.Second)
		s.expect("$end", `{"reason":"lifetime","reconnect":true}`)
	})
}

func TestExpiryIsNotAnnouncedInADrain(t *testing.T) {
	onBoth(t, func(t *testing.T, r *rig) {
		r.expires, r.notice, r.policy.WriteTimeout = time.Minute, 30*time.Second, 0
		s := r.connect("").start()
		s.expect("$ready", "")
		r.server.EndWhere(func(uint64) bool { return true }, delivery.Draining, 0)
		r.forward(time.Second)
		s.expect("$end", `{"reason":"draining","reconnect":true}`)
	})
}

// A client in the middle of an event is told behind it, and one that takes nothing is ended all the same.
func TestExpiryComesBetweenTwoEvents(t *testing.T) {
	onBoth(t, func(t *testing.T, r *rig) {
		r.expires, r.notice, r.policy.WriteTimeout, r.policy.BufferBytes, r.policy.BufferAge = time.Minute, 30*time.Second, 0, 64<<20, 0
		s := r.connect("")
		eventually(t, "it is there", func() bool { return r.server.Streams() == 1 })
		large := strings.Repeat("x", 8<<20) // more than sockets hold
		r.topic.publish(large)
		r.settle()
		r.forward(31 * time.Second)
		s.start().expect("$ready", "")
		s.expect("message", large)
		r.forward(200 * time.Millisecond)
		s.expect("$expiring", "")
		r.topic.publish(large)
		eventually(t, "it is being sent", func() bool { return r.server.Streams() == 1 })
		r.forward(31 * time.Second)
		r.forward(3 * time.Second)
		eventually(t, "ended", func() bool { return len(r.ends()) == 1 })
	})
}

func TestExpiryIsAnnouncedOnABusyStream(t *testing.T) {
	onBoth(t, func(t *testing.T, r *rig) {
		r.expires, r.notice, r.policy.WriteTimeout = 10*time.Minute, time.Minute, 0
		s := r.connect("").start()
		s.expect("$ready", "")
		// Time passes unnoticed, so whenever the shard looks at the clock it has an event to send too.
		r.offset.Add(int64(9*time.Minute + time.Second))
		// A write may be under way at every look, and the next look is a tick later.
		for begun := time.Now(); ; {
			if time.Since(begun) > 10*time.Second {
				t.Fatal("not told within a hundred looks")
			}
			r.topic.publish("busy")
			e, err := s.next()
			if err != nil {
				t.Fatal(err)
			}
			if e.Type == "$expiring" {
				return
			}
			if e.Type != "message" || e.Data != "busy" {
				t.Fatalf("%s %q", e.Type, e.Data)
			}
		}
	})
}
