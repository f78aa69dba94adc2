//go:build !nodev

package main

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/base64"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"headgate/internal/sse"
)

// provider is an issuer with a JWK set, which is away until up is set.
type provider struct {
	key *ecdsa.PrivateKey
	up  atomic.Bool
	url string
}

func startProvider(t *testing.T) *provider {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := key.PublicKey.Bytes()
	if err != nil {
		t.Fatal(err)
	}
	e := base64.RawURLEncoding.EncodeToString
	set := fmt.Sprintf(`{"keys":[{"kty":"EC","crv":"P-256","kid":"k1","use":"sig","alg":"ES256","x":%q,"y":%q}]}`, e(raw[1:33]), e(raw[33:]))
	i := &provider{key: key}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		if !i.up.Load() {
			http.Error(w, "away", http.StatusServiceUnavailable)
			return
		}
		_, _ = io.WriteString(w, set)
	}))
	t.Cleanup(server.Close)
	i.url = server.URL + "/jwks.json?key=hidden"
	return i
}

func (i *provider) token(sub string, life time.Duration) string {
	t := jwt.NewWithClaims(jwt.SigningMethodES256, jwt.MapClaims{"iss": "https://i.example", "aud": []string{"headgate"}, "sub": sub,
		"exp": time.Now().Add(life).Unix(), "nats": map[string]any{"pub": map[string]any{"allow": []string{"own." + sub}}}})
	t.Header["kid"] = "k1"
	text, err := t.SignedString(i.key)
	if err != nil {
		panic(err)
	}
	return text
}

// with sends a request with a token.
func (p *process) with(token, method, path, body, id string) *http.Response {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	req, err := http.NewRequestWithContext(ctx, method, p.public+path, strings.NewReader(body))
	if err != nil {
		p.t.Fatal(err)
	}
	if body == "" {
		req.Body = nil
	}
	req.Header.Set("Authorization", "Bearer "+token)
	if id != "" {
		req.Header.Set("Last-Event-ID", id)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		p.t.Fatalf("%s %s: %v\nstderr:\n%s", method, path, err, p.stderr)
	}
	p.t.Cleanup(func() { cancel(); _ = resp.Body.Close() })
	return resp
}

// The whole way with a real NATS: keys that come late, a subject from the token, a stream that ends with it, and the next one that goes
// on where it was.
func TestServe_IdentityFromKeysToTheEndOfTheToken(t *testing.T) {
	i := startProvider(t)
	file := filepath.Join(t.TempDir(), "routes.yaml")
	routes := "version: 1\nroutes:\n  - name: own\n    path: /own\n    source: {type: core, subject: \"own.{claims.sub}\"}\n    publish: {subject: \"own.{claims.sub}\"}\n"
	if err := os.WriteFile(file, []byte(routes), 0o600); err != nil {
		t.Fatal(err)
	}
	p := start(t, base("ROUTES_FILE="+file, "AUTH_MODE=jwt", "AUTH_ISSUER=https://i.example", "AUTH_AUDIENCE=headgate", "AUTH_JWKS_URL="+i.url,
		"AUTH_LEEWAY=0s"), "-dev").listening()
	p.ready()
	if resp := p.with(i.token("ann", time.Hour), "GET", "/own", "", ""); resp.StatusCode != http.StatusServiceUnavailable {
		t.Errorf("without keys: %d", resp.StatusCode)
	}
	i.up.Store(true)
	p.until("the keys are there", func() bool {
		return p.with(i.token("ann", time.Hour), "HEAD", "/own", "", "").StatusCode == http.StatusOK
	})

	resp := p.with(i.token("ann", 3*time.Second), "GET", "/own", "", "")
	first := &stream{t: t, events: sse.NewDecoder(resp.Body)}
	first.next("$ready")
	publish := func(text string) {
		t.Helper()
		if resp := p.with(i.token("ann", time.Hour), "POST", "/own", text, ""); resp.StatusCode != http.StatusAccepted {
			t.Fatalf("publish: %d", resp.StatusCode)
		}
	}
	publish("one")
	first.next("$expiring")
	last := first.next("$end")
	if last.Data != `{"reason":"token-expired","reconnect":true}` {
		t.Fatalf("%+v", last)
	}
	publish("two")
	resp = p.with(i.token("ann", time.Hour), "GET", "/own", "", last.ID)
	second := &stream{t: t, events: sse.NewDecoder(resp.Body)}
	if e := second.next("message"); e.Data != "two" {
		t.Errorf("%+v", e)
	}
	other := p.with(i.token("bob", time.Hour), "GET", "/own", "", "")
	_ = other.Body.Close()
	if status, body := p.get(p.public + "/own"); status != http.StatusUnauthorized || !strings.Contains(body, "token-missing") {
		t.Errorf("without token: %d %s", status, body)
	}
	if text := p.stderr.String(); strings.Contains(text, "hidden") || strings.Contains(text, "eyJ") {
		t.Errorf("a secret is in the log:\n%s", text)
	}
}

func TestServe_AKeyFileThatIsNoneEndsTheStart(t *testing.T) {
	file := filepath.Join(t.TempDir(), "key.pem")
	if err := os.WriteFile(file, []byte("SECRET"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, flag := range []string{"-dev", "-check"} {
		p := start(t, base("AUTH_MODE=jwt", "AUTH_ISSUER=i", "AUTH_AUDIENCE=h", "SUBJECTS_ALLOW=a.>", "AUTH_KEY_FILE="+file), flag)
		if code := p.wait(); code != exitUsage || !strings.Contains(p.stderr.String(), "no public key") || strings.Contains(p.stderr.String(), "SECRET") {
			t.Errorf("%s: %d %s", flag, code, p.stderr)
		}
	}
}

func TestKeyFetcher_TakesNoMoreAndFollowsNobody(t *testing.T) {
	var elsewhere atomic.Bool
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/large":
			_, _ = io.WriteString(w, strings.Repeat("x", 5000))
		case "/moved":
			http.Redirect(w, r, "/elsewhere", http.StatusFound)
		case "/elsewhere":
			elsewhere.Store(true)
		default:
			http.NotFound(w, r)
		}
	}))
	defer server.Close()
	f := newKeyFetcher()
	if data, err := f.fetch(t.Context(), server.URL+"/large", 100); err != nil || len(data) != 101 {
		t.Errorf("%d bytes, %v", len(data), err)
	}
	for _, path := range []string{"/moved", "/none"} {
		if _, err := f.fetch(t.Context(), server.URL+path+"?key=hidden", 100); err == nil || strings.Contains(err.Error(), "hidden") {
			t.Errorf("%s: %v", path, err)
		}
	}
	if elsewhere.Load() {
		t.Error("a redirect was followed")
	}
	server.Close()
	if _, err := f.fetch(t.Context(), server.URL+"/large?key=hidden", 100); err == nil || strings.Contains(err.Error(), "hidden") {
		t.Errorf("%v", err)
	}
}
