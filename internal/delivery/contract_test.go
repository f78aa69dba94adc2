package delivery_test

import (
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"headgate/internal/cursor"
	"headgate/internal/delivery"
	"headgate/internal/sse"
)

func TestStreamBeginsWithRetryAndReadyWithItsPosition(t *testing.T) {
	onBoth(t, func(t *testing.T, r *rig) {
		r.topic.publish("")
		s := r.connect("").start()
		got := s.raw("$ready")
		if !strings.HasPrefix(got, "retry: 2000\n\nevent: $ready\n") {
			t.Fatalf("got %q", got)
		}
		if want := "id: " + position(r, 1) + "\n\n"; !strings.Contains(got, want) {
			t.Fatalf("got %q, want %q", got, want)
		}
	})
}

func position(r *rig, seq uint64) string {
	return cursor.Position{{Tag: r.topic.tag, Seq: seq}}.String()
}

func TestEventsArriveInOrderWithTheirPositions(t *testing.T) {
	onBoth(t, func(t *testing.T, r *rig) {
		s := r.connect("").start()
		s.expect("$ready", "")
		for n := range 1000 {
			r.topic.publish("")
			if n%100 == 0 {
				time.Sleep(time.Millisecond) // several rounds
			}
		}
		for n := uint64(1); n <= 1000; n++ {
			e := s.expect("message", strconv.FormatUint(n, 10))
			if e.ID != position(r, n) {
				t.Fatalf("event %d has id %s", n, e.ID)
			}
		}
	})
}

func TestClientsWithTheSameKeyShareOneSource(t *testing.T) {
	onBoth(t, func(t *testing.T, r *rig) {
		var all []*stream
		for range 40 {
			s := r.connect("").start()
			s.expect("$ready", "")
			all = append(all, s)
		}
		eventually(t, "one source per shard", func() bool { return r.topic.balance() == 2 })
		r.topic.publish("hello")
		for _, s := range all {
			s.expect("message", "hello")
		}
		for _, s := range all {
			s.conn.Close()
		}
		eventually(t, "all gone", func() bool { return r.server.Streams() == 0 && r.topic.balance() == 0 })
		for _, e := range r.ends() {
			if e.Reason != delivery.ClientGone || e.Events != 1 || e.Bytes == 0 {
				t.Fatalf("got %+v", e)
			}
		}
	})
}

func TestResumeReplaysThenSaysLiveThenFollows(t *testing.T) {
	onBoth(t, func(t *testing.T, r *rig) {
		for range 100 {
			r.topic.publish(strings.Repeat("x", 3000))
		}
		s := r.connect(position(r, 40)).start()
		if e := s.expect("$ready", ""); e.ID != position(r, 40) {
			t.Fatalf("$ready has id %s", e.ID)
		}
		for n := uint64(41); n <= 100; n++ {
			if e := s.expect("message", ""); e.ID != position(r, n) {
				t.Fatalf("got %s, want %d", e.ID, n)
			}
		}
		if e := s.expect("$live", "{}"); e.ID != position(r, 100) {
			t.Fatalf("$live has id %s", e.ID)
		}
		r.topic.publish("now")
		if e := s.expect("message", "now"); e.ID != position(r, 101) {
			t.Fatalf("got id %s", e.ID)
		}
	})
}

func TestResumeUnderLoadHasNoHoleAndNoDuplicate(t *testing.T) {
	for _, slow := range []time.Duration{0, 3 * time.Millisecond} {
		onBoth(t, func(t *testing.T, r *rig) {
			r.topic.slow = slow
			stop := make(chan struct{})
			published := make(chan struct{})
			go func() {
				defer close(published)
				for {
					select {
					case <-stop:
						return
					default:
						r.topic.publish("")
						if r.topic.seq%8 == 0 {
							time.Sleep(100 * time.Microsecond)
						}
					}
				}
			}()
			id, last := "", uint64(0)
			for cut := range 60 {
				s := r.connect(id).start()
				ready, _ := s.next()
				if id == "" {
					p, err := cursor.Parse(ready.ID)
					if err != nil {
						t.Fatal(err)
					}
					last = p[0].Seq
				}
				for range 50 + cut*7 {
					e, err := s.next()
					if err != nil {
						t.Fatal(err)
					}
					if e.Type == "$live" {
						continue
					}
					last++
					if e.Data != strconv.FormatUint(last, 10) {
						t.Fatalf("cut %d: got %s %q, want %d", cut, e.Type, e.Data, last)
					}
				}
				id = s.id
				s.conn.Close()
			}
			close(stop)
			<-published
		})
	}
}

