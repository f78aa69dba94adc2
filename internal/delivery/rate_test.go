package delivery_test

import (
	"context"
	"math/rand/v2"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"headgate/internal/cursor"
	"headgate/internal/delivery"
	"headgate/internal/sse"
)

var rateGap = sse.NewFrame("$gap", []byte(`{"reason":"rate"}`))

func limited(r *rig, events float64, bytes int) {
	r.policy.EventsPerSecond, r.policy.BytesPerSecond = events, bytes
	r.policy.RateGaps = []delivery.JumpGap{{Live: rateGap}}
	r.policy.SlowGaps = []delivery.JumpGap{{Live: sse.NewFrame("$gap", []byte(`{"reason":"slow"}`))}}
}

func TestRate_WhatASecondBringsMayComeAtOnce(t *testing.T) {
	onBoth(t, func(t *testing.T, r *rig) {
		limited(r, 1000, 0)
		s := r.connect("").start()
		s.expect("$ready", "")
		for range 1000 {
			r.topic.publish("")
		}
		for n := 1; n <= 1000; n++ {
			s.expect("message", strconv.Itoa(n))
		}
		checkInvariants(t, r)
	})
}

// over publishes n events and reads those that the budget allows at once.
func over(r *rig, s *stream, n, budget int) {
	r.t.Helper()
	for range n {
		r.topic.publish("")
	}
	for i := 1; i <= budget; i++ {
		s.expect("message", strconv.Itoa(i))
	}
}

func TestRate_DisconnectEndsAStreamThatStaysOverItsBudget(t *testing.T) {
	onBoth(t, func(t *testing.T, r *rig) {
		limited(r, 20, 0)
		r.policy.WriteTimeout = 0
		s := r.connect("").start()
		s.expect("$ready", "")
		over(r, s, 400, 20)
		checkInvariants(t, r)
		r.forward(1100 * time.Millisecond)
		last := uint64(20)
		for {
			e, err := s.next()
			if err != nil {
				t.Fatal(err)
			}
			if e.Type == "$end" {
				if e.Data != `{"reason":"rate","reconnect":true}` || e.ID != position(r, last) {
					t.Fatalf("%s with id %s behind %d", e.Data, e.ID, last)
				}
				break
			}
			last++
			if e.ID != position(r, last) || last > 60 {
				t.Fatalf("%s follows %d", e.ID, last-1)
			}
		}
		s.expectEOF()
		eventually(t, "the end", func() bool { return len(r.ends()) == 1 })
		if got := r.ends()[0]; got.Reason != delivery.Rate || got.Events != last {
			t.Errorf("%+v behind %d", got, last)
		}
		// Where it comes back it gets the rest.
		s = r.connect(position(r, last)).start()
		s.expect("$ready", "")
		if e := s.expect("message", ""); e.ID != position(r, last+1) {
			t.Errorf("went on with %s", e.ID)
		}
	})
}

func TestRate_DropOldestJumpsAndSaysRate(t *testing.T) {
	onBoth(t, func(t *testing.T, r *rig) {
		limited(r, 20, 0)
		r.policy.DropOldest, r.policy.WriteTimeout = true, 0
		s := r.connect("").start()
		s.expect("$ready", "")
		over(r, s, 400, 20)
		r.forward(1100 * time.Millisecond)
		for {
			e, err := s.next()
			if err != nil {
				t.Fatal(err)
			}
			if e.Type == "$gap" {
				if e.Data != `{"reason":"rate"}` {
					t.Fatalf("%s at %s", e.Data, e.ID)
				}
				break
			}
		}
		r.topic.publish("now")
		for p, err := cursor.Parse(s.id); ; { // what was published and not in the log yet follows
			e, failed := s.next()
			if p[0].Seq++; err != nil || failed != nil || e.ID != p.String() {
				t.Fatalf("%+v, %v behind the gap, want %s", e, failed, p)
			}
			if e.Data == "now" {
				break
			}
		}
		if r.rate.Load() != 1 || r.slow.Load() != 0 {
			t.Errorf("%d gaps of rates, %d of slow clients", r.rate.Load(), r.slow.Load())
		}
		checkInvariants(t, r)
	})
}

// However much is published, over a while a client gets its budget and no more, the newest, and in between it is told.
func TestRate_HoldsOverTime(t *testing.T) {
	for _, limit := range []struct {
		name   string
		events float64
		bytes  int
	}{{"events", 200, 0}, {"bytes", 0, 60_000}} {
		t.Run(limit.name, func(t *testing.T) {
			onBoth(t, func(t *testing.T, r *rig) {
				limited(r, limit.events, limit.bytes)
				r.policy.DropOldest = true
				s := r.connect("").start()
				s.expect("$ready", "")
				begin := time.Now()
				stop := time.AfterFunc(1600*time.Millisecond, func() { s.conn.SetReadDeadline(time.Now()) })
				defer stop.Stop()
				var publishing sync.WaitGroup
				ctx, cancel := context.WithCancel(t.Context())
				publishing.Go(func() {
					for published := 0; ctx.Err() == nil; time.Sleep(5 * time.Millisecond) {
						for ; published < int(2000*time.Since(begin).Seconds()); published++ { // however busy the machine is
							r.topic.publish(strings.Repeat("x", 250)) // about 300 bytes with its id
						}
					}
				})
				events, gaps := 0, 0
				for time.Since(begin) < 1600*time.Millisecond {
					e, err := s.next()
					if err != nil {
						break
					}
					if e.Type == "$gap" {
						gaps++
					} else {
						events++
					}
				}
				elapsed := time.Since(begin).Seconds()
				cancel()
				publishing.Wait()
				most := 200 * (1 + elapsed)
				if float64(events) > 1.1*most || float64(events) < 0.6*most || gaps == 0 || gaps > 5 {
					t.Errorf("%d events and %d gaps in %.1f s, want about %.0f and 2", events, gaps, elapsed, most)
				}
				checkInvariants(t, r)
			})
		})
	}
}

