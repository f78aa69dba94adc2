package gateway_test

import (
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"testing"

	"headgate/auth"
	"headgate/internal/config"
)

// Each limit, as its clients see it, with everything real.

// onBothTransports runs a test with streams that are handed over, and with streams that stay with their handler.
func onBothTransports(t *testing.T, f func(t *testing.T, open func(w *whole, path string, fields ...string) *reader, change func(*setup))) {
	t.Run("socket", func(t *testing.T) {
		f(t, func(w *whole, path string, fields ...string) *reader { return w.open(path, fields...) }, func(*setup) {})
	})
	t.Run("writer", func(t *testing.T) {
		f(t, func(w *whole, path string, fields ...string) *reader {
			req := w.requestTLS(http.MethodGet, path)
			for i := 0; i+1 < len(fields); i += 2 {
				req.Header.Add(fields[i], fields[i+1])
			}
			return w.openWith(tlsClient(true), req)
		}, withTLS(t, nil))
	})
}

func TestLimits_StreamsPerUserOnARouteAndInAll(t *testing.T) {
	private, other, public := prices(), feed(), prices()
	private.AuthRequired, other.AuthRequired = true, true
	private.Limits.ConnectionsPerUser = 2
	public.Name, public.Path = "public", "/v1/public/{symbol}"
	w := startWhole(t, withIdentity(t, auth.Grants{Sub: auth.Permissions{Allow: []string{"prices.*"}}}, private, other, public),
		func(s *setup) { s.cfg.Limit.ConnectionsPerUser = 3 })
	ann, ben := bearer(token("ann", may("sub", ">"))), bearer(token("ben", may("sub", ">")))
	again := bearer(token("ann", may("sub", ">"), map[string]any{"jti": "another token of hers"}))
	first := w.open("/v1/prices/A", ann...)
	first.want("$ready")
	w.open("/v1/prices/B", again...).want("$ready")
	if detail := w.get("/v1/prices/A", again...).problem(t, http.StatusTooManyRequests, "cap-user"); !strings.HasPrefix(detail, "Close one") {
		t.Errorf("detail %q", detail)
	}
	w.overloaded(w.get("/v1/prices/A", append(ann, "Accept", "text/event-stream")...), "cap")
	w.open("/v1/feed?subject=feed.a", ann...).want("$ready")
	w.get("/v1/feed?subject=feed.a", ann...).problem(t, http.StatusTooManyRequests, "cap-user")
	w.open("/v1/prices/A", ben...).want("$ready")
	for range 5 { // callers without a token have the limits of their address
		w.open("/v1/public/A").want("$ready")
	}
	// Who may not read what he asks for is told so, and not about limits.
	w.get("/v1/feed?subject=secret.a", ann...).problem(t, http.StatusForbidden, "subject-forbidden")
	first.stop()
	eventually(t, "room", func() bool { return w.server.Admitted() == 8 })
	w.open("/v1/prices/A", ann...).want("$ready")
}

func TestLimits_ConnectsPerUser(t *testing.T) {
	w := startWhole(t, withIdentity(t, auth.Grants{}), func(s *setup) {
		s.cfg.Limit.ConnectionsPerUser, s.cfg.Limit.ConnectRatePerUser, s.cfg.Limit.ConnectBurst = 0, 0.001, 3
	})
	for range 3 {
		w.open("/v1/prices/A", bearer(token("ann"))...).want("$ready")
	}
	resp := w.get("/v1/prices/A", bearer(token("ann"))...)
	resp.problem(t, http.StatusTooManyRequests, "rate-user")
	if after, err := strconv.Atoi(resp.Header.Get("Retry-After")); err != nil || after < 60 {
		t.Errorf("Retry-After %q, although the next one may come in a quarter of an hour", resp.Header.Get("Retry-After"))
	}
	resp = w.get("/v1/prices/A", append(bearer(token("ann")), "Accept", "text/event-stream")...)
	if resp.StatusCode != http.StatusOK || !strings.Contains(resp.body, `"reason":"overloaded","cause":"rate"`) {
		t.Errorf("%d %q", resp.StatusCode, resp.body)
	}
	w.open("/v1/prices/A", bearer(token("ben"))...).want("$ready")
}

