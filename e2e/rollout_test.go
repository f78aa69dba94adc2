package e2e_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"headgate/e2e/internal/stack"
	"headgate/e2e/internal/stream"

	"github.com/nats-io/nats.go/jetstream"
)

// rolloutRoutes has a route whose clients miss nothing, whichever replica they come back to.
const rolloutRoutes = `
version: 1
routes:
  - name: events
    path: /v1/events
    source: {type: stream, stream: EVENTS, subject: "events.all"}
`

// audience is many clients that come back as an EventSource does, and count what they get.
type audience struct {
	urls    []string // of the proxies, in turn
	reading sync.WaitGroup
	last    atomic.Int64 // the number of the last event there will be; 0 = not known yet

	mu    sync.Mutex
	ends  []ending
	backs []time.Time // when streams were open again
	wrong map[string]int
	lost  int
	twice int
	early map[string]int // answers that turned a client away
}

// ending is the end of one stream.
type ending struct {
	at     time.Time
	reason string
}

func (a *audience) fault(text string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.wrong == nil {
		a.wrong = map[string]int{}
	}
	a.wrong[text]++
}

// listener is one of them.
type listener struct {
	all   *audience
	url   string
	id    string
	retry time.Duration
	next  int64 // number of the next event; 0 = any
	again bool  // it has had a stream
	done  bool
}

// follow is its life: streams, one after the other, until it has everything.
func (l *listener) follow(ctx context.Context, ready func()) {
	l.retry = time.Second
	for !l.done && ctx.Err() == nil {
		l.once(ctx, ready)
		if l.done {
			return
		}
		select {
		case <-ctx.Done():
		case <-time.After(l.retry): // as the specification wants it
		}
	}
}

func (l *listener) once(ctx context.Context, ready func()) {
	var header []string
	if l.id != "" {
		header = []string{"Last-Event-ID", l.id}
	}
	s, err := stream.Open(ctx, l.url, header...)
	if err != nil {
		if ctx.Err() == nil { // a 502 as much as a refused connection: an EventSource gives up at the one
			l.all.fault(strings.ReplaceAll(err.Error(), l.url, "URL"))
		}
		return
	}
	defer s.Close()
	for !l.done {
		b, err := s.Next(ctx)
		if err != nil {
			if ctx.Err() == nil && !errors.Is(err, io.EOF) {
				l.all.fault("broken: " + err.Error())
			}
			return
		}
		l.block(b, ready)
	}
}

func (l *listener) block(b stream.Block, ready func()) {
	if ms, err := strconv.Atoi(b.Retry()); err == nil {
		l.retry = time.Duration(ms) * time.Millisecond
	}
	if id := b.ID(); id != "" {
		l.id = id
	}
	if !b.HasData() {
		return
	}
	switch b.Event() {
	case "$ready":
		if l.again {
			l.all.mu.Lock()
			l.all.backs = append(l.all.backs, time.Now())
			l.all.mu.Unlock()
		}
		l.again = true
		ready()
	case "$gap":
		l.all.fault("gap: " + b.Data())
	case "$end":
		reason, _, _ := strings.Cut(strings.TrimPrefix(b.Data(), `{"reason":"`), `"`)
		l.all.mu.Lock()
		l.all.ends = append(l.all.ends, ending{time.Now(), reason})
		l.all.mu.Unlock()
	case "message":
		n, err := strconv.ParseInt(b.Data(), 10, 64)
		if err != nil {
			l.all.fault("event: " + b.String())
			return
		}
		l.number(n)
	}
}

func (l *listener) number(n int64) {
	l.all.mu.Lock()
	switch {
	case l.next == 0 || n == l.next:
	case n < l.next:
		l.all.twice++
	default:
		l.all.lost += int(n - l.next)
	}
	l.all.mu.Unlock()
	l.next = n + 1
	last := l.all.last.Load()
	l.done = last > 0 && n >= last
}

// assemble opens n streams and waits until all are there.
func assemble(t *testing.T, ctx context.Context, n int, urls ...string) *audience {
	t.Helper()
	a := &audience{urls: urls}
	var ready sync.WaitGroup
	connecting := make(chan struct{}, 32) // so many at once
	for i := range n {
		ready.Add(1)
		connecting <- struct{}{}
		once := sync.OnceFunc(func() { ready.Done(); <-connecting })
		a.reading.Go(func() {
			(&listener{all: a, url: urls[i%len(urls)]}).follow(ctx, once)
			once()
		})
	}
	ready.Wait()
	return a
}

