//go:build !nodev

package main

import (
	"fmt"
	"net/http"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"headgate/internal/sse"
)

// tokenOf is one of an issuer by another name than the provider's own.
func (i *provider) tokenOf(issuer string) string {
	t := jwt.NewWithClaims(jwt.SigningMethodES256, jwt.MapClaims{"iss": issuer, "aud": "headgate", "sub": "ann", "exp": time.Now().Add(time.Hour).Unix()})
	t.Header["kid"] = "k1"
	text, err := t.SignedString(i.key)
	if err != nil {
		panic(err)
	}
	return text
}

// issuers is a line of a routes file.
func issuers(all ...string) string { return "auth: {issuers: [" + strings.Join(all, ", ") + "]}\n" }

func (i *provider) issuer(name string) string {
	return fmt.Sprintf("{issuer: %s, audience: [headgate], jwks_url: %q}", name, i.url)
}

const privateRoutes = `version: 1
routes:
  - {name: own, path: /own, source: {type: core, subject: "own.{claims.sub}"}}
  - {name: a, path: /a, auth: {required: false}, source: {type: core, subject: a.x}}
`

func (c *configured) openAs(token, path string) *stream {
	c.t.Helper()
	resp := c.with(token, "GET", path, "", "")
	if resp.StatusCode != http.StatusOK {
		c.t.Fatalf("%s: %d", path, resp.StatusCode)
	}
	s := &stream{t: c.t, events: sse.NewDecoder(resp.Body)}
	s.next("$ready")
	return s
}

// startTrusting has two issuers.
func startTrusting(t *testing.T, env ...string) (*configured, *provider, *provider) {
	t.Helper()
	i, j := startProvider(t), startProvider(t)
	i.up.Store(true)
	j.up.Store(true)
	c := &configured{t: t}
	c.boot(privateRoutes+issuers(i.issuer("i"), j.issuer("j")), append([]string{"AUTH_MODE=jwt", "ROUTES_SPREAD=0s"}, env...)...)
	for name, p := range map[string]*provider{"i": i, "j": j} {
		c.until("the keys are there", func() bool { return c.with(p.tokenOf(name), "HEAD", "/own", "", "").StatusCode == http.StatusOK })
	}
	return c, i, j
}

func TestReload_AnIssuerGoesAndAnotherComes(t *testing.T) {
	c, i, j := startTrusting(t)
	ofI, ofJ, nobody := c.openAs(i.tokenOf("i"), "/own"), c.openAs(j.tokenOf("j"), "/own"), c.open("/a")
	k := startProvider(t)
	k.up.Store(true)
	c.swapText(privateRoutes + issuers(j.issuer("j"), k.issuer("k")))
	c.reloads("taken", 1)
	if e := ofI.next("$end"); e.Data != `{"reason":"revoked","reconnect":false}` {
		t.Errorf("%s", e.Data)
	}
	if got := c.with(i.tokenOf("i"), "GET", "/own", "", "").StatusCode; got != http.StatusUnauthorized {
		t.Errorf("a token of the issuer that is gone: %d", got)
	}
	ofK := c.openAs(k.tokenOf("k"), "/own") // its keys were there before the routes were
	c.publish("own.ann", "1")
	c.publish("a.x", "1")
	for _, s := range []*stream{ofJ, ofK, nobody} {
		if e := s.next("message"); e.Data != "1" {
			t.Errorf("%q", e.Data)
		}
	}
}

// Keys that cannot be had refuse all of the file, and nothing has changed, until they can.
func TestReload_AnIssuerWithoutKeysRefusesTheFile(t *testing.T) {
	c, i, j := startTrusting(t)
	ofI := c.openAs(i.tokenOf("i"), "/own")
	k := startProvider(t)
	more := privateRoutes + "  - {name: b, path: /b, auth: {required: false}, source: {type: core, subject: b.x}}\n" + issuers(j.issuer("j"), k.issuer("k"))
	c.swapText(more)
	c.reloads("refused", 1)
	if got := c.metric("headgate_reload_last_successful"); got != "0" {
		t.Errorf("headgate_reload_last_successful is %s", got)
	}
	for where, text := range map[string]string{"log": c.stderr.String(), "/readyz": func() string { _, text := c.get(c.admin + "/readyz"); return text }()} {
		if !strings.Contains(text, "its JWKS URL: the answer is 503") || strings.Contains(text, "hidden") {
			t.Errorf("%s: %s", where, text)
		}
	}
	if status, _ := c.get(c.public + "/b"); status != http.StatusNotFound {
		t.Errorf("a route of the file answers %d", status)
	}
	c.publish("own.ann", "1")
	if e := ofI.next("message"); e.Data != "1" {
		t.Errorf("%q", e.Data)
	}
	k.up.Store(true)
	c.signals <- syscall.SIGHUP
	c.reloads("taken", 1)
	ofI.next("$end")
	c.open("/b")
	if got := c.metric("headgate_reload_last_successful"); got != "1" {
		t.Errorf("headgate_reload_last_successful is %s", got)
	}
}

func TestReload_OtherRulesForCallersEndTheirStreamsAndTheyComeBack(t *testing.T) {
	c, i, j := startTrusting(t)
	ofI, ofJ, nobody := c.openAs(i.tokenOf("i"), "/own"), c.openAs(j.tokenOf("j"), "/own"), c.open("/a")
	wider := strings.Replace(i.issuer("i"), "[headgate]", "[headgate, others]", 1)
	c.swapText(privateRoutes + issuers(wider, j.issuer("j")))
	c.reloads("taken", 1)
	if e := ofI.next("$end"); e.Data != `{"reason":"route-changed","reconnect":true}` {
		t.Errorf("%s", e.Data)
	}
	ofI = c.openAs(i.tokenOf("i"), "/own")
	c.swapText(privateRoutes + strings.Replace(issuers(wider, j.issuer("j")), "]}\n", "], anonymous: {sub: {deny: [\"a.>\"]}}}\n", 1))
	c.reloads("taken", 2)
	if e := nobody.next("$end"); !strings.Contains(e.Data, "route-changed") {
		t.Errorf("%s", e.Data)
	}
	if status, _ := c.get(c.public + "/a"); status != http.StatusUnauthorized {
		t.Errorf("what anonymous callers may not read any more: %d", status)
	}
	c.publish("own.ann", "1")
	for _, s := range []*stream{ofI, ofJ} {
		s.next("message")
	}
}

// Streams that a reload has given time are still those of their issuer: when that goes meanwhile, they have no more of it.
func TestReload_AnIssuerThatGoesWhileItsStreamsAreEndingSpreadEndsThemAtOnce(t *testing.T) {
	c, i, j := startTrusting(t, "ROUTES_SPREAD=1h")
	ofI, ofJ := c.openAs(i.tokenOf("i"), "/own"), c.openAs(j.tokenOf("j"), "/own")
	for n, audience := range []string{"[headgate, others]", "[headgate, more]"} {
		c.swapText(privateRoutes + issuers(strings.Replace(i.issuer("i"), "[headgate]", audience, 1), j.issuer("j")))
		c.reloads("taken", n+1)
	}
	c.swapText(privateRoutes + issuers(j.issuer("j")))
	c.reloads("taken", 3)
	if e := ofI.next("$end"); e.Data != `{"reason":"revoked","reconnect":false}` {
		t.Errorf("%s", e.Data)
	}
	c.publish("own.ann", "1")
	ofJ.next("message")
}