func TestLimits_PublishesPerUserAndPerRoute(t *testing.T) {
	entrance := notify()
	entrance.AuthRequired, entrance.Limits.PublishRate = true, 5.0/1000
	w := startWhole(t, withIdentity(t, auth.Grants{}, entrance), func(s *setup) { s.cfg.Limit.PublishRatePerUser = 1.0 / 1000 })
	sub, err := w.pub.SubscribeSync("users.>")
	if err != nil {
		t.Fatal(err)
	}
	if err := w.pub.Flush(); err != nil {
		t.Fatal(err)
	}
	pub := may("pub", ">")
	if resp := w.post("/v1/notify/ada", "x", bearer(token("ann", pub))...); resp.StatusCode != http.StatusAccepted {
		t.Fatalf("%d %s", resp.StatusCode, resp.body)
	}
	resp := w.post("/v1/notify/ada", "x", bearer(token("ben", pub))...)
	resp.problem(t, http.StatusTooManyRequests, "rate-route")
	if after, err := strconv.Atoi(resp.Header.Get("Retry-After")); err != nil || after < 100 {
		t.Errorf("Retry-After %q", resp.Header.Get("Retry-After"))
	}
	w.post("/v1/notify/ada", "x", bearer(token("ann", pub))...).problem(t, http.StatusTooManyRequests, "rate-user")
	// Who may not publish learns that first, and uses nothing up.
	w.post("/v1/notify/ada", "x", bearer(token("eve"))...).problem(t, http.StatusForbidden, "not-publishable")
	if err := w.pub.Flush(); err != nil {
		t.Fatal(err)
	}
	if n, _, err := sub.Pending(); err != nil || n != 1 {
		t.Errorf("%d messages were published, %v", n, err)
	}
}

// logsRoute bounds what a client is sent.
func logsRoute(policy string, events float64, bytes config.Bytes) config.Route {
	r := prices()
	r.Name, r.Path, r.SlowConsumer = "logs", "/v1/logs", policy
	r.Sources = []config.Source{{Name: "log", Type: "core", Subject: "logs.>"}}
	r.Limits = config.RouteLimits{EventsPerSecond: events, BytesPerSecond: bytes}
	return r
}

func TestLimits_EventsAndBytesPerSecond(t *testing.T) {
	onBothTransports(t, func(t *testing.T, open func(*whole, string, ...string) *reader, change func(*setup)) {
		for _, test := range []struct {
			name   string
			events float64
			bytes  config.Bytes
		}{{"events", 20, 0}, {"bytes", 0, 3000}} {
			t.Run(test.name, func(t *testing.T) {
				w := startWhole(t, withRoutes(logsRoute("disconnect", test.events, test.bytes)), change)
				rd := open(w, "/v1/logs")
				rd.want("$ready")
				for n := range 500 {
					w.publish("logs.a", fmt.Sprintf("%0100d", n))
				}
				received := 0
				for e := rd.next(); ; e = rd.next() {
					if e.Type == "$end" {
						if e.Data != `{"reason":"rate","reconnect":true}` {
							t.Errorf("$end %s", e.Data)
						}
						break
					}
					if want := fmt.Sprintf("%0100d", received); e.Data != want {
						t.Fatalf("got %s %q, want %q", e.Type, e.Data, want)
					}
					received++
				}
				if received < 15 || received > 100 {
					t.Errorf("%d events, want what one second brings, and what came while it was waited for", received)
				}
				rd.ended()
				eventually(t, "the end to be counted", func() bool { return w.metric("headgate_stream_ends_total", "reason", "rate") == 1 })

				w = startWhole(t, withRoutes(logsRoute("drop_oldest", test.events, test.bytes)), change)
				rd = open(w, "/v1/logs")
				rd.want("$ready")
				for n := range 500 {
					w.publish("logs.a", fmt.Sprintf("%0100d", n))
				}
				for e := rd.next(); ; e = rd.next() {
					if e.Type == "$gap" {
						if e.Data != `{"reason":"rate","certain":true,"source":"log","next":"live"}` {
							t.Errorf("$gap %s", e.Data)
						}
						break
					}
				}
				w.publish("logs.a", "now")
				for e := rd.next(); e.Data != "now"; e = rd.next() {
					if strings.HasPrefix(e.Type, "$end") {
						t.Fatalf("%s %s", e.Type, e.Data)
					}
				}
			})
		}
	})
}

func TestLimits_OneRouteIsLimitedAndTheOtherIsNot(t *testing.T) {
	free := logsRoute("disconnect", 0, 0)
	free.Name, free.Path = "free", "/v1/free"
	w := startWhole(t, withRoutes(logsRoute("disconnect", 10, 0), free))
	slow, fast := w.open("/v1/logs"), w.open("/v1/free")
	slow.want("$ready")
	fast.want("$ready")
	const events = 2000
	for n := range events {
		w.publish("logs.a", strconv.Itoa(n))
	}
	for n := range events {
		if e := fast.next(); e.Data != strconv.Itoa(n) {
			t.Fatalf("got %s %s, want %d", e.Type, e.Data, n)
		}
	}
	for e := slow.next(); e.Type != "$end"; e = slow.next() {
	}
}