// check wants every client to have everything, once.
func (a *audience) check(t *testing.T) {
	t.Helper()
	a.reading.Wait()
	a.mu.Lock()
	defer a.mu.Unlock()
	for text, n := range a.wrong {
		t.Errorf("%d times: %s", n, text)
	}
	if a.lost > 0 || a.twice > 0 {
		t.Errorf("%d events lost, %d twice", a.lost, a.twice)
	}
}

// between are the ends with a reason in a time, in so many parts of it; those behind it count for the last part.
func (a *audience) between(reason string, from time.Time, length time.Duration, parts int) []int {
	a.mu.Lock()
	defer a.mu.Unlock()
	var at []time.Time
	for _, e := range a.ends {
		if e.reason == reason {
			at = append(at, e.at)
		}
	}
	return spread(at, from, length, parts)
}

// reopened are the streams that were open again in a time, likewise.
func (a *audience) reopened(from time.Time, length time.Duration, parts int) []int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return spread(a.backs, from, length, parts)
}

func spread(all []time.Time, from time.Time, length time.Duration, parts int) []int {
	histogram := make([]int, parts)
	for _, t := range all {
		if at := t.Sub(from); at >= 0 && at < 2*length {
			histogram[min(int(at*time.Duration(parts)/length), parts-1)]++
		}
	}
	return histogram
}

// announcer publishes numbers to a stream.
type announcer struct {
	js   jetstream.JetStream
	stop context.CancelFunc
	done chan int64 // the last number
}

func announce(t *testing.T, g *stack.NATS, every time.Duration) *announcer {
	t.Helper()
	js, err := jetstream.New(g.Connect(t))
	must(t, err)
	_, err = js.CreateStream(t.Context(), jetstream.StreamConfig{Name: "EVENTS", Subjects: []string{"events.>"}, AllowDirect: true})
	must(t, err)
	ctx, stop := context.WithCancel(t.Context())
	p := &announcer{js: js, stop: stop, done: make(chan int64, 1)}
	go func() {
		tick := time.NewTicker(every)
		defer tick.Stop()
		for n := int64(1); ; n++ {
			if _, err := js.Publish(context.WithoutCancel(ctx), "events.all", []byte(strconv.FormatInt(n, 10))); err != nil {
				t.Errorf("publish: %v", err)
			}
			select {
			case <-ctx.Done():
				p.done <- n
				return
			case <-tick.C:
			}
		}
	}()
	return p
}

// finish publishes the last event, which ends the clients that have it.
func (p *announcer) finish(t *testing.T, a *audience) int64 {
	t.Helper()
	p.stop()
	last := <-p.done + 1
	a.last.Store(last)
	_, err := p.js.Publish(t.Context(), "events.all", []byte(strconv.FormatInt(last, 10)))
	must(t, err)
	return last
}

func streamsOf(t *testing.T, g *stack.Headgate) int {
	t.Helper()
	ctx, cancel := soon(t)
	defer cancel()
	n, err := g.Metric(ctx, "headgate_streams")
	must(t, err)
	return int(n)
}

// sized is a number that the environment may raise, for the runs whose figures are in the documentation.
func sized(t *testing.T, variable string, normally int) int {
	t.Helper()
	text := os.Getenv(variable)
	if text == "" {
		return normally
	}
	n, err := strconv.Atoi(text)
	must(t, err)
	return n
}

