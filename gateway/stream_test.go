package gateway_test

import (
	"encoding/json"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"headgate/internal/config"
	"headgate/internal/sse"
)

func TestStream_HasTheHeadTheProtocolSays(t *testing.T) {
	r := start(t)
	w := r.dial().send("GET /v1/prices/ACME HTTP/1.1\r\nHost: h\r\n\r\n")
	head := w.head()
	if head[0] != "HTTP/1.1 200 OK" {
		t.Fatalf("status line %q", head[0])
	}
	fields := http.Header{}
	for _, line := range head[1:] {
		name, value, ok := strings.Cut(line, ": ")
		if !ok {
			t.Fatalf("line %q", line)
		}
		fields.Add(name, value)
	}
	date := fields.Get("Date")
	if at, err := http.ParseTime(date); err != nil || time.Since(at).Abs() > time.Minute {
		t.Errorf("Date %q: %v", date, err)
	}
	fields.Del("Date")
	want := http.Header{
		"Content-Type": {"text/event-stream"}, "Cache-Control": {"no-store, no-transform"}, "X-Accel-Buffering": {"no"},
		"X-Content-Type-Options": {"nosniff"}, "Referrer-Policy": {"no-referrer"}, "Vary": {"Origin"}, "Connection": {"close"},
	}
	for name := range want {
		if !slices.Equal(fields[name], want[name]) {
			t.Errorf("%s: %q, want %q", name, fields[name], want[name])
		}
	}
	if len(fields) != len(want) {
		t.Errorf("fields %v, want exactly %v", fields, want)
	}
}

func TestStream_BeginsWithRetryAndReady(t *testing.T) {
	r := start(t)
	rd := r.open("/v1/prices/ACME")
	first, err := rd.dec.NextBlock()
	if err != nil || !first.HasRetry || !first.Silent {
		t.Fatalf("first block %+v, %v; want retry alone", first, err)
	}
	if low, high := r.cfg.SSE.Retry, r.cfg.SSE.Retry+r.cfg.SSE.RetryJitter; first.Retry < low.Milliseconds() || first.Retry > high.Milliseconds() {
		t.Errorf("retry %d is not in [%v, %v]", first.Retry, low, high)
	}
	ready := rd.want("$ready")
	var data map[string]string
	if err := json.Unmarshal([]byte(ready.Data), &data); err != nil {
		t.Fatal(err)
	}
	if data["route"] != "prices" || data["position"] != "live" || data["connection"] == "" || len(data) != 3 {
		t.Errorf("$ready %v", data)
	}
	if !ready.HasID {
		t.Error("$ready of a route with resume carries no id")
	}
	other := r.open("/v1/prices/ACME").want("$ready")
	if other.Data == ready.Data {
		t.Errorf("two streams are called %s", ready.Data)
	}
}

func TestStream_DeliversEvents(t *testing.T) {
	r := start(t)
	rd := r.open("/v1/prices/ACME")
	rd.want("$ready")
	r.bridge.push(sse.NewFrame("price", []byte("12")), 1)
	if e := rd.want("price"); e.Data != "12" {
		t.Errorf("data %q", e.Data)
	}
	if got := r.bridge.subjects(); !slices.Equal(got, []string{"prices.ACME"}) {
		t.Errorf("subjects %q", got)
	}
}

func TestStream_WithoutResumeHasNoIDsAndIgnoresTheClients(t *testing.T) {
	route := prices()
	route.Resume.Enabled = false
	r := start(t, withRoutes(route))
	rd := r.open("/v1/prices/ACME", "Last-Event-ID", "1~aaaaaa.5")
	if e := rd.want("$ready"); e.HasID {
		t.Errorf("$ready has id %q", e.ID)
	}
	if req := r.bridge.opens()[0]; req.Cursor != "" || req.Format.IDs || req.Sources[0].RingSize != 0 {
		t.Errorf("request %+v", req)
	}
}

func TestStream_GivesItsAdmissionBackWhenTheClientLeaves(t *testing.T) {
	r := start(t)
	rd := r.open("/v1/prices/ACME")
	rd.want("$ready")
	if admitted, out, _ := r.limiter.balance(); admitted != 1 || out != 1 {
		t.Fatalf("admitted %d, out %d while open", admitted, out)
	}
	rd.stop()
	eventually(t, "the release", func() bool { _, out, _ := r.limiter.balance(); return out == 0 })
	eventually(t, "the line in the log", func() bool {
		return strings.Contains(r.logs.String(), `msg="stream ended"`) && strings.Contains(r.logs.String(), "reason=client-gone")
	})
}

