package gateway_test

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"headgate/internal/config"
	"headgate/internal/flow"
	"headgate/ratelimit"
)

func (r *rig) post(path, body string, fields ...string) response {
	r.t.Helper()
	req := r.request(http.MethodPost, path, fields...)
	req.Body, req.ContentLength = io.NopCloser(strings.NewReader(body)), int64(len(body))
	return r.do(req)
}

func TestPublish_SendsTheBodyToTheRoutesSubject(t *testing.T) {
	r := start(t)
	resp := r.post("/v1/notify/ada", "hello", "Sse-Event", "note", "X-Other", "no", "Nats-Rollup", "all", "Authorization", "Bearer x")
	if resp.StatusCode != http.StatusAccepted || resp.body != "" || resp.Header.Get("Cache-Control") != "no-store" {
		t.Fatalf("%d %v %q", resp.StatusCode, resp.Header, resp.body)
	}
	got := r.bridge.published
	if len(got) != 1 || got[0].subject != "users.ada.notify.web" || got[0].body != "hello" {
		t.Fatalf("published %+v", got)
	}
	if len(got[0].header) != 1 || !slices.Equal(got[0].header["Sse-Event"], []string{"note"}) {
		t.Errorf("headers %v, want only the listed one", got[0].header)
	}
}

func TestPublish_SaysWhereAStreamStoredIt(t *testing.T) {
	r := start(t)
	r.bridge.publish = func(string, map[string][]string, []byte) (flow.Ack, error) {
		return flow.Ack{Stream: "NOTES", Seq: 7}, nil
	}
	resp := r.post("/v1/notify/ada", "hello")
	if resp.StatusCode != http.StatusOK || resp.Header.Get("Content-Type") != "application/json" || resp.body != `{"stream":"NOTES","seq":7}`+"\n" {
		t.Errorf("%d %v %q", resp.StatusCode, resp.Header, resp.body)
	}
}

func TestPublish_TakesChunkedAndEmptyBodies(t *testing.T) {
	r := start(t)
	req := r.request(http.MethodPost, "/v1/notify/ada")
	req.Body = io.NopCloser(strings.NewReader("in chunks"))
	req.ContentLength = -1
	if resp := r.do(req); resp.StatusCode != http.StatusAccepted {
		t.Fatalf("%d %q", resp.StatusCode, resp.body)
	}
	if resp := r.post("/v1/notify/ada", ""); resp.StatusCode != http.StatusAccepted {
		t.Fatalf("%d %q", resp.StatusCode, resp.body)
	}
	if r.bridge.published[0].body != "in chunks" || r.bridge.published[1].body != "" {
		t.Errorf("published %+v", r.bridge.published)
	}
}

func TestPublish_BoundsTheBody(t *testing.T) {
	r := start(t)
	if resp := r.post("/v1/notify/ada", strings.Repeat("x", 1024)); resp.StatusCode != http.StatusAccepted {
		t.Fatalf("a body of exactly max_bytes: %d", resp.StatusCode)
	}
	r.post("/v1/notify/ada", strings.Repeat("x", 1025)).problem(t, http.StatusRequestEntityTooLarge, "body-too-large")
	req := r.request(http.MethodPost, "/v1/notify/ada")
	req.Body = io.NopCloser(strings.NewReader(strings.Repeat("x", 100_000)))
	req.ContentLength = -1
	r.do(req).problem(t, http.StatusRequestEntityTooLarge, "body-too-large")
	if len(r.bridge.published) != 1 {
		t.Errorf("%d messages got through", len(r.bridge.published))
	}
}

func TestPublish_UsesTheGeneralLimitWhereTheRouteHasNone(t *testing.T) {
	r := start(t, func(s *setup) {
		s.cfg.Routes[2].Publish.MaxBytes = 0
		s.cfg.Limit.PublishBytes = 10
	})
	r.post("/v1/notify/ada", "12345678901").problem(t, http.StatusRequestEntityTooLarge, "body-too-large")
}

