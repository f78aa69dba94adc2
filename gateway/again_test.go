package gateway_test

import (
	"context"
	"io"
	"net/http"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"headgate/auth"
	"headgate/gateway"
	"headgate/internal/config"
	"headgate/internal/flow"
	"headgate/internal/sse"
)

// taken is what has been taken of rates.
func (l *limiter) taken() tokens {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.tokens
}

// telling are identities that tell when somebody has been identified.
type telling struct {
	gateway.Identities
	asked chan struct{}
}

func (i telling) Identify(ctx context.Context, token string) (*auth.Identity, error) {
	defer close(i.asked)
	return i.Identities.Identify(ctx, token)
}

func (i telling) Anonymous() *auth.Identity {
	defer close(i.asked)
	return i.Identities.Anonymous()
}

// overtake publishes, and reloads when the caller has been identified and half of the body is there.
func (w *trusted) overtake(reload func(), fields ...string) response {
	w.t.Helper()
	asked := make(chan struct{})
	if _, err := w.server.Reload(gateway.Next{Routes: w.routes, Identities: telling{w.verifier, asked}}); err != nil {
		w.t.Fatal(err)
	}
	body, send := io.Pipe()
	slow := w.request(http.MethodPost, "/v1/notify/ada", fields...)
	slow.Body, slow.ContentLength = body, 20
	posted := make(chan response, 1)
	go func() { posted <- w.do(slow) }()
	if _, err := send.Write([]byte("0123456789")); err != nil {
		w.t.Fatal(err)
	}
	<-asked
	reload()
	_, _ = send.Write([]byte("9876543210"))
	_ = send.Close()
	return <-posted
}

// What a reload takes away is gone also for a publish whose body is still on its way: it is judged by what holds when the body is there.
func TestReload_APublishIsJudgedByWhatHoldsWhenItsBodyIsThere(t *testing.T) {
	entrance := func(change func(*config.Route)) func(*trusted) {
		return func(w *trusted) {
			changed := w.routes[2]
			publish := *changed.Publish
			changed.Publish = &publish
			change(&changed)
			w.routes = []config.Route{w.routes[0], w.routes[1], changed}
			w.trust(auth.Trust{Issuers: []auth.Issuer{w.i, w.j}})
		}
	}
	for name, c := range map[string]struct {
		change  func(*trusted)
		status  int
		slug    string
		subject string
	}{
		"the same":          {entrance(func(*config.Route) {}), http.StatusAccepted, "", "users.ada.notify.web"},
		"another subject":   {entrance(func(r *config.Route) { r.Publish.Subject = "users.{user}.mail" }), http.StatusAccepted, "", "users.ada.mail"},
		"another parameter": {entrance(func(r *config.Route) { r.Path, r.Publish.Subject = "/v1/notify/{who}", "users.{who}.notify.web" }), http.StatusAccepted, "", "users.ada.notify.web"},
		"no permission":     {entrance(func(r *config.Route) { r.Publish.Subject = "others.{user}" }), http.StatusForbidden, "not-publishable", ""},
		"a requirement": {entrance(func(r *config.Route) { r.AuthRequire = []config.Require{{Claim: "role", Equals: "admin"}} }), http.StatusForbidden,
			"claims-forbidden", ""},
		"a pattern":   {entrance(func(r *config.Route) { r.Params = map[string]string{"user": "[a-c]"} }), http.StatusBadRequest, "parameter-invalid", ""},
		"fewer bytes": {entrance(func(r *config.Route) { r.Publish.MaxBytes = 19 }), http.StatusRequestEntityTooLarge, "body-too-large", ""},
		"no entrance": {entrance(func(r *config.Route) { r.Path = "/v1/elsewhere/{user}" }), http.StatusNotFound, "not-found", ""},
		"no origin":   {entrance(func(r *config.Route) { r.CORS = config.CORS{} }), http.StatusForbidden, "cross-origin", ""},
		"other rules of the issuer": {func(w *trusted) {
			w.i.Algorithms = []string{"ES256"}
			w.trust(auth.Trust{Issuers: []auth.Issuer{w.i}})
		}, http.StatusAccepted, "", "users.ada.notify.web"},
		"no issuer": {func(w *trusted) { w.trust(auth.Trust{Issuers: []auth.Issuer{w.j}}) }, http.StatusUnauthorized, "token-invalid", ""},
	} {
		t.Run(name, func(t *testing.T) {
			const origin = "https://app.example"
			w := startTrusted(t, func(s *setup) { s.cfg.Routes[2].CORS.AllowedOrigins = []string{origin} })
			shown := bearer(token("ann", jwt.MapClaims{"iss": "i"}, may("pub", "users.>")))
			resp := w.overtake(func() { c.change(w) }, append(shown, "Origin", origin)...)
			if c.slug != "" {
				resp.problem(t, c.status, c.slug)
			} else if resp.StatusCode != c.status {
				t.Errorf("status %d: %s", resp.StatusCode, resp.body)
			}
			allowed := ""
			if name != "no origin" && name != "no entrance" {
				allowed = origin
			}
			if got := resp.Header.Get("Access-Control-Allow-Origin"); got != allowed || len(resp.Header.Values("Vary")) != 1 {
				t.Errorf("origin %q, Vary %q", got, resp.Header.Values("Vary"))
			}
			if got := w.limiter.taken(); got != (tokens{publishes: 1, publishers: 1}) {
				t.Errorf("beginning again has cost %+v", got)
			}
			w.bridge.mu.Lock()
			defer w.bridge.mu.Unlock()
			switch {
			case c.subject == "" && len(w.bridge.published) > 0:
				t.Errorf("published %v", w.bridge.published)
			case c.subject != "" && (len(w.bridge.published) != 1 || w.bridge.published[0].subject != c.subject || w.bridge.published[0].body != "01234567899876543210"):
				t.Errorf("published %v", w.bridge.published)
			}
		})
	}
}

