//go:build !nodev

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"headgate/internal/sse"
)

// storm is a gateway whose routes change all the time, with those who must not notice it and those who come and go.
type storm struct {
	*configured
	counter     atomic.Int64 // the next number, on each subject
	values      jetstream.KeyValue
	client      *http.Client
	connects    atomic.Int64
	wrong       chan string
	kept, churn sync.WaitGroup
}

func (s *storm) fail(format string, args ...any) {
	select {
	case s.wrong <- fmt.Sprintf(format, args...):
	default:
	}
}

// stormRoutes is the routes file of a reload. The first three routes are always about the same.
func stormRoutes(n int) []string {
	origins := []string{"", `cors: {origins: ["https://a.example"]}`, `cors: {origins: ["https://b.example"]}, on_overload: retry`}[n%3]
	lines := []string{core("a"), onStream("eu", "ORDERS", "orders.eu"), route("flags", "type: kv, bucket: FLAGS", "envelope: none")}
	if origins != "" {
		lines = []string{core("a", origins), onStream("eu", "ORDERS", "orders.eu", origins), route("flags", "type: kv, bucket: FLAGS", "envelope: none", origins, fmt.Sprintf("limits: {connections: %d}", 1000+n))}
	}
	lines = append(lines, core("changing", fmt.Sprintf("event: {type: e%d}", n)))
	if n%2 == 0 {
		lines = append(lines, onStream("us", "ORDERS", "orders.us"))
	}
	if n%3 != 0 {
		lines = append(lines, onStream("jobs", "JOBS", "jobs.>"))
	}
	return append(lines, core(fmt.Sprintf("t%d", n%5)))
}

// keep reads a stream that must not end, and wants every number, in order.
func (s *storm) keep(path string, last func() int64) {
	resp, err := s.get(path)
	if err != nil {
		s.fail("%s: %v", path, err)
		return
	}
	events := sse.NewDecoder(resp.Body)
	s.kept.Go(func() {
		defer resp.Body.Close()
		next := int64(-1)
		for {
			e, err := events.Next()
			if err != nil {
				s.fail("%s broke behind %d: %v", path, next, err)
				return
			}
			if e.Type == "$gap" || e.Type == "$end" {
				s.fail("%s: %s %s", path, e.Type, e.Data)
				return
			}
			n, err := strconv.ParseInt(e.Data, 10, 64)
			if err != nil {
				continue
			}
			state := path == "/flags" // whoever catches up with a bucket is given the last value alone
			if next >= 0 && n != next && !(state && n > next) {
				s.fail("%s: %d, want %d", path, n, next)
				return
			}
			if next = n + 1; n >= last() {
				return
			}
		}
	})
}

func (s *storm) get(path string) (*http.Response, error) {
	req, err := http.NewRequestWithContext(s.t.Context(), http.MethodGet, s.public+path, nil)
	if err != nil {
		return nil, err
	}
	resp, err := s.client.Do(req)
	if err == nil && resp.StatusCode != http.StatusOK {
		body, _ := io.ReadAll(resp.Body)
		resp.Body.Close()
		return resp, fmt.Errorf("%s: %s", resp.Status, body)
	}
	return resp, err
}

// comeAndGo opens a stream that may be there or not, again and again. Nothing but a stream or 404 is right, and a stream of a route that
// has changed never gives events of another version of it.
func (s *storm) comeAndGo(ctx context.Context, path string) {
	for ctx.Err() == nil {
		resp, err := s.get(path)
		switch {
		case err != nil && resp != nil && resp.StatusCode == http.StatusNotFound:
			time.Sleep(time.Millisecond) // a rate, not a wait
			continue
		case err != nil:
			if ctx.Err() == nil {
				s.fail("%s: %v", path, err)
			}
			return
		}
		s.connects.Add(1)
		stop := context.AfterFunc(ctx, func() { resp.Body.Close() })
		events := sse.NewDecoder(resp.Body)
		kind := ""
		for {
			e, err := events.Next()
			if err != nil {
				if ctx.Err() == nil && !errors.Is(err, io.EOF) {
					s.fail("%s ended with %v", path, err)
				}
				break
			}
			switch {
			case e.Type == "$end" && !strings.Contains(e.Data, `"route-`), e.Type == "$gap":
				s.fail("%s: %s %s", path, e.Type, e.Data)
			case strings.HasPrefix(e.Type, "e"):
				if kind != "" && e.Type != kind {
					s.fail("%s: an event of type %s in a stream of %s", path, e.Type, kind)
				}
				kind = e.Type
			}
		}
		stop()
		resp.Body.Close()
	}
}

