package gateway_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"headgate/auth"
	"headgate/gateway"
	"headgate/internal/config"
	"headgate/internal/flow"
	"headgate/internal/sse"
	"headgate/ratelimit"
)

// signer is the issuer of the tests.
var signer = func() *ecdsa.PrivateKey {
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		panic(err)
	}
	return k
}()

// token makes a token of a user; more claims replace those that it has anyway.
func token(sub string, more ...jwt.MapClaims) string {
	claims := jwt.MapClaims{"iss": "i", "aud": "headgate", "sub": sub, "exp": time.Now().Add(time.Hour).Unix()}
	for _, m := range more {
		maps.Copy(claims, m)
	}
	text, err := jwt.NewWithClaims(jwt.SigningMethodES256, claims).SignedString(signer)
	if err != nil {
		panic(err)
	}
	return text
}

// may are permissions as a claim.
func may(side string, allow ...string) jwt.MapClaims {
	return jwt.MapClaims{"nats": map[string]any{side: map[string]any{"allow": allow, "deny": []string{"feed.secret.>"}}}}
}

func bearer(token string) []string { return []string{"Authorization", "Bearer " + token} }

// withIdentity makes callers show tokens: routes require one unless change says differently.
func withIdentity(t testing.TB, anonymous auth.Grants, routes ...config.Route) func(*setup) {
	t.Helper()
	der, err := x509.MarshalPKIXPublicKey(signer.Public())
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "key.pem")
	if err := os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}), 0o600); err != nil {
		t.Fatal(err)
	}
	return func(s *setup) {
		options := auth.Options{Issuers: []auth.Issuer{{Name: "i", Audience: []string{"headgate"}, KeyFile: file}}, PermissionsClaim: "nats",
			Anonymous: anonymous, SessionClaim: "sid"}
		if s.revoked != nil {
			options.Revocations = s.revoked
		}
		v, err := auth.New(options)
		if err != nil {
			t.Fatal(err)
		}
		if err := v.Load(); err != nil {
			t.Fatal(err)
		}
		s.identities = v
		s.cfg.Auth.Mode, s.cfg.Auth.Cookie = "jwt", "session"
		if routes == nil {
			routes = s.cfg.Routes
			for i := range routes {
				routes[i].AuthRequired = true
			}
		}
		s.cfg.Routes = routes
	}
}

// own is a route whose subject comes from the token.
func own() config.Route {
	r := prices()
	r.Name, r.Path, r.AuthRequired = "own", "/v1/me", true
	r.Sources = []config.Source{{Name: "own", Type: "core", Subject: "users.{claims.sub}.notify.>"}}
	return r
}

func TestIdentity_IsNeededWhereTheRouteSaysSo(t *testing.T) {
	r := start(t, withIdentity(t, auth.Grants{}))
	for _, method := range []string{http.MethodGet, http.MethodHead} {
		resp := r.do(r.request(method, "/v1/prices/A"))
		if got := resp.Header.Get("WWW-Authenticate"); resp.StatusCode != http.StatusUnauthorized || got != `Bearer realm="headgate"` {
			t.Errorf("%s: %d %q", method, resp.StatusCode, got)
		}
	}
	r.get("/v1/prices/A").problem(t, http.StatusUnauthorized, "token-missing")
	r.get("/v1/prices/A", "Authorization", "Basic dTpw").problem(t, http.StatusUnauthorized, "token-missing")
	r.post("/v1/notify/ada", "x").problem(t, http.StatusUnauthorized, "token-missing")

	resp := r.get("/v1/prices/A", bearer(token("ann", jwt.MapClaims{"exp": 1}))...)
	if detail := resp.problem(t, http.StatusUnauthorized, "token-invalid"); detail != "The token has expired. Get a new token." {
		t.Errorf("detail %q", detail)
	}
	if got := resp.Header.Get("WWW-Authenticate"); got != `Bearer realm="headgate", error="invalid_token", error_description="The token has expired."` {
		t.Errorf("challenge %q", got)
	}
	if len(r.bridge.opens()) != 0 {
		t.Error("a source was opened")
	}
	r.open("/v1/prices/A", bearer(token("ann"))...).want("$ready")
	r.open("/v1/prices/A", "authorization", "bEARER "+token("ann")).want("$ready")
	if got := r.bridge.opens()[0].User; got != "user\x00i\x00ann" {
		t.Errorf("user %q", got)
	}
	// A sub that looks like an address is not the one who calls from there.
	r.open("/v1/prices/B", bearer(token("127.0.0.1"))...).want("$ready")
	if opens := r.bridge.opens(); opens[len(opens)-1].User == "127.0.0.1" {
		t.Error("a user has the name of an address")
	}
	if resp := r.do(r.request(http.MethodHead, "/v1/prices/A", bearer(token("ann"))...)); resp.StatusCode != http.StatusOK {
		t.Errorf("HEAD: %d", resp.StatusCode)
	}
}

