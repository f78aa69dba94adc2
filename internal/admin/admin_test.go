package admin_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/goleak"

	"headgate/internal/admin"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func handler(o admin.Options) http.Handler {
	if o.Gatherer == nil {
		o.Gatherer = prometheus.NewRegistry()
	}
	o.Log = slog.New(slog.DiscardHandler)
	return admin.New(o).Handler()
}

func get(t *testing.T, h http.Handler, path string) *httptest.ResponseRecorder {
	t.Helper()
	rec := httptest.NewRecorder()
	h.ServeHTTP(rec, httptest.NewRequestWithContext(t.Context(), http.MethodGet, path, nil))
	return rec
}

type readyAnswer struct {
	Ready  bool
	Checks []struct {
		Name   string
		OK     bool
		Detail string
	}
}

func readyz(t *testing.T, h http.Handler) (int, readyAnswer) {
	t.Helper()
	rec := get(t, h, "/readyz")
	var a readyAnswer
	if err := json.Unmarshal(rec.Body.Bytes(), &a); err != nil {
		t.Fatalf("/readyz is not JSON: %v\n%s", err, rec.Body)
	}
	return rec.Code, a
}

func TestLivezAnswersWhateverNATSAndTheRoutesAre(t *testing.T) {
	failing := admin.Check{Name: "nats", Run: func() (bool, string) { return false, "gone" }}
	rec := get(t, handler(admin.Options{Checks: []admin.Check{failing}}), "/livez")
	if rec.Code != http.StatusOK || rec.Body.String() != "ok\n" {
		t.Fatalf("livez: %d %q", rec.Code, rec.Body)
	}
}

func TestReadyzTellsEveryCheckAlsoAfterAFailedOne(t *testing.T) {
	routes, draining := 0, true
	code, a := readyz(t, handler(admin.Options{Checks: []admin.Check{
		admin.RoutesLoaded(func() int { return routes }),
		admin.NATSReached(func() admin.NATSState { return admin.NATSState{} }, 0, time.Now),
		admin.NotDraining(func() bool { return draining }),
	}}))
	if code != http.StatusServiceUnavailable || a.Ready || len(a.Checks) != 3 {
		t.Fatalf("got %d %+v", code, a)
	}
	for _, c := range a.Checks {
		if c.OK || c.Detail == "" {
			t.Errorf("check %+v should have failed and said why", c)
		}
	}
	if !strings.Contains(a.Checks[0].Detail, "ROUTES_FILE") {
		t.Errorf("the detail names no remedy: %q", a.Checks[0].Detail)
	}
}

func TestReadyzFollowsNATSAndToleratesAnOutageForTheGrace(t *testing.T) {
	start := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	away := admin.NATSState{EverConnected: true, Since: start, Detail: "connection refused"}
	for _, tc := range []struct {
		name  string
		state admin.NATSState
		grace time.Duration
		after time.Duration
		ready bool
	}{
		{"connected", admin.NATSState{Connected: true, EverConnected: true}, time.Minute, time.Hour, true},
		{"never reached", admin.NATSState{Since: start}, 0, time.Second, false},
		{"away, grace for ever", away, 0, 1000 * time.Hour, true},
		{"away within the grace", away, time.Minute, 59 * time.Second, true},
		{"away beyond the grace", away, time.Minute, 61 * time.Second, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			now := func() time.Time { return start.Add(tc.after) }
			state := func() admin.NATSState { return tc.state }
			code, a := readyz(t, handler(admin.Options{Checks: []admin.Check{admin.NATSReached(state, tc.grace, now)}}))
			if a.Ready != tc.ready || (code == http.StatusOK) != tc.ready {
				t.Fatalf("got %d %+v, want ready=%v", code, a, tc.ready)
			}
			if tc.state.Detail != "" && !strings.Contains(a.Checks[0].Detail, tc.state.Detail) {
				t.Errorf("the reason is missing in %q", a.Checks[0].Detail)
			}
		})
	}
}