// publish publishes the same numbers everywhere until ctx ends.
func (s *storm) publishAll(ctx context.Context) {
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for n := s.counter.Load(); ; n++ {
		text := []byte(strconv.FormatInt(n, 10))
		for _, subject := range []string{"a.x", "changing.x", "t1.x"} {
			if err := s.nc.Publish(subject, text); err != nil {
				s.fail("publish: %v", err)
			}
		}
		for _, subject := range []string{"orders.eu", "orders.us", "jobs.1"} {
			if _, err := s.js.PublishAsync(subject, text); err != nil {
				s.fail("publish: %v", err)
			}
		}
		if _, err := s.values.Put(context.WithoutCancel(ctx), "k", text); err != nil {
			s.fail("put: %v", err)
		}
		s.counter.Store(n + 1)
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

func TestReload_ManyTimesUnderLoadCutsNoStreamThatShouldLive(t *testing.T) {
	reloads := 200
	if text := os.Getenv("HEADGATE_RELOADS"); text != "" { // 1000 of them take a minute or more
		var err error
		if reloads, err = strconv.Atoi(text); err != nil {
			t.Fatal(err)
		}
	}
	s := &storm{configured: startConfigured(t, []string{core("a")}, "ROUTES_RELOAD=5ms", "NATS_TOPIC_LINGER=50ms", "ROUTES_SPREAD=20ms"),
		wrong: make(chan string, 20)}
	s.client = &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	s.stream("ORDERS", "orders.>")
	s.stream("JOBS", "jobs.>")
	var err error
	if s.values, err = s.js.CreateKeyValue(t.Context(), jetstream.KeyValueConfig{Bucket: "FLAGS"}); err != nil {
		t.Fatal(err)
	}
	s.swap(stormRoutes(0)...)
	s.reloads("taken", 1)
	ctx, stop := context.WithCancel(t.Context())
	var publishing sync.WaitGroup
	publishing.Go(func() { s.publishAll(ctx) })
	var last atomic.Int64
	last.Store(1 << 60)
	for range 20 {
		for _, path := range []string{"/a", "/eu", "/flags"} {
			s.keep(path, last.Load)
		}
	}
	goroutines, groups := runtime.NumGoroutine(), s.metric("headgate_delivery_groups")
	churning, calm := context.WithCancel(t.Context())
	for _, path := range []string{"/changing", "/us", "/jobs", "/t1", "/t2"} {
		for range 3 {
			s.churn.Go(func() { s.comeAndGo(churning, path) })
		}
	}
	began := time.Now()
	bad := 0
	for n := 1; n <= reloads; n++ {
		if n%10 == 0 {
			bad++
			s.swapText("version: 1\nroutes: [" + strconv.Itoa(n))
			s.reloads("refused", bad)
		}
		s.swap(stormRoutes(n)...)
		s.reloads("taken", n+1)
		if n%50 == 0 {
			if status, text := s.configured.get(s.admin + "/debug/consistency"); status != http.StatusOK {
				t.Errorf("reload %d: %s", n, text)
			}
		}
		select {
		case text := <-s.wrong:
			t.Fatalf("reload %d: %s\n%s", n, text, s.stderr)
		default:
		}
	}
	took := time.Since(began)
	calm()
	s.churn.Wait()
	s.swap(stormRoutes(0)...)
	s.reloads("taken", reloads+2)
	s.until("old routes are settled, with all they had", func() bool {
		return s.metric("headgate_delivery_groups") == groups && s.consumers("JOBS") == 0 && s.consumers("ORDERS") == 1 && s.metric(`headgate_streams{route="t1"}`) == ""
	})
	s.until("no goroutine is left of them", func() bool {
		s.client.CloseIdleConnections()
		http.DefaultClient.CloseIdleConnections()
		return runtime.NumGoroutine() <= goroutines+2
	})
	stop()
	publishing.Wait()
	last.Store(s.counter.Load())
	s.publishAll(ctx) // one more
	s.kept.Wait()     // each has everything up to the last
	close(s.wrong)
	for text := range s.wrong {
		t.Error(text)
	}
	t.Logf("%d reloads and %d refused in %s; %d messages on each subject to 60 streams, none cut; %d streams came and went",
		reloads, bad, took.Round(time.Millisecond), s.counter.Load(), s.connects.Load())
	if s.connects.Load() < int64(reloads)/2 {
		t.Error("too few came and went to prove anything")
	}
}
