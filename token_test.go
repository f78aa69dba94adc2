//go:build !nodev

package main

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"reflect"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

// tokenOf runs `headgate token` with the key pair in a cache.
func tokenOf(t *testing.T, cache string, args ...string) string {
	t.Helper()
	var stdout, stderr strings.Builder
	p := program{args: append([]string{"token"}, args...), stdout: &stdout, stderr: &stderr, cache: cache, name: "headgate"}
	if code := p.run(t.Context()); code != exitOK || strings.Count(stdout.String(), "\n") != 1 || stderr.Len() > 0 {
		t.Fatalf("%q: exit code %d, %q, %q", args, code, stdout.String(), stderr.String())
	}
	return strings.TrimSpace(stdout.String())
}

func TestToken_SaysWhatItWasAskedFor(t *testing.T) {
	cache := t.TempDir()
	text := tokenOf(t, cache, "-sub", "alice", "-permissions", `{"sub":{"allow":["orders.>"],"deny":[]}}`, "-for", "90m", "-claim", "tenant=acme",
		"-claim", `roles=["a","b"]`, "-claim", "level=7", "-claim", "note=a=b c", "-claim", `quoted="7"`)
	private, _, err := devKeys(cache)
	if err != nil {
		t.Fatal(err)
	}
	claims := jwt.MapClaims{}
	if _, err := jwt.ParseWithClaims(text, claims, func(*jwt.Token) (any, error) { return private.Public(), nil }, jwt.WithValidMethods([]string{"EdDSA"})); err != nil {
		t.Fatal(err)
	}
	exp, _ := claims.GetExpirationTime()
	if left := time.Until(exp.Time); left < 89*time.Minute || left > 90*time.Minute {
		t.Errorf("it is good for %s", left)
	}
	if id, _ := claims["jti"].(string); len(id) < 20 {
		t.Errorf("jti %q", id)
	}
	for _, name := range []string{"exp", "iat", "jti"} {
		delete(claims, name)
	}
	want := jwt.MapClaims{"iss": "headgate-dev", "aud": "headgate-dev", "sub": "alice", "tenant": "acme", "roles": []any{"a", "b"}, "level": 7.0,
		"note": "a=b c", "quoted": "7", "nats": map[string]any{"sub": map[string]any{"allow": []any{"orders.>"}, "deny": []any{}}}}
	if !reflect.DeepEqual(claims, want) {
		t.Errorf("%v, not %v", claims, want)
	}
}

func TestToken_SaysHowToMendWhatItDoesNotTake(t *testing.T) {
	for said, args := range map[string][]string{
		"-sub alice":       {},
		"from 1s to 24h":   {"-sub", "a", "-for", "48h"},
		"-for":             {"-sub", "a", "-for", "soon"},
		"name=value":       {"-sub", "a", "-claim", "tenant"},
		"another flag":     {"-sub", "a", "-claim", "exp=9999999999"},
		"is not to be":     {"-sub", "a", "-claim", "iss=somebody"},
		`{"sub": {"allow`:  {"-sub", "a", "-permissions", `{"sub":{"alow":["a"]}}`},
		`"pub"`:            {"-sub", "a", "-permissions", `["a.>"]`},
		"a..b":             {"-sub", "a", "-permissions", `{"pub":{"deny":["a..b"]}}`},
		"quote a value":    {"-sub", "a", "b"},
		"flag provided":    {"-subject", "a"},
		"token -help show": {"-sub", ""},
	} {
		var stdout, stderr strings.Builder
		p := program{args: append([]string{"token"}, args...), stdout: &stdout, stderr: &stderr, cache: t.TempDir()}
		if code := p.run(t.Context()); code != exitUsage || stdout.Len() > 0 || !strings.Contains(stderr.String(), said) {
			t.Errorf("%q: exit code %d, %q, without %q", args, code, stderr.String(), said)
		}
	}
	var stdout, stderr strings.Builder
	p := program{args: []string{"token", "-sub", "a"}, stdout: &stdout, stderr: &stderr}
	if code := p.run(t.Context()); code != exitFailed || !strings.Contains(stderr.String(), "HOME") {
		t.Errorf("without a cache: %d, %q", code, stderr.String())
	}
	p = program{args: []string{"token", "-help"}, stdout: &stdout, stderr: &stderr, name: "go run ."}
	if code := p.run(t.Context()); code != exitOK || !strings.Contains(stdout.String(), "$(go run . token -sub alice)") {
		t.Errorf("-help: %d, %q", code, stdout.String())
	}
}

