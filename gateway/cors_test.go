package gateway_test

import (
	"net/http"
	"slices"
	"strings"
	"testing"

	"headgate/gateway"
	"headgate/internal/config"
)

const app = "https://app.example"

func withCORS(credentials bool, origins ...string) func(*setup) {
	return func(s *setup) {
		for i := range s.cfg.Routes {
			s.cfg.Routes[i].CORS = config.CORS{AllowedOrigins: origins, AllowCredentials: credentials}
		}
	}
}

func TestCORS_AllowedOriginMayRead(t *testing.T) {
	r := start(t, withCORS(true, app))
	rd := r.open("/v1/prices/ACME", "Origin", app)
	rd.want("$ready")
	h := rd.resp.Header
	if h.Get("Access-Control-Allow-Origin") != app || h.Get("Access-Control-Allow-Credentials") != "true" {
		t.Errorf("fields %v", h)
	}
	if h.Get("Access-Control-Expose-Headers") != "Retry-After" {
		t.Errorf("exposed %q", h.Get("Access-Control-Expose-Headers"))
	}
	if !slices.Equal(h.Values("Vary"), []string{"Origin"}) {
		t.Errorf("Vary %q", h.Values("Vary"))
	}
}

func TestCORS_OtherOriginGetsNoPermission(t *testing.T) {
	r := start(t, withCORS(true, app))
	for _, origin := range []string{"https://evil.example", "null", "https://app.example.evil.example", "http://app.example"} {
		rd := r.open("/v1/prices/ACME", "Origin", origin)
		for name := range rd.resp.Header {
			if strings.HasPrefix(name, "Access-Control-") {
				t.Errorf("%s is told %s: %v", origin, name, rd.resp.Header[name])
			}
		}
		if !slices.Equal(rd.resp.Header.Values("Vary"), []string{"Origin"}) {
			t.Errorf("Vary %q", rd.resp.Header.Values("Vary"))
		}
	}
}

func TestCORS_TwoOriginsGetNoPermission(t *testing.T) {
	r := start(t, withCORS(true, app))
	two := []string{"Origin", app, "Origin", "https://evil.example"}
	preflight := append([]string{"Access-Control-Request-Method", "GET"}, two...)
	for _, resp := range []*http.Response{
		r.open("/v1/prices/ACME", two...).resp, r.get("/v1/prices/a.b", two...).Response, r.do(r.request(http.MethodOptions, "/v1/prices/ACME", preflight...)).Response,
	} {
		for name, values := range resp.Header {
			if strings.HasPrefix(name, "Access-Control-") {
				t.Errorf("%d: two origins are told %s: %v", resp.StatusCode, name, values)
			}
		}
		if resp.Header.Get("Vary") != "Origin" {
			t.Errorf("%d: Vary %q", resp.StatusCode, resp.Header.Values("Vary"))
		}
	}
}

func TestCORS_RouteThatSaysNothingLetsNobodyRead(t *testing.T) {
	r := start(t)
	rd := r.open("/v1/prices/ACME", "Origin", app)
	resp := r.do(r.request(http.MethodOptions, "/v1/prices/ACME", "Origin", app, "Access-Control-Request-Method", "GET"))
	for _, h := range []http.Header{rd.resp.Header, resp.Header} {
		if h.Get("Access-Control-Allow-Origin") != "" || h.Get("Vary") != "Origin" {
			t.Errorf("fields %v", h)
		}
	}
}

func TestCORS_RefusalsCanBeReadByTheAllowedOrigin(t *testing.T) {
	r := start(t, withCORS(false, app))
	resp := r.get("/v1/prices/a.b", "Origin", app)
	resp.problem(t, http.StatusBadRequest, "parameter-invalid")
	if resp.Header.Get("Access-Control-Allow-Origin") != app {
		t.Errorf("fields %v", resp.Header)
	}
}

