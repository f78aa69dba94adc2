package stack

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"headgate/e2e/internal/proc"
)

// Headgate is the program under test.
type Headgate struct {
	*proc.Process
	Addr, AdminAddr string
	URL             string // of the public listener, without a path

	args, env []string // what it was started with
	probe     string   // the one it was waited for
}

// Options are how it is started.
type Options struct {
	NATS   string            // URL of NATS; "" leaves the default
	Routes string            // routes file, its text; "" for none
	Env    map[string]string // more of its environment
	Args   []string          // flags
	TLS    *Certificate      // serve HTTPS
	Live   bool              // wait for /livez only: NATS is not there yet
}

// StartHeadgate starts it for the length of the test, and waits until it is ready.
func StartHeadgate(t testing.TB, o Options) *Headgate {
	t.Helper()
	h := launch(t, o)
	h.probe = "/readyz"
	if o.Live {
		h.probe = "/livez"
	}
	h.wait(t)
	return h
}

// Restart starts it once more after Kill, on the same addresses with the same settings, and waits as StartHeadgate does.
func (h *Headgate) Restart(t testing.TB) {
	t.Helper()
	h.run(t)
	h.wait(t)
}

func (h *Headgate) wait(t testing.TB) {
	t.Helper()
	ctx, cancel := Deadline(t, startWait)
	defer cancel()
	if err := h.waitProbe(ctx, h.probe); err != nil {
		t.Fatal(err)
	}
}

func launch(t testing.TB, o Options) *Headgate {
	t.Helper()
	if err := BuildHeadgate(); err != nil {
		t.Fatal(err)
	}
	h := &Headgate{Addr: proc.FreeAddr(t), AdminAddr: proc.FreeAddr(t)}
	h.URL = "http://" + h.Addr
	env := map[string]string{
		"HTTP_ADDR": h.Addr, "ADMIN_ADDR": h.AdminAddr, "ADMIN_PPROF": "true", "AUTH_MODE": "none", "LOG_FORMAT": "json",
		"SHUTDOWN_DELAY": "0s",
		"SHUTDOWN_DRAIN": "1s", // for the end of the test; tests of the drain set their own
		"PATH":           os.Getenv("PATH"), "HOME": os.Getenv("HOME"), "TMPDIR": os.TempDir(),
		"XDG_CACHE_HOME": filepath.Join(filepath.Dir(HeadgateBinary()), "cache"), // goes with the test run
	}
	if o.NATS != "" {
		env["NATS_URL"] = o.NATS
	}
	if o.Routes != "" {
		file := filepath.Join(t.TempDir(), "routes.yaml")
		if err := os.WriteFile(file, []byte(o.Routes), 0o644); err != nil {
			t.Fatal(err)
		}
		env["ROUTES_FILE"] = file
	}
	if o.TLS != nil {
		env["HTTP_TLS_CERT_FILE"], env["HTTP_TLS_KEY_FILE"] = o.TLS.CertFile, o.TLS.KeyFile
		h.URL = "https://" + h.Addr
	}
	for k, v := range o.Env {
		env[k] = v
	}
	h.args = o.Args
	for k, v := range env {
		h.env = append(h.env, k+"="+v)
	}
	h.run(t)
	return h
}

// run starts the process.
func (h *Headgate) run(t testing.TB) {
	t.Helper()
	cmd := exec.Command(HeadgateBinary(), h.args...)
	cmd.Env = h.env
	p := proc.StartT(t, "headgate", cmd)
	h.Process = p
	t.Cleanup(func() { // before the process is stopped, so what its end writes is not seen here
		for line := range strings.Lines(p.Output()) {
			if strings.Contains(line, "WARNING: DATA RACE") || strings.HasPrefix(line, "panic: ") || strings.Contains(line, `"level":"ERROR"`) {
				t.Errorf("headgate wrote: %s", line)
			}
		}
	})
}

// Deadline is the test's context with a deadline of its own.
func Deadline(t testing.TB, d time.Duration) (context.Context, context.CancelFunc) {
	return context.WithTimeout(t.Context(), d)
}

func (h *Headgate) waitProbe(ctx context.Context, path string) error {
	if err := h.WaitListening(ctx, h.AdminAddr); err != nil {
		return err
	}
	if err := h.WaitListening(ctx, h.Addr); err != nil {
		return err
	}
	return Poll(ctx, func() error {
		status, text, err := h.Admin(ctx, path)
		if err == nil && status != http.StatusOK {
			err = fmt.Errorf("%s answers %d: %s", path, status, text)
		}
		return err
	})
}

// Admin asks the admin listener.
func (h *Headgate) Admin(ctx context.Context, path string) (status int, body string, err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+h.AdminAddr+path, nil)
	if err != nil {
		return 0, "", err
	}
	resp, err := adminClient.Do(req)
	if err != nil {
		return 0, "", err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	return resp.StatusCode, string(text), err
}

// adminClient leaves no connection behind, which would count among the open descriptors.
var adminClient = &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}

// Metric sums the samples of a metric whose labels contain all of labels, written as in the exposition: `reason="slow"`.
func (h *Headgate) Metric(ctx context.Context, name string, labels ...string) (float64, error) {
	status, text, err := h.Admin(ctx, "/metrics")
	if err != nil || status != http.StatusOK {
		return 0, errors.Join(err, fmt.Errorf("/metrics answers %d", status))
	}
	var sum float64
	found := false
	lines := bufio.NewScanner(strings.NewReader(text))
next:
	for lines.Scan() {
		series, value, ok := strings.Cut(lines.Text(), " ")
		if i := strings.LastIndexByte(lines.Text(), ' '); i > 0 {
			series, value = lines.Text()[:i], lines.Text()[i+1:]
		}
		if !ok || (series != name && !strings.HasPrefix(series, name+"{")) {
			continue
		}
		for _, l := range labels {
			if !strings.Contains(series, l) {
				continue next
			}
		}
		v, err := strconv.ParseFloat(value, 64)
		if err != nil {
			return 0, fmt.Errorf("metric %s: %w", name, err)
		}
		sum, found = sum+v, true
	}
	if !found {
		return 0, fmt.Errorf("no metric %s with %q", name, labels)
	}
	return sum, nil
}

// Goroutines counts the program's goroutines.
func (h *Headgate) Goroutines(ctx context.Context) (int, error) {
	_, text, err := h.Admin(ctx, "/debug/pprof/goroutine?debug=1")
	if err != nil {
		return 0, err
	}
	var n int
	if _, err := fmt.Sscanf(text, "goroutine profile: total %d", &n); err != nil {
		return 0, fmt.Errorf("goroutine profile: %w", err)
	}
	return n, nil
}

// Poll calls f until it succeeds or ctx ends. It is for what makes no event.
func Poll(ctx context.Context, f func() error) error {
	for {
		err := f()
		if err == nil {
			return nil
		}
		select {
		case <-time.After(50 * time.Millisecond):
		case <-ctx.Done():
			return fmt.Errorf("%w (%w)", err, ctx.Err())
		}
	}
}