func TestRate_AnEventLargerThanTheBudgetGoesThrough(t *testing.T) {
	onBoth(t, func(t *testing.T, r *rig) {
		limited(r, 0, 1000)
		s := r.connect("").start()
		s.expect("$ready", "")
		huge := strings.Repeat("x", 50_000)
		r.topic.publish(huge)
		s.expect("message", huge)
	})
}

func TestRate_ReplaysAreSlowedDownAndNeverCut(t *testing.T) {
	onBoth(t, func(t *testing.T, r *rig) {
		const events = 500
		for range events {
			r.topic.publish("")
		}
		limited(r, 100, 0)
		r.policy.WriteTimeout = 0
		begin := time.Now()
		s := r.connect(position(r, 0)).start()
		s.expect("$ready", "")
		var received atomic.Int64
		done := make(chan struct{})
		defer func() { <-done }()
		go func() {
			defer close(done)
			for n := uint64(1); n <= events; n++ {
				e, err := s.next()
				if err != nil || e.Type != "message" || e.ID != position(r, n) {
					t.Errorf("event %d is %+v, %v", n, e, err)
					return
				}
				received.Add(1)
			}
			if e, err := s.next(); err != nil || e.Type != "$live" {
				t.Errorf("got %+v, %v, want $live", e, err)
			}
		}()
		eventually(t, "a full budget", func() bool { return received.Load() >= 100 })
		if n, most := received.Load(), 101+100*time.Since(begin).Seconds(); float64(n) > most {
			t.Errorf("%d events at once, want at most %.0f", n, most)
		}
		checkInvariants(t, r)
		for n := 1; received.Load() < events && n < 100 && !t.Failed(); n++ {
			r.forward(500 * time.Millisecond)
			want := min(events, int64(100+45*n))
			eventually(t, "the next part", func() bool { return received.Load() >= want || t.Failed() })
			if got, most := received.Load(), 110+50*float64(n)+100*time.Since(begin).Seconds(); float64(got) > most {
				t.Errorf("%d events after %d steps, want at most %.0f", got, n, most)
			}
		}
	})
}

func TestRate_AWaitingClientIsStillToldThatItsIdentityEnds(t *testing.T) {
	onBoth(t, func(t *testing.T, r *rig) {
		limited(r, 5, 0)
		r.policy.DropOldest, r.policy.WriteTimeout = true, 0
		r.expires, r.notice = 60*time.Second, 30*time.Second
		s := r.connect("").start()
		s.expect("$ready", "")
		over(r, s, 300, 5)
		r.offset.Add(int64(31 * time.Second)) // tokens come with it, but not for all
		for range 300 {
			r.topic.publish("")
		}
		for {
			e, err := s.next()
			if err != nil {
				t.Fatal(err)
			}
			if e.Type == "$expiring" {
				return
			}
		}
	})
}

// TestRate_EveryClientGetsEveryEventOnceUnlessAGapSaysSo is the test of all things at once, with budgets.
func TestRate_EveryClientGetsEveryEventOnceUnlessAGapSaysSo(t *testing.T) {
	for _, drop := range []bool{false, true} {
		onBoth(t, func(t *testing.T, r *rig) {
			seed := uint64(time.Now().UnixNano())
			t.Logf("seed %d, drop_oldest %v", seed, drop)
			limited(r, 30, 1<<20)
			r.policy.BufferBytes, r.policy.DropOldest = 64<<10, drop
			r.policy.Heartbeat, r.policy.WriteTimeout = time.Second, 0
			r.key = func(req *http.Request) string { return req.URL.Query().Get("key") }
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			var running sync.WaitGroup
			running.Go(func() { publishAtRandom(ctx, r, seed) })
			var received, gaps atomic.Int64
			for n := range 16 {
				running.Go(func() {
					c := chaosClient{r: r, rng: rand.New(rand.NewPCG(seed, uint64(n))), received: &received, gaps: &gaps}
					if err := c.run(ctx, n); err != nil {
						t.Errorf("client %d: %v", n, err)
					}
				})
			}
			running.Go(func() { endAtRandom(ctx, r, seed) })
			ended := func() (n int) {
				for _, e := range r.ends() {
					if e.Reason == delivery.Rate {
						n++
					}
				}
				return n
			}
			tested := func() bool {
				return received.Load() > 0 && (drop && r.rate.Load() > 0 || !drop && ended() > 0)
			}
			for began := time.Now(); time.Since(began) < 2*time.Second || !tested() && time.Since(began) < 20*time.Second; {
				checkInvariants(t, r)
				r.forward(200 * time.Millisecond) // patience must end before most streams do
				time.Sleep(20 * time.Millisecond)
			}
			cancel()
			quiet := make(chan struct{})
			go func() {
				defer close(quiet)
				running.Wait()
			}()
			for waiting := true; waiting; {
				select {
				case <-quiet:
					waiting = false
				case <-time.After(50 * time.Millisecond): // whoever waits for an event waits in vain
					r.server.EndWhere(func(uint64) bool { return true }, delivery.Draining, 0)
				}
			}
			if !tested() {
				t.Fatalf("nothing was tested: %d events, %d gaps, %d ends", received.Load(), r.rate.Load(), ended())
			}
			t.Logf("%d events received, %d gaps, %d of them of rates, %d ends", received.Load(), gaps.Load(), r.rate.Load(), ended())
			eventually(t, "all gone", func() bool { return r.server.Streams() == 0 })
			checkInvariants(t, r)
		})
	}
}