func TestEndTellsTheReasonAndClosesTheResponse(t *testing.T) {
	onBoth(t, func(t *testing.T, r *rig) {
		s := r.connect("").start()
		s.expect("$ready", "")
		r.topic.publish("one")
		s.expect("message", "one")
		r.server.EndWhere(func(tag uint64) bool { return tag == 1 }, delivery.RouteRemoved, 0)
		e := s.expect("$end", `{"reason":"route-removed","reconnect":false}`)
		if e.ID != position(r, 1) {
			t.Fatalf("$end has id %s", e.ID)
		}
		s.expectEOF()
		eventually(t, "ended", func() bool { return len(r.ends()) == 1 })
		if got := r.ends()[0]; got.Reason != delivery.RouteRemoved || got.Tag != 1 {
			t.Fatalf("got %+v", got)
		}
	})
}

func TestEndsAreSpreadOverTheTimeGiven(t *testing.T) {
	onBoth(t, func(t *testing.T, r *rig) {
		const n = 200
		r.policy.WriteTimeout = 0
		for range n {
			r.connect("").start().expect("$ready", "")
		}
		r.server.EndWhere(func(uint64) bool { return true }, delivery.Draining, 10*time.Second)
		counts := []int{}
		for range 12 {
			r.forward(time.Second)
			time.Sleep(20 * time.Millisecond)
			counts = append(counts, len(r.ends()))
		}
		if counts[4] < n/4 || counts[4] > n*3/4 {
			t.Fatalf("half of the time should end half of the streams: %v", counts)
		}
		eventually(t, "all ended", func() bool { return len(r.ends()) == n })
	})
}

func TestLifetimeEndsAStream(t *testing.T) {
	onBoth(t, func(t *testing.T, r *rig) {
		r.lifetime, r.policy.WriteTimeout = time.Minute, 0
		s := r.connect("").start()
		s.expect("$ready", "")
		r.forward(59 * time.Second)
		r.topic.publish("still here")
		s.expect("message", "still here")
		r.forward(2 * time.Second)
		s.expect("$end", `{"reason":"lifetime","reconnect":true}`)
		s.expectEOF()
	})
}

func TestSlowClientIsDisconnectedAndTheOthersDoNotNotice(t *testing.T) {
	onBoth(t, func(t *testing.T, r *rig) {
		r.policy.BufferBytes = 128 << 10
		slow := r.connect("")
		eventually(t, "it is the first", func() bool { return r.server.Streams() == 1 })
		quick := r.connect("").start()
		quick.expect("$ready", "")
		eventually(t, "both there", func() bool { return r.server.Streams() == 2 })
		payload := strings.Repeat("x", 64<<10)
		for n := 0; len(r.ends()) == 0; n++ {
			if n > 2000 {
				t.Fatal("a client that reads nothing is still there")
			}
			r.topic.publish(payload)
			quick.expect("message", payload)
		}
		if got := r.ends()[0]; got.Reason != delivery.SlowConsumer || got.Tag != 1 {
			t.Fatalf("got %+v", got)
		}
		r.topic.publish("after")
		quick.expect("message", "after")
		slow.conn.Close()
	})
}

func TestSlowClientUnderDropOldestJumpsAndIsToldSo(t *testing.T) {
	onBoth(t, func(t *testing.T, r *rig) {
		r.policy.BufferBytes = 128 << 10
		r.policy.DropOldest = true
		r.policy.WriteTimeout = 0
		r.policy.SlowGaps = []delivery.JumpGap{{Live: sse.NewFrame("$gap", []byte(`{"reason":"slow"}`))}}
		slow := r.connect("")
		eventually(t, "it is the first", func() bool { return r.server.Streams() == 1 })
		quick := r.connect("").start()
		quick.expect("$ready", "")
		eventually(t, "both there", func() bool { return r.server.Streams() == 2 })
		const n = 400
		pad := strings.Repeat("x", 64<<10)
		for i := range n {
			data := fmt.Sprintf("%d %s", i+1, pad)
			r.topic.publish(data)
			quick.expect("message", data)
		}
		slow.start()
		slow.expect("$ready", "")
		last, gaps := uint64(0), 0
		for last < n {
			e, err := slow.next()
			if err != nil {
				t.Fatalf("after %d: %v", last, err)
			}
			p, _ := cursor.Parse(e.ID)
			if e.Type == "$gap" {
				gaps++
				last = p[0].Seq
				if last == n {
					break
				}
				continue
			}
			if p[0].Seq != last+1 {
				t.Fatalf("%d follows %d without a $gap", p[0].Seq, last)
			}
			last++
		}
		if gaps == 0 || r.slow.Load() < int64(gaps) {
			t.Fatalf("%d gaps came, %d were counted", gaps, r.slow.Load())
		}
		r.topic.publish("after")
		slow.expect("message", "after")
	})
}

