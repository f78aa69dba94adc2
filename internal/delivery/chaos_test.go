package delivery_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"headgate/internal/cursor"
	"headgate/internal/delivery"
	"headgate/internal/sse"
)

// TestEveryClientGetsEveryEventOnceUnlessAGapSaysSo lets clients of all kinds come, go, stall and resume while events of all sizes
// are published and streams are ended, and checks each client's record against the source. Between the steps the shards' invariants
// are walked.
func TestEveryClientGetsEveryEventOnceUnlessAGapSaysSo(t *testing.T) {
	for _, drop := range []bool{false, true} {
		onBoth(t, func(t *testing.T, r *rig) {
			seed := uint64(time.Now().UnixNano())
			t.Logf("seed %d, drop_oldest %v", seed, drop)
			r.policy.BufferBytes = 64 << 10
			r.policy.DropOldest = drop
			r.policy.Heartbeat, r.policy.WriteTimeout = time.Second, 0
			r.policy.SlowGaps = []delivery.JumpGap{{Live: sse.NewFrame("$gap", []byte(`{"reason":"slow"}`))}}
			r.key = func(req *http.Request) string { return req.URL.Query().Get("key") }
			ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
			defer cancel()
			var running sync.WaitGroup
			running.Go(func() { publishAtRandom(ctx, r, seed) })
			var received, gaps atomic.Int64
			for n := range 24 {
				running.Go(func() {
					c := chaosClient{r: r, rng: rand.New(rand.NewPCG(seed, uint64(n))), received: &received, gaps: &gaps}
					if err := c.run(ctx, n); err != nil {
						t.Errorf("client %d: %v", n, err)
					}
				})
			}
			running.Go(func() { endAtRandom(ctx, r, seed) })
			for ctx.Err() == nil {
				checkInvariants(t, r)
				r.forward(50 * time.Millisecond)
				time.Sleep(20 * time.Millisecond)
			}
			running.Wait()
			if received.Load() == 0 || drop && gaps.Load() == 0 {
				t.Fatalf("nothing was tested: %d events, %d gaps", received.Load(), gaps.Load())
			}
			t.Logf("%d events received, %d gaps", received.Load(), gaps.Load())
			eventually(t, "all gone", func() bool { return r.server.Streams() == 0 })
			checkInvariants(t, r)
		})
	}
}

func checkInvariants(t *testing.T, r *rig) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	found, err := r.server.Check(ctx)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range found {
		t.Error(f)
	}
}

func publishAtRandom(ctx context.Context, r *rig, seed uint64) {
	rng := rand.New(rand.NewPCG(seed, 1000))
	for ctx.Err() == nil {
		for range rng.IntN(20) {
			size := rng.IntN(200)
			if rng.IntN(20) == 0 {
				size = rng.IntN(100 << 10)
			}
			r.topic.publish(strings.Repeat("x", size+1))
		}
		time.Sleep(time.Duration(rng.IntN(2000)) * time.Microsecond)
	}
}

func endAtRandom(ctx context.Context, r *rig, seed uint64) {
	rng := rand.New(rand.NewPCG(seed, 1001))
	for ctx.Err() == nil {
		time.Sleep(time.Duration(rng.IntN(100)) * time.Millisecond)
		n := uint64(rng.IntN(8))
		r.server.EndWhere(func(tag uint64) bool { return tag%8 == n }, delivery.Draining, time.Duration(rng.IntN(300))*time.Millisecond)
	}
}

type chaosClient struct {
	r              *rig
	rng            *rand.Rand
	received, gaps *atomic.Int64
	id             string
	last           uint64
}

func (c *chaosClient) run(ctx context.Context, n int) error {
	for ctx.Err() == nil {
		conn, err := dial(c.r.addr)
		if err != nil {
			return err
		}
		fmt.Fprintf(conn, "GET /x?key=%d HTTP/1.1\r\nHost: test\r\n", n%3)
		if c.id != "" {
			fmt.Fprintf(conn, "Last-Event-ID: %s\r\n", c.id)
		}
		fmt.Fprint(conn, "\r\n")
		resp, err := readResponse(conn)
		if err == nil {
			err = c.follow(ctx, &stream{t: c.r.t, conn: conn, body: resp.Body, dec: sse.NewDecoder(resp.Body)}, n)
		}
		conn.Close()
		if errors.As(err, new(*holeError)) {
			return err
		}
	}
	return nil
}

type holeError struct{ what string }

func (e *holeError) Error() string { return e.what }

func (c *chaosClient) follow(ctx context.Context, s *stream, n int) error {
	for range 1 + c.rng.IntN(400) {
		if ctx.Err() != nil {
			return nil
		}
		if stall := n%4 == 0 && c.rng.IntN(100) == 0; stall {
			time.Sleep(time.Duration(c.rng.IntN(200)) * time.Millisecond)
		}
		e, err := s.next()
		if err != nil {
			return err
		}
		if err := c.take(e); err != nil {
			return err
		}
	}
	return nil
}

// take checks that an event is the one that follows.
func (c *chaosClient) take(e sse.Event) error {
	p, err := cursor.Parse(e.ID)
	if err != nil {
		return &holeError{fmt.Sprintf("%s has id %q", e.Type, e.ID)}
	}
	seq := p[0].Seq
	switch e.Type {
	case "$ready":
		if c.id != "" && seq != c.last {
			return &holeError{fmt.Sprintf("resumed at %d, was at %d", seq, c.last)}
		}
	case "$gap":
		c.gaps.Add(1)
		if seq < c.last {
			return &holeError{fmt.Sprintf("$gap goes back from %d to %d", c.last, seq)}
		}
	case "message":
		c.received.Add(1)
		if seq != c.last+1 {
			return &holeError{fmt.Sprintf("%d follows %d", seq, c.last)}
		}
	default:
		if seq != c.last {
			return &holeError{fmt.Sprintf("%s moved the position from %d to %d", e.Type, c.last, seq)}
		}
		return nil
	}
	c.last, c.id = seq, e.ID
	return nil
}