func TestDevKeys_AreOnePairForAllWhoAskAtOnce(t *testing.T) {
	cache := t.TempDir()
	found := make([]string, 16)
	var asking sync.WaitGroup
	for i := range found {
		asking.Go(func() {
			private, file, err := devKeys(cache)
			public, _ := os.ReadFile(file)
			found[i] = fmt.Sprintf("%x %s %v", private, public, err)
		})
	}
	asking.Wait()
	for _, f := range found {
		if f != found[0] || !strings.HasSuffix(f, "<nil>") || !strings.Contains(f, "BEGIN PUBLIC KEY") {
			t.Errorf("%s, and %s", f, found[0])
		}
	}
	entries, err := os.ReadDir(filepath.Join(cache, devKeyDir))
	if err != nil || len(entries) != 2 {
		t.Errorf("%v are left: %v", entries, err)
	}
}

func TestDevKeys_AreForTheirOwnerAlone(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("files have no such modes here")
	}
	cache := t.TempDir()
	if _, _, err := devKeys(cache); err != nil {
		t.Fatal(err)
	}
	dir, file := filepath.Join(cache, devKeyDir), filepath.Join(cache, devKeyDir, devPrivateKey)
	for path, want := range map[string]os.FileMode{dir: 0o700, file: 0o600} {
		if info, err := os.Stat(path); err != nil || info.Mode().Perm() != want {
			t.Errorf("%s: %v, %v", path, info.Mode(), err)
		}
	}
	if err := os.Chmod(file, 0o644); err != nil {
		t.Fatal(err)
	}
	if _, _, err := devKeys(cache); err == nil || !strings.Contains(err.Error(), "delete it") {
		t.Errorf("a key that others can read: %v", err)
	}
	if err := os.WriteFile(file, []byte("SECRET"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(file, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, _, err := devKeys(cache); err == nil || !strings.Contains(err.Error(), "damaged") || strings.Contains(err.Error(), "SECRET") {
		t.Errorf("a damaged key: %v", err)
	}
}

// asks says how a gateway answers a request with a token.
func (p *process) asks(token, path string) int {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodHead, p.public+path, nil)
	if err != nil {
		p.t.Fatal(err)
	}
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		p.t.Fatal(err)
	}
	_ = resp.Body.Close()
	return resp.StatusCode
}

func TestDev_TakesTheTokensOfThisMachineOnItsPrivateRoutes(t *testing.T) {
	cache := t.TempDir()
	p := startWith(t, cache, base(), "-dev").listening()
	p.ready()
	alice := tokenOf(t, cache, "-sub", "alice")
	for what, tc := range map[string]struct {
		token, path string
		want        int
	}{
		"public, nobody":           {"", "/v1/prices/ACME", 200},
		"named subjects, nobody":   {"", "/v1/feed?subject=demo.feed.eu.>", 200},
		"a bucket, nobody":         {"", "/v1/flags/prod", 200},
		"private, nobody":          {"", "/v1/me/notifications", 401},
		"private, alice":           {alice, "/v1/me/notifications", 200},
		"public, alice":            {alice, "/v1/prices/ACME", 200},
		"another machine":          {tokenOf(t, t.TempDir(), "-sub", "alice"), "/v1/me/notifications", 401},
		"no claim":                 {alice, "/v1/regions/eu/orders", 403},
		"the claim":                {tokenOf(t, cache, "-sub", "a", "-claim", "region=eu"), "/v1/regions/eu/orders", 200},
		"the claim of another":     {tokenOf(t, cache, "-sub", "a", "-claim", "region=us"), "/v1/regions/eu/orders", 403},
		"no permission for it":     {alice, "/v1/feed?subject=demo.feed.eu.>", 403},
		"a permission for it":      {tokenOf(t, cache, "-sub", "a", "-permissions", `{"sub":{"allow":["demo.feed.eu.>"]}}`), "/v1/feed?subject=demo.feed.eu.>", 200},
		"a permission for another": {tokenOf(t, cache, "-sub", "a", "-permissions", `{"sub":{"allow":["demo.feed.eu.>"]}}`), "/v1/me/notifications", 403},
		"two tokens in one":        {alice + alice, "/v1/prices/ACME", 401},
	} {
		if got := p.asks(tc.token, tc.path); got != tc.want {
			t.Errorf("%s: %d, not %d", what, got, tc.want)
		}
	}
	p.until("the banner is out", func() bool { return strings.Contains(p.stdout.String(), "Ctrl-C") })
	for _, want := range []string{`curl -N -H "Authorization: Bearer $(headgate token -sub alice)" '` + p.public + `/v1/me/notifications'`, "headgate token -sub alice -for 2m"} {
		if !strings.Contains(p.stdout.String(), want) {
			t.Errorf("the banner lacks %s:\n%s", want, p.stdout)
		}
	}
	if text := p.stderr.String(); strings.Contains(text, "eyJ") {
		t.Errorf("a token is in the log:\n%s", text)
	}
}