func TestHead_IsTheHeadOfTheStreamAlone(t *testing.T) {
	r := start(t)
	resp := r.do(r.request(http.MethodHead, "/v1/prices/ACME"))
	if resp.StatusCode != http.StatusOK || resp.Header.Get("Content-Type") != "text/event-stream" || resp.body != "" {
		t.Fatalf("%d %v %q", resp.StatusCode, resp.Header, resp.body)
	}
	if resp.Header.Get("Cache-Control") != "no-store, no-transform" || resp.Header.Get("X-Accel-Buffering") != "no" {
		t.Errorf("fields %v", resp.Header)
	}
	if len(r.bridge.opens()) != 0 {
		t.Error("HEAD opened a source")
	}
	if admitted, out, _ := r.limiter.balance(); admitted != 1 || out != 0 {
		t.Errorf("admitted %d, out %d", admitted, out)
	}
	if resp := r.do(r.request(http.MethodHead, "/v1/prices/a.b")); resp.StatusCode != http.StatusBadRequest {
		t.Errorf("HEAD with a bad value: %d", resp.StatusCode)
	}
}

func TestUnknownPath_Is404OfOurs(t *testing.T) {
	r := start(t)
	for _, path := range []string{"/", "/nothing", "/v1/prices", "/v1/prices/", "/v1/prices/A/", "/v1/prices/A/B", "//v1/feed", "/v1//feed",
		"/v1/./feed", "/v1/x/../feed", "/metrics", "/livez", "/console/"} {
		r.get(path).problem(t, http.StatusNotFound, "not-found")
	}
}

func TestOtherMethods_Are405WithAllow(t *testing.T) {
	both := prices()
	both.Name, both.Path = "both", "/v1/both/{symbol}"
	both.Publish = &config.Publish{Subject: "both.{symbol}", MaxBytes: 10}
	r := start(t, withRoutes(prices(), notify(), both))
	for _, c := range []struct{ method, path, allow string }{
		{"POST", "/v1/prices/ACME", "GET, HEAD, OPTIONS"},
		{"PUT", "/v1/prices/ACME", "GET, HEAD, OPTIONS"},
		{"DELETE", "/v1/prices/ACME", "GET, HEAD, OPTIONS"},
		{"QUERY", "/v1/prices/ACME", "GET, HEAD, OPTIONS"},
		{"GET", "/v1/notify/u", "OPTIONS, POST"},
		{"HEAD", "/v1/notify/u", "OPTIONS, POST"},
		{"PATCH", "/v1/both/x", "GET, HEAD, OPTIONS, POST"},
	} {
		resp := r.do(r.request(c.method, c.path))
		if c.method != "HEAD" {
			resp.problem(t, http.StatusMethodNotAllowed, "method-not-allowed")
		}
		if resp.StatusCode != http.StatusMethodNotAllowed || resp.Header.Get("Allow") != c.allow {
			t.Errorf("%s %s: %d, Allow %q, want %q", c.method, c.path, resp.StatusCode, resp.Header.Get("Allow"), c.allow)
		}
	}
}

func TestAccept_ThatExcludesEventStreamsIs406(t *testing.T) {
	r := start(t)
	r.get("/v1/prices/ACME", "Accept", "application/json").problem(t, http.StatusNotAcceptable, "not-acceptable")
	r.get("/v1/prices/ACME", "Accept", "text/event-stream;q=0, */*").problem(t, http.StatusNotAcceptable, "not-acceptable")
	for _, accept := range []string{"*/*", "text/*", "text/event-stream", "application/json, text/event-stream;q=0.1"} {
		r.open("/v1/prices/ACME", "Accept", accept).want("$ready")
	}
}

func TestOpenFailure_IsTheRightRefusalAndGivesTheAdmissionBack(t *testing.T) {
	r := start(t)
	for _, c := range openFailures {
		r.bridge.mu.Lock()
		r.bridge.open = c.open
		r.bridge.mu.Unlock()
		resp := r.get("/v1/prices/ACME")
		resp.problem(t, c.status, c.slug)
		if (resp.Header.Get("Retry-After") != "") != (c.status == http.StatusServiceUnavailable) {
			t.Errorf("%s: Retry-After %q", c.slug, resp.Header.Get("Retry-After"))
		}
		if strings.Contains(resp.body, "secret detail") {
			t.Errorf("the client sees our own words: %s", resp.body)
		}
		eventually(t, "the release", func() bool { _, out, _ := r.limiter.balance(); return out == 0 })
	}
	if !strings.Contains(r.logs.String(), "secret detail") {
		t.Error("the log does not say what went wrong")
	}
}
