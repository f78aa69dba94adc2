package delivery_test

import (
	"errors"
	"io"
	"math/rand/v2"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"headgate/internal/cursor"
	"headgate/internal/delivery"
)

func TestDoneEndsEveryStreamBehindTheLastEvent(t *testing.T) {
	onBoth(t, func(t *testing.T, r *rig) {
		var all []*stream
		for range 20 {
			s := r.connect("").start()
			s.expect("$ready", "")
			all = append(all, s)
		}
		for range 50 {
			r.topic.publish("")
		}
		r.topic.finish("last")
		r.topic.publish("too late")
		for _, s := range all {
			for n := 1; n <= 50; n++ {
				s.expect("message", strconv.Itoa(n))
			}
			if e := s.expect("message", "last"); e.ID != position(r, 51) {
				t.Fatalf("got id %s", e.ID)
			}
			if e := s.expect("$end", `{"reason":"done","reconnect":false}`); e.ID != position(r, 51) {
				t.Fatalf("$end has id %s", e.ID)
			}
			s.expectEOF()
		}
		eventually(t, "all gone", func() bool { return r.server.Streams() == 0 && r.topic.balance() == 0 })
		for _, e := range r.ends() {
			if e.Reason != delivery.Done || e.Events != 51 {
				t.Fatalf("got %+v", e)
			}
		}
	})
}

func TestDoneReachesAReadingClientToo(t *testing.T) {
	onBoth(t, func(t *testing.T, r *rig) {
		for range 10 {
			r.topic.publish("")
		}
		r.topic.finish("last")
		r.topic.publish("too late")
		s := r.connect(position(r, 8)).start()
		s.expect("$ready", "")
		s.expect("message", "9")
		s.expect("message", "10")
		s.expect("message", "last")
		s.expect("$end", `{"reason":"done","reconnect":false}`)
		s.expectEOF()
	})
}

func TestDoneReachesAClientThatJumpsOverIt(t *testing.T) {
	onBoth(t, func(t *testing.T, r *rig) {
		r.policy.DropOldest, r.policy.BufferBytes = true, 256<<10
		slow := r.connect("")
		eventually(t, "the stream", func() bool { return r.server.Streams() == 1 })
		for range 200 {
			r.topic.publish(strings.Repeat("x", 64<<10))
		}
		r.topic.finish(strings.Repeat("y", 192<<10))
		slow.start()
		for {
			e, err := slow.next()
			if err != nil {
				t.Fatal(err)
			}
			if e.Type == "$end" {
				break
			}
		}
		slow.expectEOF()
	})
}

func TestAfterDoneNewClientsGetAGroupOfTheirOwn(t *testing.T) {
	r := newRig(t, "writer")
	stuck := r.connect("") // never reads, so that its group cannot close
	eventually(t, "the first stream", func() bool { return r.server.Streams() == 1 })
	for range 300 {
		r.topic.publish(strings.Repeat("x", 64<<10))
	}
	r.topic.finish("last")
	s := r.connect("").start()
	s.expect("$ready", "")
	r.topic.publish("next job")
	s.expect("message", "next job")
	stuck.conn.Close()
}

func TestAClientThatWaitsForWhatItMissedGetsHeartbeats(t *testing.T) {
	onBoth(t, func(t *testing.T, r *rig) {
		r.policy.Heartbeat = 15 * time.Second
		for range 3 {
			r.topic.publish("")
		}
		r.topic.slow = 2 * time.Second
		s := r.connect(position(r, 1)).start()
		s.raw("$ready")
		if got := r.silence(s, ":\n\n"); strings.Contains(got, "id:") && strings.Contains(got, "message") {
			t.Fatalf("got %q", got)
		}
		s.expect("message", "2")
		s.expect("message", "3")
		s.expect("$live", "")
	})
}

func TestLostEndsEveryStream(t *testing.T) {
	onBoth(t, func(t *testing.T, r *rig) {
		s := r.connect("").start()
		s.expect("$ready", "")
		r.topic.publish("one")
		s.expect("message", "one")
		r.topic.lose()
		if e := s.expect("$end", `{"reason":"source-lost","reconnect":true}`); e.ID != position(r, 1) {
			t.Fatalf("$end has id %s", e.ID)
		}
		s.expectEOF()
	})
}