// Three replicas behind HAProxy and nginx are restarted one after the other, as a Deployment does it, while events are published.
func TestRollout_OfThreeReplicasLosesNothingAndNoRequestFails(t *testing.T) {
	const drain, parts = 8 * time.Second, 8
	streams := sized(t, "HEADGATE_ROLLOUT_STREAMS", 600)
	ns := stack.StartNATS(t, "")
	events := announce(t, ns, 100*time.Millisecond)
	options := stack.Options{NATS: ns.URL(), Routes: rolloutRoutes, Env: pairs([]string{"SHUTDOWN_DELAY", "1s", "SHUTDOWN_DRAIN", drain.String(),
		"SHUTDOWN_TIMEOUT", "30s", "SSE_RETRY", "500ms", "SSE_RETRY_JITTER", "500ms", "SSE_OVERLOAD_RETRY", "500ms", "SSE_OVERLOAD_JITTER", "500ms",
		"LOG_LEVEL", "warn"})}
	var gates []*stack.Headgate
	for range 3 {
		gates = append(gates, stack.StartHeadgate(t, options))
	}
	haproxy, nginx := stack.StartHAProxyRollout(t, gates...), stack.StartNginxRollout(t, gates...)
	ctx, cancel := stack.Deadline(t, 5*time.Minute)
	defer cancel()
	a := assemble(t, ctx, streams, haproxy.URL+"/v1/events", nginx.URL+"/v1/events")
	for i, g := range gates {
		before := streamsOf(t, g)
		begun := time.Now()
		must(t, g.Signal(syscall.SIGTERM))
		code, err := g.Wait(ctx)
		must(t, err)
		if code != 0 {
			t.Errorf("exit code %d", code)
		}
		took := time.Since(begun)
		g.Restart(t)
		backs := a.reopened(begun, drain, parts)
		histogram := a.between("draining", begun, drain, parts)
		t.Logf("replica %d: %d streams, drained in %s; ends in each second of the drain of %s: %v; open again: %v", i+1, before, took.Round(time.Millisecond), drain,
			histogram, backs)
		ended, back := 0, 0
		for n := range parts {
			ended += histogram[n]
			back += backs[n]
		}
		if most := slices.Max(backs); back < before/2 || most > max(10, back*2/5) {
			t.Errorf("of %d streams %d were open again, and %d of them in one second", before, back, most)
		}
		if most := slices.Max(histogram); ended < before || most > max(10, ended*2/5) {
			t.Errorf("of %d streams %d ended, and %d of them in one second", before, ended, most)
		}
	}
	last := events.finish(t, a)
	a.check(t)
	t.Logf("%d streams, %d events each, %d streams ended and resumed: none lost, none twice", streams, last, len(a.ends))
}

// With SSE_MAX_AGE a replica that comes later gets its share.
func TestLifetime_GivesANewReplicaItsShare(t *testing.T) {
	const age = 6 * time.Second
	streams := sized(t, "HEADGATE_ROLLOUT_STREAMS", 400)
	ns := stack.StartNATS(t, "")
	events := announce(t, ns, 100*time.Millisecond)
	options := stack.Options{NATS: ns.URL(), Routes: rolloutRoutes, Env: pairs([]string{"SSE_MAX_AGE", age.String(), "SSE_RETRY", "200ms",
		"SSE_RETRY_JITTER", "200ms", "LOG_LEVEL", "warn"})}
	old, fresh := stack.StartHeadgate(t, options), stack.StartHeadgate(t, options)
	front := stack.StartHAProxyRollout(t, old, fresh)
	fresh.Kill()
	ctx, cancel := stack.Deadline(t, 3*time.Minute)
	defer cancel()
	must(t, stack.Poll(ctx, func() error { // until the balancer knows
		for range 4 {
			s, err := stream.Open(ctx, front.URL+"/v1/events")
			if err != nil {
				return err
			}
			s.Close()
		}
		return nil
	}))
	begun := time.Now()
	a := assemble(t, ctx, streams, front.URL+"/v1/events")
	assembled := time.Since(begun)
	fresh.Restart(t)
	share := func() (float64, int) {
		mine, all := streamsOf(t, fresh), streamsOf(t, fresh)+streamsOf(t, old)
		return float64(mine) / float64(max(all, 1)), all
	}
	must(t, stack.Poll(ctx, func() error {
		if part, all := share(); part < 0.4 || part > 0.6 || all < streams*9/10 {
			return fmt.Errorf("the new replica has %.0f%% of %d streams", 100*part, all)
		}
		return nil
	}))
	even := time.Since(begun)
	part, _ := share()
	last := events.finish(t, a)
	a.check(t)
	t.Logf("%d streams opened within %s; with SSE_MAX_AGE=%s the new replica had %.0f%% after %s; ends in each second from the first stream on: %v; %d events each, none lost, none twice",
		streams, assembled.Round(time.Millisecond), age, 100*part, even.Round(time.Millisecond), a.between("lifetime", begun, 20*time.Second, 20), last)
	for second, n := range a.between("lifetime", begun, 5*time.Second, 5)[:4] {
		if n > 0 {
			t.Errorf("%d streams ended in second %d of at least 5.4", n, second)
		}
	}
}