func TestDev_WithoutAKeyAsksNobody(t *testing.T) {
	for what, env := range map[string][]string{"no cache": nil, "none": {"AUTH_MODE=none"}} {
		cache := ""
		if env != nil {
			cache = t.TempDir()
		}
		p := startWith(t, cache, base(env...), "-dev").listening()
		p.ready()
		if prices, me := p.asks("", "/v1/prices/ACME"), p.asks("", "/v1/me/notifications"); prices != 200 || me != 404 {
			t.Errorf("%s: %d and %d", what, prices, me)
		}
		if warned := strings.Contains(p.stderr.String(), "no key for tokens"); warned != (cache == "") {
			t.Errorf("%s: warned %t", what, warned)
		}
		p.until("the banner is out", func() bool { return strings.Contains(p.stdout.String(), "Ctrl-C") })
		if strings.Contains(p.stdout.String(), "Bearer") {
			t.Errorf("%s: the banner speaks of tokens:\n%s", what, p.stdout)
		}
	}
}

// With -dev, routes of one's own can be tried with tokens too.
func TestDev_RoutesOfOnesOwnCanAskForTokens(t *testing.T) {
	cache, file := t.TempDir(), filepath.Join(t.TempDir(), "routes.yaml")
	routes := "version: 1\nroutes:\n  - {name: own, path: '/own/{tenant}', source: {type: core, allow: ['feed.>']}, auth: {require: {tenant: '{tenant}'}}}\n"
	if err := os.WriteFile(file, []byte(routes), 0o600); err != nil {
		t.Fatal(err)
	}
	p := startWith(t, cache, base("ROUTES_FILE="+file, "AUTH_MODE=jwt"), "-dev").listening()
	p.ready()
	p.until("the banner is out", func() bool { return strings.Contains(p.stdout.String(), "Ctrl-C") })
	const want = `$(headgate token -sub alice -claim 'tenant=demo' -permissions '{"sub":{"allow":["feed.>"]}}')`
	if !strings.Contains(p.stdout.String(), want) {
		t.Errorf("the banner lacks %s:\n%s", want, p.stdout)
	}
	token := tokenOf(t, cache, "-sub", "alice", "-claim", "tenant=demo", "-permissions", `{"sub":{"allow":["feed.>"]}}`)
	if got, nobody := p.asks(token, "/own/demo?subject=feed.>"), p.asks("", "/own/demo?subject=feed.>"); got != 200 || nobody != 401 {
		t.Errorf("%d with the token, %d without", got, nobody)
	}
}

// A gateway that is not run with -dev accepts no token of `headgate token`, not even one that is given its key on purpose.
func TestToken_IsGoodForDevAlone(t *testing.T) {
	cache := t.TempDir()
	token := tokenOf(t, cache, "-sub", "alice")
	_, key, err := devKeys(cache)
	if err != nil {
		t.Fatal(err)
	}
	settings := func(issuer, audience string) []string {
		return base("AUTH_MODE=jwt", "AUTH_ISSUER="+issuer, "AUTH_AUDIENCE="+audience, "AUTH_KEY_FILE="+key, "SUBJECTS_ALLOW=feed.>", "NATS_URL=nats://127.0.0.1:1")
	}
	if code := startWith(t, cache, settings("headgate-dev", "headgate-dev")).wait(); code != exitUsage {
		t.Errorf("its issuer was taken: exit code %d", code)
	}
	p := startWith(t, cache, settings("issuer", "headgate-dev")).listening()
	if got := p.asks(token, "/events?subject=feed.a"); got != http.StatusUnauthorized {
		t.Errorf("status %d", got)
	}
}
