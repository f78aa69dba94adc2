//go:build !nodev

package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	"headgate/internal/devnats"
	"headgate/internal/flow"
	"headgate/internal/sse"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// process is the program, running in this process.
type process struct {
	t             *testing.T
	stdout        *buffer
	stderr        *buffer
	signals       chan os.Signal
	done          chan struct{}
	code          int
	public, admin string // base URLs
}

// buffer is a bytes.Buffer for two goroutines.
type buffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

// base keeps a test's program off the ports and the runtime settings of everybody else.
func base(more ...string) []string {
	return append([]string{"HTTP_ADDR=127.0.0.1:0", "ADMIN_ADDR=127.0.0.1:0", "LOG_FORMAT=json", "GOGC=100", "GOMAXPROCS=2", "SHUTDOWN_DELAY=0s", "SHUTDOWN_DRAIN=300ms"}, more...)
}

// start runs the program until the test ends, with a cache of its own.
func start(t *testing.T, environ []string, args ...string) *process {
	t.Helper()
	return startWith(t, t.TempDir(), environ, args...)
}

func startWith(t *testing.T, cache string, environ []string, args ...string) *process {
	t.Helper()
	p := &process{t: t, stdout: &buffer{}, stderr: &buffer{}, signals: make(chan os.Signal, 2), done: make(chan struct{})}
	prog := program{args: args, environ: environ, stdout: p.stdout, stderr: p.stderr, signals: p.signals, name: "headgate", cache: cache}
	ctx, cancel := context.WithCancel(context.Background())
	go func() {
		defer close(p.done)
		p.code = prog.run(ctx)
	}()
	t.Cleanup(func() {
		cancel()
		p.wait()
		http.DefaultClient.CloseIdleConnections()
	})
	return p
}

// listening waits for the addresses, which the log tells.
func (p *process) listening() *process {
	p.t.Helper()
	p.until("the program listens", func() bool {
		for line := range strings.Lines(p.stderr.String()) {
			var entry struct{ Msg, HTTP, Admin string }
			if json.Unmarshal([]byte(line), &entry) == nil && entry.Msg == "headgate is listening" {
				p.public, p.admin = "http://"+entry.HTTP, "http://"+entry.Admin
				return true
			}
		}
		return false
	})
	return p
}

func (p *process) until(what string, ok func() bool) {
	p.t.Helper()
	for deadline := time.Now().Add(patience); !ok(); {
		if time.Now().After(deadline) {
			p.t.Fatalf("not within %s: %s\nstdout:\n%s\nstderr:\n%s", patience, what, p.stdout, p.stderr)
		}
		select {
		case <-time.After(10 * time.Millisecond):
		case <-p.done:
			if !ok() {
				p.t.Fatalf("the program ended with %d before: %s\nstderr:\n%s", p.code, what, p.stderr)
			}
			return
		}
	}
}

// wait gives the exit code.
func (p *process) wait() int {
	p.t.Helper()
	select {
	case <-p.done:
	case <-time.After(patience):
		p.t.Fatalf("the program does not end\nstderr:\n%s", p.stderr)
	}
	return p.code
}

// status is that of a GET on the admin or the public side.
func (p *process) get(url string) (int, string) {
	p.t.Helper()
	req, err := http.NewRequestWithContext(p.t.Context(), http.MethodGet, url, nil)
	if err != nil {
		p.t.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0, err.Error()
	}
	defer resp.Body.Close()
	body, _ := io.ReadAll(resp.Body)
	return resp.StatusCode, string(body)
}

func (p *process) ready() {
	p.t.Helper()
	p.until("/readyz is 200", func() bool { status, _ := p.get(p.admin + "/readyz"); return status == http.StatusOK })
}

// open opens a stream and reads its $ready.
func (p *process) open(path string) *stream {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(p.t.Context(), patience)
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, p.public+path, nil)
	if err != nil {
		p.t.Fatal(err)
	}
	req.Header.Set("Accept", "text/event-stream")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		p.t.Fatalf("GET %s: %v\nstderr:\n%s", path, err, p.stderr)
	}
	p.t.Cleanup(func() { cancel(); _ = resp.Body.Close() })
	if resp.StatusCode != http.StatusOK {
		body, _ := io.ReadAll(resp.Body)
		p.t.Fatalf("GET %s: %s\n%s", path, resp.Status, body)
	}
	s := &stream{t: p.t, stderr: p.stderr, events: sse.NewDecoder(resp.Body), close: cancel}
	s.next("$ready")
	return s
}

