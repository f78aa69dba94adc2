// Package browser drives a real Chromium, without a window, over its DevTools protocol. One process serves all tests; every test
// gets a page in a context of its own, which shares neither cookies nor connections with the others.
package browser

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"sync"
	"testing"
	"time"

	"headgate/e2e/internal/need"
	"headgate/e2e/internal/proc"
)

const startWait = 60 * time.Second // a cold start on a busy machine of two cores takes 10 s

var devtools = regexp.MustCompile(`DevTools listening on (ws://\S+)`)

// shared is the one browser of this test binary, started by the first test that needs it.
var shared struct {
	mu   sync.Mutex
	proc *proc.Process
	conn *connection
	dir  string
}

// New opens an empty page for the length of the test, and starts Chromium when this is the first.
func New(t testing.TB) *Page {
	t.Helper()
	path := need.Program(t, "chromium", "chromium", "chromium-browser", "google-chrome")
	conn, err := start(path)
	if err != nil {
		t.Fatal(err)
	}
	page, err := newPage(t.Context(), conn)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("what the page said: %q", page.Said())
		}
		page.close()
	})
	return page
}

// Close ends Chromium. TestMain calls it.
func Close() {
	shared.mu.Lock()
	defer shared.mu.Unlock()
	if shared.proc != nil {
		shared.conn.ws.CloseNow()
		shared.proc.Kill() // nothing of it is kept
		_ = os.RemoveAll(shared.dir)
		shared.proc = nil
	}
}

func start(path string) (*connection, error) {
	shared.mu.Lock()
	defer shared.mu.Unlock()
	if shared.proc != nil {
		return shared.conn, nil
	}
	dir, err := os.MkdirTemp("", "headgate-chromium-")
	if err != nil {
		return nil, err
	}
	p, err := proc.Start("chromium", exec.Command(path, "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage",
		"--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync",
		"--disable-default-apps", "--disable-extensions", "--metrics-recording-only", "--no-proxy-server",
		// Pages of several tests are open at once, and each is to be as awake as if it were the only one.
		"--disable-background-timer-throttling", "--disable-backgrounding-occluded-windows", "--disable-renderer-backgrounding",
		"--ignore-certificate-errors", // the tests make their own certificates
		"--user-data-dir="+dir, "--remote-debugging-port=0", "about:blank"))
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(context.Background(), startWait)
	defer cancel()
	m, err := p.WaitOutput(ctx, devtools)
	if err != nil {
		p.Kill()
		return nil, err
	}
	conn, err := dial(ctx, m[1])
	if err != nil {
		p.Kill()
		return nil, fmt.Errorf("%w\n%s", err, p.Output())
	}
	shared.proc, shared.conn, shared.dir = p, conn, dir
	return conn, nil
}