func TestASourceThatBeginsAgainGivesNewIDs(t *testing.T) {
	onBoth(t, func(t *testing.T, r *rig) {
		s := r.connect("").start()
		s.expect("$ready", "")
		r.topic.publish("")
		s.expect("message", "1")
		old := position(r, 1)
		r.topic.begin()
		if e := s.expect("$gap", ""); e.ID != position(r, 0) {
			t.Fatalf("$gap has id %s", e.ID)
		}
		r.topic.publish("")
		if e := s.expect("message", "1"); e.ID != position(r, 1) {
			t.Fatalf("got id %s", e.ID)
		}
		back := r.connect(old).start()
		back.expect("$ready", "")
		back.expect("$gap", "")
		if e := back.expect("message", "1"); e.ID != position(r, 1) {
			t.Fatalf("got id %s", e.ID)
		}
		back.expect("$live", "")
	})
}

func TestASnapshotHasNoIDBeforeItsEnd(t *testing.T) {
	onBoth(t, func(t *testing.T, r *rig) {
		r.topic.publish("")
		r.topic.publish("")
		s := r.connect(snapshotWanted).start()
		if e := s.expect("$ready", ""); e.ID != "" {
			t.Fatalf("$ready has id %s", e.ID)
		}
		if e := s.expect("state", "2"); e.ID != "" {
			t.Fatalf("the snapshot has id %s", e.ID)
		}
		if e := s.expect("$snapshot", ""); e.ID != position(r, 2) {
			t.Fatalf("$snapshot has id %s", e.ID)
		}
		r.topic.publish("")
		if e := s.expect("message", "3"); e.ID != position(r, 3) {
			t.Fatalf("got id %s", e.ID)
		}
	})
}

func TestAFreshStateIsReadByEverybody(t *testing.T) {
	onBoth(t, func(t *testing.T, r *rig) {
		r.policy.DropOldest, r.policy.BufferBytes = true, 1<<20
		stuck := r.connect("") // jumps over it, and must read it all the same
		eventually(t, "the first stream", func() bool { return r.server.Streams() == 1 })
		s := r.connect("").start()
		s.expect("$ready", "")
		for range 300 {
			r.topic.publish(strings.Repeat("x", 64<<10))
			s.expect("message", "")
		}
		r.topic.refresh()
		for range 300 {
			r.topic.publish(strings.Repeat("x", 64<<10))
		}
		fresh := func(s *stream) {
			for {
				e, err := s.next()
				if err != nil {
					t.Fatal(err)
				}
				if e.Type == "$snapshot" {
					return
				}
			}
		}
		fresh(s)
		fresh(stuck.start())
	})
}

// Snapshots are younger than the group's log more often than not, sources begin again while clients read, and still every event comes
// exactly once behind the snapshot.
func TestSnapshotsAndNewBeginningsUnderLoad(t *testing.T) {
	for _, slow := range []time.Duration{0, 2 * time.Millisecond} {
		onBoth(t, func(t *testing.T, r *rig) {
			r.topic.slow = slow
			stop := make(chan struct{})
			var publisher sync.WaitGroup
			publisher.Go(func() {
				for n := 0; ; n++ {
					select {
					case <-stop:
						return
					default:
					}
					if n%2000 == 1999 {
						r.topic.begin()
					}
					if n%700 == 699 {
						r.topic.refresh()
					}
					r.topic.publish("")
					if n%16 == 0 {
						time.Sleep(200 * time.Microsecond)
					}
				}
			})
			defer publisher.Wait()
			defer close(stop)
			id := snapshotWanted
			for cut := range 60 {
				id = follow(t, r.connect(id).start(), id, 20+rand.IntN(300))
				if cut%3 == 0 {
					id = snapshotWanted
				}
			}
		})
	}
}

// follow reads n events and checks that their numbers follow one another. It returns the last id.
func follow(t *testing.T, s *stream, id string, n int) string {
	t.Helper()
	defer s.conn.Close()
	next, known := uint64(0), id != snapshotWanted
	if known {
		p, err := cursor.Parse(id)
		if err != nil {
			t.Fatal(err)
		}
		next = p[0].Seq + 1
	}
	var trail []string
	for range n {
		e, err := s.next()
		if err != nil {
			if errors.Is(err, io.EOF) {
				t.Fatalf("the stream ended: %v", trail)
			}
			t.Fatal(err)
		}
		trail = append(trail, e.Type+" "+e.Data)
		switch e.Type {
		case "$ready", "$live", "state":
		case "$gap", "$snapshot":
			if strings.Contains(e.Data, "next") {
				known = false
				continue
			}
			p, err := cursor.Parse(e.ID)
			if err != nil {
				t.Fatal(err)
			}
			next, known = p[0].Seq+1, true
		default:
			if !known || e.Data != strconv.FormatUint(next, 10) {
				t.Fatalf("got %s, want %d; after %q: %v", e.Data, next, id, trail[max(0, len(trail)-40):])
			}
			next++
		}
	}
	if s.id == "" {
		return snapshotWanted
	}
	return s.id
}