type stream struct {
	t      *testing.T
	stderr *buffer // of the program
	events *sse.Decoder
	close  func()
}

// next is the next event of the type, whatever comes before it.
func (s *stream) next(eventType string) sse.Event {
	s.t.Helper()
	var passed []sse.Event
	for {
		e, err := s.events.Next()
		if err != nil {
			s.t.Fatalf("waiting for %s, after %+v: %v\nstderr:\n%s", eventType, passed, err, s.stderr)
		}
		passed = append(passed, e)
		if e.Type == eventType {
			return e
		}
	}
}

func TestDev_ARealMessageOfARealNATSArrivesWithNothingButTheProgram(t *testing.T) {
	p := start(t, base(), "-dev").listening()
	p.ready()
	prices := p.open("/v1/prices/ACME")
	for range 3 {
		e := prices.next("price")
		var price struct {
			Symbol string
			Price  float64
		}
		if err := json.Unmarshal([]byte(e.Data), &price); err != nil || price.Symbol != "ACME" || price.Price <= 0 {
			t.Fatalf("event %+v: %v", e, err)
		}
		if e.ID == "" {
			t.Errorf("event without an id: %+v", e)
		}
	}
	if e := p.open("/v1/analytics").next("analytics"); !strings.Contains(e.Data, `"streams":`) {
		t.Errorf("analytics: %+v", e)
	}
	if e := p.open("/v1/feed?subject=demo.prices.*").next("message"); !strings.Contains(e.Data, "demo.prices.") {
		t.Errorf("feed: %+v", e)
	}
}

func TestDev_HasAStreamABucketAndAJobThatEnds(t *testing.T) {
	p := start(t, base(), "-dev").listening()
	p.ready()
	orders := p.open("/v1/orders/eu")
	first := orders.next("$snapshot").ID
	var last int
	for range 3 { // one after the other, so that a hole on a page would be one of ours
		var order struct{ Order int }
		e := orders.next("order")
		if err := json.Unmarshal([]byte(e.Data), &order); err != nil || e.ID == "" || last != 0 && order.Order != last+1 {
			t.Fatalf("after order %d: %+v, %v", last, e, err)
		}
		last = order.Order
	}
	again := p.open("/v1/orders/eu?last-event-id=" + first)
	again.next("order")
	again.next("$live")
	if e := p.open("/v1/flags/prod").next("put"); !strings.Contains(e.Data, `"key":"prod.`) {
		t.Errorf("flags: %+v", e)
	}
	job := p.open("/v1/jobs/1")
	if e := job.next("progress"); !strings.Contains(e.Data, `"percent":`) {
		t.Errorf("job: %+v", e)
	}
}

func TestDev_MakesNoStreamsInANATSOfYourOwn(t *testing.T) {
	nats, err := devnats.Start(devnats.Options{JetStream: true})
	if err != nil {
		t.Fatal(err)
	}
	defer nats.Shutdown()
	p := start(t, base("NATS_URL="+nats.URL()), "-dev").listening()
	p.ready()
	p.open("/v1/prices/ACME").next("price") // the demo has had its first round
	if status, body := p.get(p.public + "/v1/orders/eu"); !strings.Contains(body, "source") {
		t.Errorf("a stream that is not there: %d %s", status, body)
	}
	info, err := nats.NATS().Jsz(nil)
	if err != nil || info.Streams != 0 {
		t.Errorf("%+v, %v", info, err)
	}
}

// The job ends with the status that its route says, and the next one begins.
func TestDemo_TheJobGetsDone(t *testing.T) {
	said := &says{}
	d := newDemo(said, nothing{}, func() int { return 0 }, slog.New(slog.DiscardHandler))
	for range 4 * (100/demoJobStep + 1) {
		d.round(t.Context())
	}
	var reports []string
	for _, m := range said.list {
		if strings.HasPrefix(m, "demo.jobs.") {
			reports = append(reports, m)
		}
	}
	n := 100 / demoJobStep
	if len(reports) != n+1 || reports[n-1] != `demo.jobs.1 {"job":1,"percent":100,"status":"done"}` ||
		reports[n] != fmt.Sprintf(`demo.jobs.2 {"job":2,"percent":%d,"status":"running"}`, demoJobStep) {
		t.Errorf("%d reports: %q", len(reports), reports)
	}
}