// A stream whose route is tightened, or goes, while NATS is waited for does not begin by the rules of before.
func TestReload_AStreamIsJudgedByWhatHoldsWhenItBegins(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*config.Route)
		status int
		slug   string
	}{
		"another event": {func(r *config.Route) { r.Event = "price" }, http.StatusOK, ""},
		"a requirement": {func(r *config.Route) { r.AuthRequire = []config.Require{{Claim: "role", Equals: "admin"}} }, http.StatusForbidden, "claims-forbidden"},
		"another path":  {func(r *config.Route) { r.Path = "/v1/elsewhere/{symbol}" }, http.StatusNotFound, "not-found"},
	} {
		t.Run(name, func(t *testing.T) {
			w := startTrusted(t, func(s *setup) { s.cfg.RoutesSpread = time.Hour })
			reloaded := false
			w.bridge.open = func(context.Context, flow.Request) (flow.Opened, error) {
				if !reloaded {
					reloaded = true
					changed := w.routes[0]
					c.change(&changed)
					w.routes = []config.Route{changed, w.routes[1], w.routes[2]}
					w.trust(auth.Trust{Issuers: []auth.Issuer{w.i, w.j}})
				}
				return w.bridge.opened(), nil
			}
			if c.slug != "" {
				w.get("/v1/prices/A", from("i")...).problem(t, c.status, c.slug)
			} else {
				rd := w.open("/v1/prices/A", from("i")...)
				rd.want("$ready")
				w.bridge.push(sse.NewFrame("price", []byte("1")), 1)
				rd.want("price")
			}
			if got := w.limiter.taken(); got != (tokens{connects: 1, users: 1}) {
				t.Errorf("beginning again has cost %+v", got)
			}
			w.settled()
		})
	}
}

// What callers without a token may publish ends with a reload likewise.
func TestReload_APublishOfACallerWithoutATokenIsJudgedByWhatHoldsWhenItsBodyIsThere(t *testing.T) {
	w := startTrusted(t, func(s *setup) { s.cfg.Routes[2].AuthRequired = false })
	all := auth.Trust{Issuers: []auth.Issuer{w.i, w.j}}
	all.Anonymous.Pub.Allow = []string{"users.>"}
	w.trust(all)
	resp := w.overtake(func() { w.trust(auth.Trust{Issuers: all.Issuers}) })
	resp.problem(t, http.StatusUnauthorized, "token-missing")
	w.bridge.mu.Lock()
	defer w.bridge.mu.Unlock()
	if n := len(w.bridge.published); n != 0 {
		t.Errorf("%d published", n)
	}
}

// A stream may last for hours. One that stays with its handler does not keep the routes that it began with, nor what identified callers then.
func TestReload_OpenStreamsKeepNoRoutesThatAreNoMore(t *testing.T) {
	w := startTrusted(t, withTLS(t, nil))
	for _, h2 := range []bool{false, true} {
		rd := w.openWith(tlsClient(h2), w.requestTLS(http.MethodGet, "/v1/public/A"))
		rd.want("$ready")
		gone := w.server.Gone()
		w.trust(auth.Trust{Issuers: []auth.Issuer{w.i, w.j}})
		eventually(t, "the routes of before leave the memory", gone)
		w.bridge.push(sse.NewFrame("", []byte("after")), 1)
		rd.want("message")
	}
}
