package gateway_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"headgate/internal/flow"
	"headgate/internal/sse"
	"headgate/ratelimit"
)

func failing(err error) func(context.Context, flow.Request) (flow.Opened, error) {
	return func(context.Context, flow.Request) (flow.Opened, error) {
		return flow.Opened{}, fmt.Errorf("secret detail: %w", err)
	}
}

var openFailures = []struct {
	open   func(context.Context, flow.Request) (flow.Opened, error)
	slug   string
	cause  string
	status int
}{
	{failing(flow.ErrUnavailable), "upstream", "upstream", http.StatusServiceUnavailable},
	{failing(flow.ErrUnconfirmed), "upstream", "upstream", http.StatusServiceUnavailable},
	{failing(flow.ErrClosed), "upstream", "upstream", http.StatusServiceUnavailable},
	{failing(flow.ErrRefused), "source", "source", http.StatusServiceUnavailable},
	{failing(flow.ErrMissing), "source", "source", http.StatusServiceUnavailable},
	{failing(flow.ErrTopics), "cap-process", "cap", http.StatusServiceUnavailable},
	{failing(errors.New("surprise")), "internal", "", http.StatusInternalServerError},
}

var overloadRefusal = ratelimit.Refusal{Cause: ratelimit.Cap, Limit: ratelimit.Streams}

// overloaded checks the overload answer: what an EventSource takes for a stream that ended.
func (r *rig) overloaded(resp response, cause string) {
	r.t.Helper()
	if resp.StatusCode != http.StatusOK || resp.Header.Get("Content-Type") != "text/event-stream" {
		r.t.Fatalf("%d %v %q", resp.StatusCode, resp.Header, resp.body)
	}
	d := sse.NewDecoder(strings.NewReader(resp.body))
	first, err := d.NextBlock()
	low, high := r.cfg.SSE.OverloadRetry, r.cfg.SSE.OverloadRetry+r.cfg.SSE.OverloadJitter
	if err != nil || !first.HasRetry || first.Retry < low.Milliseconds() || first.Retry > high.Milliseconds() {
		r.t.Errorf("first block %+v, %v; want retry in [%v, %v]", first, err, low, high)
	}
	end, err := d.NextBlock()
	if want := `{"reason":"overloaded","cause":"` + cause + `","reconnect":true}`; err != nil || end.Type != "$end" || end.Data != want {
		r.t.Errorf("second block %+v, %v; want $end %s", end, err, want)
	}
	if _, err := d.NextBlock(); err != io.EOF {
		r.t.Errorf("something follows: %v", err)
	}
	if strings.Contains(resp.body, "\nid:") || strings.HasPrefix(resp.body, "id:") {
		r.t.Errorf("the answer has an id: %q", resp.body)
	}
}

func TestOverload_AnswersWhatTheRouteSays(t *testing.T) {
	for _, c := range []struct {
		mode, accept string
		retry        bool
	}{
		{"auto", "text/event-stream", true}, {"auto", "application/json, text/event-stream", true}, {"auto", "*/*", false}, {"auto", "", false},
		{"auto", "text/*", false}, {"status", "text/event-stream", false}, {"retry", "", true}, {"retry", "*/*", true}, {"", "text/event-stream", true},
	} {
		t.Run(c.mode+" "+c.accept, func(t *testing.T) {
			route := prices()
			route.OnOverload = c.mode
			r := start(t, withRoutes(route))
			r.limiter.refuse = &ratelimit.Refusal{Cause: "rate", Limit: "connect-rate", RetryAfter: 1500 * time.Millisecond}
			var fields []string
			if c.accept != "" {
				fields = []string{"Accept", c.accept}
			}
			resp := r.get("/v1/prices/ACME", fields...)
			if c.retry {
				r.overloaded(resp, "rate")
				return
			}
			if resp.StatusCode != http.StatusTooManyRequests && resp.StatusCode != http.StatusServiceUnavailable {
				t.Fatalf("status %d", resp.StatusCode)
			}
			if resp.Header.Get("Retry-After") != "2" {
				t.Errorf("Retry-After %q, want the limiter's, rounded up", resp.Header.Get("Retry-After"))
			}
		})
	}
}

func TestOverload_NamesItsCause(t *testing.T) {
	r := start(t)
	for _, c := range openFailures {
		r.bridge.mu.Lock()
		r.bridge.open = c.open
		r.bridge.mu.Unlock()
		resp := r.get("/v1/prices/ACME", "Accept", "text/event-stream")
		if c.cause == "" {
			resp.problem(t, c.status, c.slug)
			continue
		}
		r.overloaded(resp, c.cause)
	}
	r.limiter.refuse = &ratelimit.Refusal{Cause: "cap"}
	r.overloaded(r.get("/v1/prices/ACME", "Accept", "text/event-stream"), "cap")
}

func TestOverload_NeverExcusesTheCallersOwnMistakes(t *testing.T) {
	route := feed()
	route.OnOverload = "retry"
	price := prices()
	price.OnOverload = "retry"
	r := start(t, withRoutes(route, price))
	es := []string{"Accept", "text/event-stream"}
	r.get("/v1/feed", es...).problem(t, http.StatusBadRequest, "subject-missing")
	r.get("/v1/feed?subject=other.x", es...).problem(t, http.StatusForbidden, "subject-forbidden")
	r.get("/v1/prices/a.b", es...).problem(t, http.StatusBadRequest, "parameter-invalid")
	r.get("/v1/prices/a?since=1h", es...).problem(t, http.StatusBadRequest, "since-unsupported")
	r.get("/v1/nothing", es...).problem(t, http.StatusNotFound, "not-found")
}

func TestOverload_OfAHeadIsAStatus(t *testing.T) {
	route := prices()
	route.OnOverload = "retry"
	r := start(t, withRoutes(route))
	r.limiter.refuse = &ratelimit.Refusal{Cause: "cap"}
	resp := r.do(r.request(http.MethodHead, "/v1/prices/ACME"))
	if resp.StatusCode != http.StatusServiceUnavailable && resp.StatusCode != http.StatusTooManyRequests {
		t.Errorf("status %d", resp.StatusCode)
	}
}

func TestRetryAfter_IsSpreadWhenNothingIsKnown(t *testing.T) {
	r := start(t)
	r.bridge.open = failing(flow.ErrUnavailable)
	seen := map[int]bool{}
	for range 20 {
		n, err := strconv.Atoi(r.get("/v1/prices/ACME").Header.Get("Retry-After"))
		if err != nil || n < 10 || n > 30 {
			t.Fatalf("Retry-After %d, %v; want 10 to 30 s", n, err)
		}
		seen[n] = true
	}
	if len(seen) < 3 {
		t.Errorf("20 clients were told only %v", seen)
	}
}
