//go:build !nodev

package main

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

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
