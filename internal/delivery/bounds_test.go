package delivery_test

import (
	"net"
	"runtime"
	"strings"
	"testing"
	"time"

	"headgate/internal/cursor"
	"headgate/internal/delivery"
)

// heap is what is in use after a collection.
func heap() int64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// A client that takes nothing of many tiny events, each of them in a round of its own, holds no more than the bound says. What is kept
// beside the bytes of an event is several times as large as the event.
func TestWhatABlockedClientHoldsOfTinyEventsIsWithinTheBound(t *testing.T) {
	const bound = 4 << 20
	onBoth(t, func(t *testing.T, r *rig) {
		r.policy.BufferBytes, r.policy.BufferAge, r.policy.WriteTimeout = bound, 0, time.Minute
		stuck := r.connect("")
		r.streams(1)
		publish := func(data string) {
			r.topic.publish(data)
			r.topic.log = nil // it is no memory of the server's
			r.settle()
		}
		for blocked := 0; blocked == 0; {
			publish(strings.Repeat("x", 64<<10))
			var err error
			if blocked, err = r.server.Blocked(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		before, most, events := heap(), int64(0), 0
		for ; len(r.ends()) == 0; events++ {
			if publish("12345678"); events%1000 != 0 {
				continue
			}
			if most = max(most, heap()-before); most > 2*bound {
				t.Fatalf("%d events behind, the heap has grown by %d bytes for a bound of %d", events, most, bound)
			}
		}
		if e := r.ends()[0]; e.Reason != delivery.SlowConsumer {
			t.Fatalf("ended with %s", e.Reason)
		}
		t.Logf("%d events behind; the heap has grown by up to %d KB for a bound of %d KB", events, most>>10, bound>>10)
		if most < bound/2 {
			t.Errorf("the heap has grown by %d bytes alone: the client was never behind", most)
		}
		stuck.conn.Close()
	})
}

// Clients that come back with a position, and then take nothing, hold together about what the bound says, however many they are: one small
// batch is all that each of them has beyond it.
func TestWhatBlockedReadersHoldTogetherIsBounded(t *testing.T) {
	const clients, bound, event = 300, 1 << 20, 1000
	if !socketsHere {
		t.Skip("sockets are taken over on Linux only")
	}
	r := newRig(t, "socket") // the other transport lends the same bytes; it takes megabytes more for its sockets to be full
	r.policy.BufferAge, r.policy.WriteTimeout = 0, time.Minute
	held := r.server.Hold(bound)
	for range 4000 {
		r.topic.publish(strings.Repeat("x", event))
	}
	id := (cursor.Position{{Tag: r.topic.tag}}).String()
	var conns []*stream
	for range clients {
		c := r.connect(id)
		if err := c.conn.(*net.TCPConn).SetReadBuffer(4 << 10); err != nil {
			t.Fatal(err)
		}
		conns = append(conns, c)
	}
	eventually(t, "all to be blocked", func() bool {
		blocked, err := r.server.Blocked(t.Context())
		return err == nil && blocked == clients
	})
	if n, most := held(), int64(bound+clients*(4<<10+2*event)*5/4); n < bound/2 || n > most {
		t.Errorf("%d clients hold %d KB, at most %d", clients, n>>10, most>>10)
	} else {
		t.Logf("%d clients hold %d KB, at most %d", clients, n>>10, most>>10)
	}
	for _, c := range conns {
		c.conn.Close()
	}
	eventually(t, "all to be gone", func() bool { return r.server.Streams() == 0 })
	if n := held(); n != 0 {
		t.Errorf("%d bytes are held for nobody", n)
	}
}