// says notes what is published; nothing is a bucket that takes everything.
type (
	says    struct{ list []string }
	nothing struct{}
)

func (s *says) Publish(_ context.Context, subject string, _ map[string][]string, body []byte) (flow.Ack, error) {
	s.list = append(s.list, subject+" "+string(body))
	return flow.Ack{}, nil
}
func (nothing) Put(context.Context, string, string, []byte) error { return nil }
func (nothing) Delete(context.Context, string, string) error      { return nil }

func TestDev_WhatIsPostedArrivesAtTheStreamsItIsMeantFor(t *testing.T) {
	p := start(t, base(), "-dev").listening()
	p.ready()
	everybody, bob := p.open("/v1/broadcast"), p.open("/v1/users/bob/notifications")
	p.post("/v1/broadcast", "hello, all")
	if e := everybody.next("message"); e.Data != "hello, all" {
		t.Errorf("broadcast: %+v", e)
	}
	p.post("/v1/users/carol/notify/test", "not for bob")
	p.post("/v1/users/bob/notify/test", "for bob")
	if e := bob.next("test"); e.Data != "for bob" {
		t.Errorf("notification: %+v", e)
	}
}

func (p *process) post(path, body string) {
	p.t.Helper()
	resp, err := http.Post(p.public+path, "text/plain", strings.NewReader(body))
	if err != nil {
		p.t.Fatal(err)
	}
	defer resp.Body.Close()
	if answer, _ := io.ReadAll(resp.Body); resp.StatusCode != http.StatusAccepted && resp.StatusCode != http.StatusOK {
		p.t.Fatalf("POST %s: %s\n%s", path, resp.Status, answer)
	}
}

func TestDev_AProblemShowsThePatternAsItWasWritten(t *testing.T) {
	p := start(t, base(), "-dev").listening()
	status, body := p.get(p.public + "/v1/prices/acme")
	if status != http.StatusBadRequest || !strings.Contains(body, "{symbol} must match [A-Z]{1,6}.") {
		t.Errorf("%d %s", status, body)
	}
}

func TestDev_ServesRoutesOfYourOwnAndLeavesTheirSubjectsAlone(t *testing.T) {
	file := filepath.Join(t.TempDir(), "routes.yaml")
	routes := "version: 1\nroutes:\n  - name: own\n    path: /own/{who}\n    source: {type: core, subject: \"own.{who}\"}\n    publish: {subject: \"own.{who}\"}\n"
	if err := os.WriteFile(file, []byte(routes), 0o600); err != nil {
		t.Fatal(err)
	}
	p := start(t, base("ROUTES_FILE="+file), "-dev").listening()
	p.ready()
	own := p.open("/own/me")
	p.post("/own/me", "mine")
	if e := own.next("message"); e.Data != "mine" {
		t.Errorf("%+v", e)
	}
	if status, _ := p.get(p.public + "/v1/analytics"); status != http.StatusNotFound {
		t.Errorf("a demo route is served: %d", status)
	}
}