func TestIdentity_AnonymousCallersHaveTheirOwnPermissions(t *testing.T) {
	public, named, entrance := prices(), feed(), notify()
	r := start(t, withIdentity(t, auth.Grants{Sub: auth.Permissions{Allow: []string{"feed.public.>", "prices.*"}}}, public, named, entrance))
	r.open("/v1/prices/A").want("$ready")
	r.open("/v1/feed?subject=feed.public.a").want("$ready")
	r.get("/v1/feed?subject=feed.a").problem(t, http.StatusUnauthorized, "token-missing") // with a token it might be
	r.get("/v1/feed?subject=other.a").problem(t, http.StatusForbidden, "subject-forbidden")
	r.post("/v1/notify/ada", "x").problem(t, http.StatusUnauthorized, "token-missing")
	// A token that is shown is judged, also where none is needed.
	r.get("/v1/prices/A", bearer("rubbish")...).problem(t, http.StatusUnauthorized, "token-invalid")
	if user := r.bridge.opens()[0].User; user == "" {
		t.Error("anonymous callers share one name")
	}
}

func TestIdentity_NamedSubjectsNeedPermissionAndFixedOnesOnlyWhereThereIsAList(t *testing.T) {
	bucket := prices()
	bucket.Name, bucket.Path, bucket.AuthRequired = "flags", "/v1/flags/{env}", true
	bucket.Sources = []config.Source{{Name: "flags", Type: "kv", Stream: "FLAGS", Subject: "{env}.>"}}
	r := start(t, func(s *setup) { s.cfg.Routes = append(s.cfg.Routes, bucket) }, withIdentity(t, auth.Grants{}))
	for _, c := range []struct {
		path   string
		claims jwt.MapClaims
		slug   string
	}{
		{"/v1/prices/A", nil, ""},
		{"/v1/feed?subject=feed.a", nil, "not-readable"},
		{"/v1/feed?subject=feed.a", may("sub", "feed.>"), ""},
		{"/v1/feed?subject=feed.a&subject=news.a", may("sub", "feed.>"), "not-readable"},
		{"/v1/feed?subject=feed.secret.a", may("sub", "feed.>"), "not-readable"},
		{"/v1/feed?subject=feed.>", may("sub", "feed.>"), "not-readable"}, // meets what is denied
		{"/v1/feed?subject=feed.*", may("sub", "feed.>"), ""},
		{"/v1/feed?subject=feed.*.a", may("sub", "feed.>"), "not-readable"},
		{"/v1/feed?subject=other.a", may("sub", ">"), "subject-forbidden"}, // beyond the route
		{"/v1/prices/A", may("sub", "feed.>"), "not-readable"},
		{"/v1/prices/A", may("sub", "prices.*"), ""},
		{"/v1/prices/A", may("pub", "prices.*"), ""},
		{"/v1/flags/eu", may("sub", "$KV.FLAGS.eu.>"), ""},
		{"/v1/flags/us", may("sub", "$KV.FLAGS.eu.>"), "not-readable"},
		{"/v1/flags/eu", may("sub", "eu.>"), "not-readable"},
		{"/v1/flags/eu", nil, ""},
	} {
		fields := bearer(token("ann", c.claims))
		if c.slug == "" {
			r.open(c.path, fields...).want("$ready")
			continue
		}
		resp := r.get(c.path, fields...)
		resp.problem(t, http.StatusForbidden, c.slug)
		if got := resp.Header.Get("WWW-Authenticate"); c.slug == "not-readable" && got != `Bearer realm="headgate", error="insufficient_scope"` {
			t.Errorf("challenge %q", got)
		}
		if strings.Contains(resp.body, "secret.>") || strings.Contains(resp.body, "prices.*") {
			t.Errorf("it tells what is allowed: %s", resp.body)
		}
	}
}

