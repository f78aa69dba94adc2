package e2e_test

import (
	"context"
	"net/http"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"headgate/e2e/internal/stack"
	"headgate/e2e/internal/stream"
)

// attempt is one try to open a stream during the drain.
type attempt struct {
	at     time.Time
	answer string // "live", "draining", or what went wrong
}

// knock opens streams one after the other until ctx ends.
func knock(ctx context.Context, url string) []attempt {
	var out []attempt
	for ctx.Err() == nil {
		a := attempt{at: time.Now()}
		s, err := stream.Open(ctx, url)
		if err != nil {
			if ctx.Err() == nil {
				a.answer = err.Error()
				out = append(out, a)
			}
			if strings.Contains(a.answer, "refused") {
				return out
			}
			continue
		}
		b, err := s.Until(ctx, "$ready", "$end")
		switch {
		case err != nil:
			a.answer = err.Error()
		case b.Event() == "$ready":
			a.answer = "live"
		case strings.Contains(b.Data(), `"draining"`):
			a.answer = "draining"
		default:
			a.answer = b.String()
		}
		s.Close()
		if ctx.Err() == nil {
			out = append(out, a)
		}
	}
	return out
}

func TestDrain_EndsStreamsSpreadInTimeAndRefusesNobody(t *testing.T) {
	const streams, drain = 500, 4 * time.Second
	const notices = 100 * time.Millisecond // what a client may need on a busy machine to see that its stream has ended
	g := start(t, "SHUTDOWN_DRAIN", drain.String(), "SHUTDOWN_TIMEOUT", "20s")
	c := gather(t, g.URL+"/v1/prices/ACME", streams)

	ctx, cancel := stack.Deadline(t, time.Minute)
	defer cancel()
	var attempts []attempt
	var load sync.WaitGroup
	load.Go(func() { attempts = knock(ctx, g.URL+"/v1/prices/OTHER") })
	publishing, stopPublishing := context.WithCancel(ctx)
	load.Go(func() {
		for publishing.Err() == nil {
			_ = g.pub.Publish("prices.ACME", []byte("tick"))
			time.Sleep(2 * time.Millisecond) // a rate, not a wait
		}
	})

	begun := time.Now()
	must(t, g.Signal(syscall.SIGTERM))
	must(t, stack.Poll(ctx, func() error {
		status, text, err := g.Admin(ctx, "/readyz")
		if err == nil && status != http.StatusServiceUnavailable {
			err = &stream.StatusError{Status: status, Body: text}
		}
		return err
	}))
	code, err := g.Wait(ctx)
	must(t, err)
	if code != 0 {
		t.Errorf("exit code %d", code)
	}
	stopPublishing()
	cancel()
	load.Wait()
	c.reading.Wait()

	ends := checkEnds(t, c)
	checkSpread(t, begun, ends, drain)
	last := ends[len(ends)-1]
	var live, turned int
	for _, a := range attempts {
		switch a.answer {
		case "live":
			live++
		case "draining":
			turned++
		default:
			if a.at.Before(last.Add(-notices)) {
				t.Errorf("%s after the signal, %s before the last stream ended: %s", a.at.Sub(begun), last.Sub(a.at), a.answer)
			}
		}
	}
	t.Logf("during the drain %d stream requests were told to come again, %d were served before it", turned, live)
	if turned == 0 {
		t.Error("no stream request was answered during the drain")
	}
}

// checkEnds wants every stream to end with $end draining, and returns when they ended, in order.
func checkEnds(t *testing.T, c *crowd) []time.Time {
	t.Helper()
	var ends []time.Time
	for i, m := range c.members {
		blocks, ended := m.all()
		last := blocks[len(blocks)-1]
		if last.Event() != "$end" || !strings.Contains(last.Data(), `"draining"`) || !strings.Contains(last.Data(), `"reconnect":true`) {
			t.Fatalf("stream %d ended with %s", i, last)
		}
		ends = append(ends, ended)
	}
	slices.SortFunc(ends, time.Time.Compare)
	return ends
}

// checkSpread wants no fifth of the drain to hold more than half of the ends.
func checkSpread(t *testing.T, begun time.Time, ends []time.Time, drain time.Duration) {
	t.Helper()
	var fifths [8]int
	for _, end := range ends {
		fifths[min(int(end.Sub(begun)*5/drain), len(fifths)-1)]++
	}
	t.Logf("streams ended in each fifth of the drain: %v", fifths)
	for i, n := range fifths {
		if n > len(ends)/2 {
			t.Errorf("%d of %d streams ended in fifth %d", n, len(ends), i)
		}
	}
	if last := ends[len(ends)-1].Sub(begun); last < drain/2 {
		t.Errorf("the last stream ended %s after the signal, of a drain of %s", last, drain)
	}
}

func TestDrain_ASecondSignalStopsAtOnce(t *testing.T) {
	t.Parallel()
	g := start(t, "SHUTDOWN_DRAIN", "5m", "SHUTDOWN_TIMEOUT", "10m")
	s := open(t, g.URL+"/v1/prices/ACME")
	ctx, cancel := soon(t)
	defer cancel()
	must(t, g.Signal(syscall.SIGTERM))
	must(t, stack.Poll(ctx, func() error {
		status, text, err := g.Admin(ctx, "/readyz")
		if err == nil && status != http.StatusServiceUnavailable {
			err = &stream.StatusError{Status: status, Body: text}
		}
		return err
	}))
	must(t, g.Signal(syscall.SIGTERM))
	_, err := g.Wait(ctx)
	must(t, err)
	for { // the stream ends too, with or without a last word
		if _, err := s.Next(ctx); err != nil {
			must(t, ctx.Err())
			return
		}
	}
}

// One of two replicas goes away, as in every roll-out: nobody at the balancer meets an error, and the streams come back on the other.
func TestDrain_BehindABalancerNoStreamRequestFails(t *testing.T) {
	t.Parallel()
	g := start(t, "SHUTDOWN_DRAIN", "3s", "SSE_RETRY", "100ms", "SSE_RETRY_JITTER", "50ms", "SSE_OVERLOAD_RETRY", "100ms", "SSE_OVERLOAD_JITTER", "50ms")
	other := stack.StartHeadgate(t, stack.Options{NATS: g.nats.URL(), Routes: routesFor("https://app.example")})
	front := stack.StartBalancer(t, g.Headgate, other)
	gather(t, front.URL+"/v1/prices/ACME", 200)

	ctx, cancel := stack.Deadline(t, time.Minute)
	defer cancel()
	knocking, stop := context.WithCancel(ctx)
	answers := make(chan []attempt, 4)
	for range cap(answers) {
		go func() { answers <- knock(knocking, front.URL+"/v1/prices/OTHER") }()
	}
	must(t, g.Signal(syscall.SIGTERM))
	code, err := g.Wait(ctx)
	must(t, err)
	if code != 0 {
		t.Errorf("exit code %d", code)
	}
	for range 50 { // and for a moment after it has gone
		open(t, front.URL+"/v1/prices/ACME").Close()
	}
	stop()
	counts := map[string]int{}
	for range cap(answers) {
		for _, a := range <-answers {
			counts[a.answer]++
		}
	}
	t.Logf("answers at the balancer: %v", counts)
	for answer, n := range counts {
		if answer != "live" && answer != "draining" {
			t.Errorf("%d stream requests: %s", n, answer)
		}
	}
	if counts["live"] < 100 {
		t.Errorf("only %d streams were opened meanwhile", counts["live"])
	}
}