func TestReadyzWaitsForStreamsToBeReadIntoMemoryButNotForEver(t *testing.T) {
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	filled := false
	h := handler(admin.Options{Checks: []admin.Check{admin.Prefilled(func() (bool, string) {
		if filled {
			return true, "2 streams and buckets"
		}
		return false, "still reading ORDERS"
	}, 30*time.Second, func() time.Time { return now })}})
	expect := func(when string, ready bool, detail ...string) {
		t.Helper()
		code, a := readyz(t, h)
		if a.Ready != ready || (code == http.StatusOK) != ready {
			t.Errorf("%s: %d %+v", when, code, a)
		}
		for _, d := range detail {
			if !strings.Contains(a.Checks[0].Detail, d) {
				t.Errorf("%s: %q is missing in %q", when, d, a.Checks[0].Detail)
			}
		}
	}
	expect("at the start", false, "still reading ORDERS")
	now = now.Add(30 * time.Second)
	expect("at the limit", false, "still reading ORDERS")
	now = now.Add(time.Second)
	expect("beyond the limit", true, "still reading ORDERS", "JETSTREAM_PREFILL_TIMEOUT=30s")
	filled = true
	expect("filled", true, "2 streams and buckets")
	filled = false // a stream has been made anew: nobody is kept out for that
	expect("later", true)
}

func TestMetricsShowTheGivenRegistryOnly(t *testing.T) {
	reg := prometheus.NewRegistry()
	c := prometheus.NewCounter(prometheus.CounterOpts{Name: "headgate_test_total", Help: "test"})
	reg.MustRegister(c)
	c.Add(3)
	rec := get(t, handler(admin.Options{Gatherer: reg}), "/metrics")
	if rec.Code != http.StatusOK || !strings.Contains(rec.Body.String(), "headgate_test_total 3") {
		t.Fatalf("metrics: %d %s", rec.Code, rec.Body)
	}
	if strings.Contains(rec.Body.String(), "go_goroutines") {
		t.Error("the global registry leaked into /metrics")
	}
}

func TestPprofIsServedOnlyWhenSwitchedOn(t *testing.T) {
	if rec := get(t, handler(admin.Options{}), "/debug/pprof/"); rec.Code != http.StatusNotFound {
		t.Errorf("pprof without the switch: %d", rec.Code)
	}
	if rec := get(t, handler(admin.Options{Pprof: true}), "/debug/pprof/goroutine?debug=1"); rec.Code != http.StatusOK {
		t.Errorf("pprof with the switch: %d", rec.Code)
	}
}

func TestRunServesUntilItsContextEndsAndLeavesNothing(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	s := admin.New(admin.Options{Gatherer: prometheus.NewRegistry(), Log: slog.New(slog.DiscardHandler)})
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx, ln) }()

	resp, err := http.Get("http://" + ln.Addr().String() + "/livez")
	if err != nil {
		t.Fatal(err)
	}
	_, _ = io.Copy(io.Discard, resp.Body)
	_ = resp.Body.Close()
	http.DefaultClient.CloseIdleConnections()

	cancel()
	select {
	case err := <-done:
		if err != nil {
			t.Fatalf("Run: %v", err)
		}
	case <-time.After(5 * time.Second):
		t.Fatal("Run did not return")
	}
	if _, err := net.DialTimeout("tcp", ln.Addr().String(), time.Second); err == nil {
		t.Error("the listener is still open")
	}
}

func TestRunReportsALostListener(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_ = ln.Close()
	s := admin.New(admin.Options{Gatherer: prometheus.NewRegistry(), Log: slog.New(slog.DiscardHandler)})
	if err := s.Run(t.Context(), ln); err == nil || !strings.Contains(err.Error(), "admin listener") {
		t.Fatalf("Run: %v", err)
	}
}

func TestDocumentsAreAskedForAtEveryRequest(t *testing.T) {
	n := 0
	h := handler(admin.Options{Documents: []admin.Document{{Path: "/schema/x.json", Text: func() []byte { n++; return fmt.Appendf(nil, "[%d]", n) }}}})
	for _, want := range []string{"[1]", "[2]"} {
		rec := get(t, h, "/schema/x.json")
		if rec.Code != http.StatusOK || rec.Body.String() != want || rec.Header().Get("Content-Type") != "application/json" {
			t.Errorf("%d %v %s", rec.Code, rec.Header(), rec.Body)
		}
	}
	if rec := get(t, h, "/schema/y.json"); rec.Code != http.StatusNotFound {
		t.Error(rec.Code)
	}
}