func TestServe_WithoutNATSItLivesIsNotReadyAndBecomesSo(t *testing.T) {
	nats, err := devnats.Start(devnats.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer nats.Shutdown()
	nats.Stop()
	p := start(t, base("AUTH_MODE=none", "SUBJECTS_ALLOW=feed.>", "NATS_URL="+nats.URL(), "NATS_RECONNECT_WAIT=20ms", "NATS_RECONNECT_JITTER=10ms")).listening()
	if status, _ := p.get(p.admin + "/livez"); status != http.StatusOK {
		t.Errorf("livez: %d", status)
	}
	if status, body := p.get(p.admin + "/readyz"); status != http.StatusServiceUnavailable || !strings.Contains(body, "nats") {
		t.Errorf("readyz: %d %s", status, body)
	}
	// Descriptions need no NATS, and are for operators: nothing of them is on the public side.
	for path, word := range map[string]string{"/openapi.json": `"stream_events"`, "/schema/routes.json": `"heartbeat"`} {
		if status, body := p.get(p.admin + path); status != http.StatusOK || !strings.Contains(body, word) {
			t.Errorf("%s: %d %s", path, status, body)
		}
		if status, _ := p.get(p.public + path); status != http.StatusNotFound {
			t.Errorf("%s is public: %d", path, status)
		}
	}
	if err := nats.Restart(); err != nil {
		t.Fatal(err)
	}
	p.ready()
	if status, body := p.get(p.admin + "/metrics"); status != http.StatusOK || !strings.Contains(body, "headgate_") || !strings.Contains(body, "go_goroutines") {
		t.Errorf("metrics: %d", status)
	}
	if status, _ := p.get(p.public + "/console/"); status != http.StatusNotFound {
		t.Errorf("the console is served unasked: %d", status)
	}
}

func TestSignal_TheFirstDrainsAndEveryStreamIsToldSo(t *testing.T) {
	p := start(t, base(), "-dev").listening()
	p.ready()
	streams := []*stream{p.open("/v1/broadcast"), p.open("/v1/broadcast"), p.open("/v1/prices/HOOLI")}
	p.signals <- syscall.SIGTERM
	for _, s := range streams {
		if e := s.next("$end"); e.Data != `{"reason":"draining","reconnect":true}` {
			t.Errorf("%+v", e)
		}
	}
	if code := p.wait(); code != exitOK {
		t.Errorf("exit code %d\n%s", code, p.stderr)
	}
	if _, err := net.DialTimeout("tcp", strings.TrimPrefix(p.public, "http://"), time.Second); err == nil {
		t.Error("the listener is still open")
	}
}

func TestListen_EveryAddressServesAndIsDrained(t *testing.T) {
	p := start(t, base("HTTP_MORE_ADDRS=127.0.0.1:0,localhost:0"), "-dev").listening()
	p.ready()
	var entry struct{ More []string }
	for line := range strings.Lines(p.stderr.String()) {
		if strings.Contains(line, "headgate is listening") {
			_ = json.Unmarshal([]byte(line), &entry)
		}
	}
	if len(entry.More) != 2 {
		t.Fatalf("listening on %v besides %s", entry.More, p.public)
	}
	streams := []*stream{p.open("/v1/broadcast")}
	for _, addr := range entry.More {
		p.public = "http://" + addr
		streams = append(streams, p.open("/v1/broadcast"))
	}
	p.signals <- syscall.SIGTERM
	for _, s := range streams {
		if e := s.next("$end"); e.Data != `{"reason":"draining","reconnect":true}` {
			t.Errorf("%+v", e)
		}
	}
	if code := p.wait(); code != exitOK {
		t.Errorf("exit code %d\n%s", code, p.stderr)
	}
	for _, addr := range entry.More {
		if c, err := net.DialTimeout("tcp", addr, time.Second); err == nil {
			_ = c.Close()
			t.Errorf("%s is still open", addr)
		}
	}
}

func TestSignal_TheSecondStopsAtOnce(t *testing.T) {
	p := start(t, base("SHUTDOWN_DRAIN=10m", "SHUTDOWN_TIMEOUT=11m"), "-dev").listening()
	p.ready()
	s := p.open("/v1/broadcast")
	defer s.close()
	p.signals <- syscall.SIGTERM
	p.until("readiness fails while it drains", func() bool { status, _ := p.get(p.admin + "/readyz"); return status == http.StatusServiceUnavailable })
	p.signals <- syscall.SIGINT
	if code := p.wait(); code != exitOK {
		t.Errorf("exit code %d\n%s", code, p.stderr)
	}
}

func TestSignal_NoDrainLastsLongerThanItsTimeout(t *testing.T) {
	p := start(t, base("SHUTDOWN_DRAIN=10ms", "SHUTDOWN_TIMEOUT=20ms"), "-dev").listening()
	p.ready()
	p.open("/v1/broadcast")
	p.signals <- syscall.SIGTERM
	if code := p.wait(); code != exitOK {
		t.Errorf("exit code %d\n%s", code, p.stderr)
	}
}