func TestClientThatTakesNothingIsEndedAfterTheWriteTimeout(t *testing.T) {
	r := newRig(t, "socket")
	r.policy.BufferBytes = 1 << 30
	r.connect("")
	eventually(t, "there", func() bool { return r.server.Streams() == 1 })
	for range 200 {
		r.topic.publish(strings.Repeat("x", 64<<10))
	}
	slowest := time.Duration(0)
	for n := 0; len(r.ends()) == 0 && n < 100; n++ {
		time.Sleep(10 * time.Millisecond)
		slowest = max(slowest, r.server.Slowest())
		r.forward(time.Second)
	}
	if got := r.ends(); len(got) != 1 || got[0].Reason != delivery.WriteTimeout {
		t.Fatalf("got %+v", got)
	}
	if slowest < 5*time.Second {
		t.Errorf("the slowest client was said to be %s behind", slowest)
	}
	eventually(t, "nobody is slow any more", func() bool { return r.server.Slowest() == 0 })
}

func TestClientThatKeepsSendingIsEnded(t *testing.T) {
	r := newRig(t, "socket")
	s := r.connect("").start()
	s.expect("$ready", "")
	fmt.Fprint(s.conn, "a little is ignored")
	r.topic.publish("still here")
	s.expect("message", "still here")
	fmt.Fprint(s.conn, strings.Repeat("x", 5000))
	eventually(t, "ended", func() bool { return len(r.ends()) == 1 })
	if got := r.ends()[0].Reason; got != delivery.ClientData {
		t.Fatalf("got %s", got)
	}
}

func TestUnreadInputDoesNotDestroyTheEndOfTheStream(t *testing.T) {
	for range 20 {
		r := newRig(t, "socket")
		s := r.connect("").start()
		s.expect("$ready", "")
		fmt.Fprint(s.conn, "x")
		r.server.EndWhere(func(uint64) bool { return true }, delivery.Kicked, 0)
		s.expect("$end", "")
		s.expectEOF()
	}
}

func TestHugeEventReachesEveryClientWhatsoeverTheBounds(t *testing.T) {
	onBoth(t, func(t *testing.T, r *rig) {
		r.policy.BufferBytes = 1
		s := r.connect("").start()
		s.expect("$ready", "")
		data := strings.Repeat("0123456789abcdef", 1<<16)
		r.topic.publish(data)
		s.expect("message", data)
		r.topic.publish("next")
		s.expect("message", "next")
	})
}

func TestShutdownTellsEveryClient(t *testing.T) {
	onBoth(t, func(t *testing.T, r *rig) {
		done := make(chan string, 1)
		s := r.connect("").start()
		s.expect("$ready", "")
		go func() {
			rest, _ := io.ReadAll(s.body)
			done <- string(rest)
		}()
		t.Cleanup(func() { // runs before the rig's
			r.server.EndWhere(func(uint64) bool { return true }, delivery.Shutdown, 0)
			if got := <-done; !strings.Contains(got, `"reason":"shutdown"`) {
				t.Errorf("got %q", got)
			}
		})
	})
}

func TestManyGroupsWithOneClientEach(t *testing.T) {
	onBoth(t, func(t *testing.T, r *rig) {
		n := 0
		r.key = func(*http.Request) string { n++; return strconv.Itoa(n) }
		var all []*stream
		for range 100 {
			s := r.connect("").start()
			s.expect("$ready", "")
			all = append(all, s)
		}
		for k := range 50 {
			r.topic.publish(strconv.Itoa(k))
		}
		for _, s := range all {
			for k := range 50 {
				s.expect("message", strconv.Itoa(k))
			}
		}
	})
}