func TestPublish_ChecksWhoseProxyTheBrowserIs(t *testing.T) {
	r := start(t)
	withApp := start(t, withCORS(false, app))
	own := "http://" + r.addr
	for _, c := range []struct {
		rig    *rig
		fields []string
		ok     bool
	}{
		{r, nil, true}, // no browser
		{r, []string{"Origin", own, "Sec-Fetch-Site", "same-origin"}, true},
		{r, []string{"Origin", own}, true},
		{r, []string{"Sec-Fetch-Site", "none"}, true},
		{r, []string{"Origin", app}, false},
		{r, []string{"Origin", app, "Sec-Fetch-Site", "cross-site"}, false},
		{r, []string{"Sec-Fetch-Site", "cross-site"}, false},
		{r, []string{"Sec-Fetch-Site", "same-site", "Origin", app}, false},
		{r, []string{"Origin", "null"}, false},
		{r, []string{"Origin", own, "Origin", app}, false}, // no browser sends two: which of them counts is nobody's guess
		{withApp, []string{"Origin", app, "Origin", app}, false},
		{withApp, []string{"Origin", app, "Sec-Fetch-Site", "cross-site"}, true},
		{withApp, []string{"Origin", app}, true},
		{withApp, []string{"Origin", "https://evil.example", "Sec-Fetch-Site", "cross-site"}, false},
		{withApp, []string{"Sec-Fetch-Site", "cross-site"}, false}, // a navigation or an image: nobody said from where
	} {
		resp := c.rig.post("/v1/notify/ada", "x", c.fields...)
		if !c.ok {
			resp.problem(t, http.StatusForbidden, "cross-origin")
		} else if resp.StatusCode != http.StatusAccepted {
			t.Errorf("%q: %d %s", c.fields, resp.StatusCode, resp.body)
		}
	}
}

func TestPublish_RefusesBadValues(t *testing.T) {
	r := start(t)
	for _, value := range []string{"a.b", "%2E%2E", "*", "%3E", "a%20b", "%C0%AE"} {
		r.post("/v1/notify/"+value, "x").problem(t, http.StatusBadRequest, "parameter-invalid")
	}
	if len(r.bridge.published) != 0 {
		t.Errorf("published %+v", r.bridge.published)
	}
}

func TestPublish_FailuresAreStatuses(t *testing.T) {
	r := start(t)
	for _, c := range []struct {
		err    error
		slug   string
		status int
	}{
		{flow.ErrUnavailable, "upstream", 503}, {flow.ErrRefused, "publish-refused", 503},
		{flow.ErrNotStored, "not-stored", 503}, {errors.New("surprise"), "internal", 500},
	} {
		r.bridge.publish = func(string, map[string][]string, []byte) (flow.Ack, error) {
			return flow.Ack{}, fmt.Errorf("x: %w", c.err)
		}
		resp := r.post("/v1/notify/ada", "x", "Accept", "text/event-stream")
		resp.problem(t, c.status, c.slug)
		if c.status == 503 && resp.Header.Get("Retry-After") == "" {
			t.Errorf("%s: no Retry-After", c.slug)
		}
	}
	r.limiter.publish = &ratelimit.Refusal{Cause: ratelimit.Rate, Limit: ratelimit.PublishRate, RetryAfter: 3 * time.Second}
	resp := r.post("/v1/notify/ada", "x")
	resp.problem(t, http.StatusTooManyRequests, "rate-address")
	if resp.Header.Get("Retry-After") != "3" {
		t.Errorf("Retry-After %q", resp.Header.Get("Retry-After"))
	}
}

func TestPublish_AndStreamMayShareAPath(t *testing.T) {
	one := prices()
	one.Publish = &config.Publish{Subject: "prices.{symbol}", MaxBytes: 100}
	listen, talk := prices(), notify()
	listen.Name, listen.Path, talk.Path = "listen", "/v1/rooms/{room}", "/v1/rooms/{room}"
	listen.Sources[0].Subject, talk.Publish.Subject = "rooms.{room}", "rooms.{room}"
	r := start(t, withRoutes(one, listen, talk))
	for _, path := range []string{"/v1/prices/a", "/v1/rooms/a"} {
		r.open(path).want("$ready")
		if resp := r.post(path, "x"); resp.StatusCode != http.StatusAccepted {
			t.Errorf("POST %s: %d %s", path, resp.StatusCode, resp.body)
		}
	}
}

func TestPublish_BrokenBodyIsTheClientsFault(t *testing.T) {
	r := start(t)
	w := r.dial().send("POST /v1/notify/a HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n")
	w.answer().problem(t, http.StatusBadRequest, "body-unreadable")
}