func TestIdentity_RoutesRequireClaims(t *testing.T) {
	route := prices()
	route.AuthRequired = true
	route.AuthRequire = []config.Require{{Claim: "scope", Contains: "prices:read"}, {Claim: "tenant", Equals: "{symbol}"}, {Claim: "role", In: []string{"a", "b"}}}
	r := start(t, withIdentity(t, auth.Grants{}, route))
	good := jwt.MapClaims{"scope": "x prices:read", "tenant": "ACME", "role": "b"}
	r.open("/v1/prices/ACME", bearer(token("ann", good))...).want("$ready")
	for _, bad := range []jwt.MapClaims{{"scope": "prices:readwrite"}, {"tenant": "OTHER"}, {"role": "c"}, {"role": nil}} {
		detail := r.get("/v1/prices/ACME", bearer(token("ann", good, bad))...).problem(t, http.StatusForbidden, "claims-forbidden")
		if strings.Contains(detail, "OTHER") || strings.Contains(detail, "ACME") {
			t.Errorf("detail %q", detail)
		}
	}
	r.get("/v1/prices/OTHER", bearer(token("ann", good))...).problem(t, http.StatusForbidden, "claims-forbidden")
}

func TestIdentity_ClaimsInSubjectsAreOneToken(t *testing.T) {
	r := start(t, withIdentity(t, auth.Grants{}, own()))
	r.open("/v1/me", bearer(token("ann"))...).want("$ready")
	if got := r.bridge.subjects(); !slices.Equal(got, []string{"users.ann.notify.>"}) {
		t.Errorf("subjects %q", got)
	}
	for _, sub := range []string{"*", ">", "a.b", "a b", "a.>", "", "x\r\nSUB", strings.Repeat("y", 129)} {
		resp := r.get("/v1/me", bearer(token(sub))...)
		detail := resp.problem(t, http.StatusForbidden, "claims-forbidden")
		if !strings.HasPrefix(detail, "{claims.sub} ") || len(sub) > 3 && strings.Contains(resp.body, sub) {
			t.Errorf("%q: detail %q", sub, detail)
		}
	}
	r.get("/v1/me", bearer(token("", jwt.MapClaims{"sub": nil}))...).problem(t, http.StatusUnauthorized, "token-invalid")
}

// Streams are shared by what they read, so two users with the same path do not end up in one group.
func TestIdentity_UsersWithDifferentSubjectsShareNothing(t *testing.T) {
	r := start(t, withIdentity(t, auth.Grants{}, own()))
	ann := r.open("/v1/me", bearer(token("ann"))...)
	ann.want("$ready")
	bob := r.open("/v1/me", bearer(token("bob"))...)
	bob.want("$ready")
	r.bridge.mu.Lock()
	sources := slices.Clone(r.bridge.sources)
	r.bridge.mu.Unlock()
	for i, c := range []struct {
		rd   *reader
		data string
	}{{ann, "for ann"}, {bob, "for bob"}} {
		sources[i].mu.Lock()
		sink := sources[i].sink
		sources[i].mu.Unlock()
		sink.Push(flow.Event{Frame: sse.NewFrame("", []byte(c.data)), Seq: 1})
		if e := c.rd.want("message"); e.Data != c.data {
			t.Errorf("%s arrived in the place of %s", e.Data, c.data)
		}
	}
}

func TestIdentity_PublishingNeedsPub(t *testing.T) {
	r := start(t, withIdentity(t, auth.Grants{}))
	r.post("/v1/notify/ada", "x", bearer(token("ann"))...).problem(t, http.StatusForbidden, "not-publishable")
	r.post("/v1/notify/ada", "x", bearer(token("ann", may("sub", ">")))...).problem(t, http.StatusForbidden, "not-publishable")
	r.post("/v1/notify/ada", "x", bearer(token("ann", may("pub", "users.bob.>")))...).problem(t, http.StatusForbidden, "not-publishable")
	if resp := r.post("/v1/notify/ada", "x", bearer(token("ann", may("pub", "users.ada.>")))...); resp.StatusCode != http.StatusAccepted {
		t.Errorf("%d %s", resp.StatusCode, resp.body)
	}
	if n := len(r.bridge.published); n != 1 {
		t.Errorf("%d published", n)
	}
}

// counting are identities that count who asks them, and answer what the test says.
type counting struct {
	asked atomic.Int32
	err   error
}