func TestPreflight_AllowsWhatClientsNeed(t *testing.T) {
	r := start(t, withCORS(false, app))
	resp := r.do(r.request(http.MethodOptions, "/v1/prices/ACME", "Origin", app, "Access-Control-Request-Method", "GET",
		"Access-Control-Request-Headers", "authorization,cache-control,last-event-id"))
	h := resp.Header
	if resp.StatusCode != http.StatusNoContent || h.Get("Access-Control-Allow-Origin") != app || h.Get("Access-Control-Allow-Methods") != "GET" ||
		h.Get("Access-Control-Allow-Headers") != "authorization,cache-control,last-event-id" || h.Get("Access-Control-Max-Age") != "3600" {
		t.Errorf("%d %v", resp.StatusCode, h)
	}
	if !strings.Contains(strings.Join(h.Values("Vary"), ","), "Origin") {
		t.Errorf("Vary %q", h.Values("Vary"))
	}
	if admitted, _, _ := r.limiter.balance(); admitted != 0 {
		t.Error("a preflight was admitted as a stream")
	}
}

func TestPreflight_OfAPublishRouteTakesItsHeaders(t *testing.T) {
	r := start(t, withCORS(false, app))
	resp := r.do(r.request(http.MethodOptions, "/v1/notify/u", "Origin", app, "Access-Control-Request-Method", "POST",
		"Access-Control-Request-Headers", "content-type,sse-event"))
	if resp.Header.Get("Access-Control-Allow-Methods") != "POST" || resp.Header.Get("Access-Control-Allow-Headers") != "content-type,sse-event" {
		t.Errorf("%d %v", resp.StatusCode, resp.Header)
	}
}

func TestPreflight_AllowsNothingElse(t *testing.T) {
	r := start(t, withCORS(false, app))
	for _, c := range [][]string{
		{"Origin", "https://evil.example", "Access-Control-Request-Method", "GET"},
		{"Origin", app, "Access-Control-Request-Method", "DELETE"},
		{"Origin", app, "Access-Control-Request-Method", "POST"},
		{"Origin", app, "Access-Control-Request-Method", "GET", "Access-Control-Request-Headers", "x-other"},
	} {
		resp := r.do(r.request(http.MethodOptions, "/v1/prices/ACME", c...))
		if resp.StatusCode != http.StatusNoContent || resp.Header.Get("Access-Control-Allow-Origin") != "" {
			t.Errorf("%q: %d %v", c, resp.StatusCode, resp.Header)
		}
	}
}

func TestPreflight_OfAPathSharedByTwoRoutesAsksTheOneWithTheMethod(t *testing.T) {
	listen, talk := prices(), notify()
	listen.Path, talk.Path = "/v1/rooms/{room}", "/v1/rooms/{room}"
	listen.Sources[0].Subject, talk.Publish.Subject = "rooms.{room}", "rooms.{room}"
	talk.CORS.AllowedOrigins = []string{app}
	r := start(t, withRoutes(listen, talk))
	for method, want := range map[string]string{"GET": "", "POST": app} {
		resp := r.do(r.request(http.MethodOptions, "/v1/rooms/a", "Origin", app, "Access-Control-Request-Method", method))
		if resp.StatusCode != http.StatusNoContent || resp.Header.Get("Access-Control-Allow-Origin") != want {
			t.Errorf("%s: %d %v", method, resp.StatusCode, resp.Header)
		}
	}
}

func TestOptions_WithoutCORSSaysWhatThereIs(t *testing.T) {
	r := start(t)
	resp := r.do(r.request(http.MethodOptions, "/v1/prices/ACME"))
	if resp.StatusCode != http.StatusNoContent || resp.Header.Get("Allow") != "GET, HEAD, OPTIONS" || resp.Header.Get("Vary") != "Origin" {
		t.Errorf("%d %v", resp.StatusCode, resp.Header)
	}
}

func TestCORS_EverybodyWithCredentialsRefusesTheStart(t *testing.T) {
	cfg := config.DefaultConfig()
	route := prices()
	route.CORS = config.CORS{AllowedOrigins: []string{"*"}, AllowCredentials: true}
	cfg.Routes = []config.Route{route}
	_, err := gateway.New(gateway.Options{Config: cfg, Bridge: &bridge{}, Delivery: nothing{}, Limiter: &limiter{}})
	if err == nil || !strings.Contains(err.Error(), "credentials") || !strings.Contains(err.Error(), `route "prices"`) {
		t.Errorf("error %v", err)
	}
}