func (c *counting) Identify(context.Context, string) (*auth.Identity, error) {
	c.asked.Add(1)
	return nil, c.err
}
func (c *counting) Check(*auth.Identity) error { return c.err }
func (c *counting) Anonymous() *auth.Identity  { return nil }

func TestIdentity_KeysAwayIsOverload(t *testing.T) {
	fake := &counting{err: auth.ErrUnavailable}
	r := start(t, withIdentity(t, auth.Grants{}), func(s *setup) { s.identities = fake })
	resp := r.get("/v1/prices/A", bearer("x")...)
	resp.problem(t, http.StatusServiceUnavailable, "keys")
	if resp.Header.Get("Retry-After") == "" || resp.Header.Get("WWW-Authenticate") != "" {
		t.Errorf("%v", resp.Header)
	}
	rd := r.open("/v1/prices/A", append(bearer("x"), "Accept", "text/event-stream")...)
	if e := rd.want("$end"); e.Data != `{"reason":"overloaded","cause":"upstream","reconnect":true}` {
		t.Errorf("%s", e.Data)
	}
}

func TestIdentity_ComesAfterTheLimitsOfTheAddress(t *testing.T) {
	fake := &counting{err: auth.ErrUnavailable}
	r := start(t, withIdentity(t, auth.Grants{}), func(s *setup) { s.identities = fake })
	r.limiter.mu.Lock()
	r.limiter.refuse = &ratelimit.Refusal{Cause: ratelimit.Rate, Limit: ratelimit.ConnectRate}
	r.limiter.publish = r.limiter.refuse
	r.limiter.mu.Unlock()
	r.get("/v1/prices/A", bearer("x")...).problem(t, http.StatusTooManyRequests, "rate-address")
	r.post("/v1/notify/ada", "x", bearer("x")...).problem(t, http.StatusTooManyRequests, "rate-address")
	if n := fake.asked.Load(); n != 0 {
		t.Errorf("%d signatures were checked for an address that is over its limit", n)
	}
}

func TestNew_NeedsIdentitiesWithTheModeAndOnlyThen(t *testing.T) {
	cfg := config.DefaultConfig()
	cfg.Auth.Mode = "jwt"
	options := gateway.Options{Config: cfg, Bridge: &bridge{}, Limiter: &limiter{}, Delivery: noDelivery{}}
	if _, err := gateway.New(options); err == nil || !strings.Contains(err.Error(), "AUTH_MODE") {
		t.Error(err)
	}
	options.Config.Auth.Mode, options.Identities = "none", &counting{}
	if _, err := gateway.New(options); err == nil || !strings.Contains(err.Error(), "AUTH_MODE") {
		t.Error(err)
	}
	options.Identities, options.Config.Routes = nil, []config.Route{own()}
	if _, err := gateway.New(options); err == nil || !strings.Contains(err.Error(), "nobody has claims") {
		t.Error(err)
	}
}

// noDelivery is a Delivery that nobody uses.
type noDelivery struct{ gateway.Delivery }

// An id positions inside what the caller may read now, and opens nothing; neither does the end of a stream say anything to strangers.
func TestIdentity_ComesBeforePositions(t *testing.T) {
	ends := prices()
	ends.AuthRequired, ends.End = true, config.End{Field: "state", In: []string{`"over"`}}
	r := start(t, withIdentity(t, auth.Grants{}, ends))
	const id = "1~aaaaaa.5"
	r.open("/v1/prices/A", append(bearer(token("ann", may("sub", "prices.A"))), "Last-Event-ID", id)...).want("$ready")
	r.get("/v1/prices/A", append(bearer(token("ann", may("sub", "prices.B"))), "Last-Event-ID", id)...).problem(t, http.StatusForbidden, "not-readable")
	r.get("/v1/prices/A?last-event-id="+id).problem(t, http.StatusUnauthorized, "token-missing")
	r.bridge.mu.Lock()
	r.bridge.open = func(context.Context, flow.Request) (flow.Opened, error) { return flow.Opened{}, flow.ErrFinished }
	r.bridge.mu.Unlock()
	r.get("/v1/prices/A", "Last-Event-ID", id).problem(t, http.StatusUnauthorized, "token-missing")
	if resp := r.get("/v1/prices/A", append(bearer(token("ann")), "Last-Event-ID", id)...); resp.StatusCode != http.StatusNoContent {
		t.Errorf("%d", resp.StatusCode)
	}
}
