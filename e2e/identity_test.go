package e2e_test

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"headgate/e2e/internal/browser"
	"headgate/e2e/internal/stack"
)

const sharedSecret = "a secret of at least thirty-two bytes"

// jwtFor is a token of a user that lives so long, signed with the shared secret (RFC 7515, appendix A.1).
func jwtFor(user string, life time.Duration) string {
	encode := base64.RawURLEncoding.EncodeToString
	signed := encode([]byte(`{"alg":"HS256","typ":"JWT"}`)) + "." + encode(fmt.Appendf(nil, `{"iss":"e2e","aud":"headgate","sub":%q,"exp":%d}`, user,
		time.Now().Add(life).Unix()))
	mac := hmac.New(sha256.New, []byte(sharedSecret))
	mac.Write([]byte(signed))
	return signed + "." + encode(mac.Sum(nil))
}

// newLogin opens the recorder on a server where /login?life=3s gives the visitor a cookie with a token, as a login page would.
func newLogin(t *testing.T) *recorder {
	t.Helper()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/login" {
			life, err := time.ParseDuration(r.FormValue("life"))
			if err != nil {
				t.Errorf("life: %v", err)
			}
			http.SetCookie(w, &http.Cookie{Name: "session", Value: jwtFor("ann", life), Path: "/", HttpOnly: true, SameSite: http.SameSiteLaxMode})
			return
		}
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		fmt.Fprint(w, recorderHTML)
	}))
	t.Cleanup(s.Close)
	r := &recorder{Page: browser.New(t), origin: s.URL}
	ctx, cancel := soon(t)
	defer cancel()
	must(t, r.Open(ctx, s.URL+"/"))
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("what the page saw: %+v", r.texts())
		}
	})
	return r
}

// eval runs JavaScript in the page.
func (r *recorder) eval(t *testing.T, script string) {
	t.Helper()
	ctx, cancel := soon(t)
	defer cancel()
	must(t, r.Eval(ctx, script, nil))
}

func startIdentified(t *testing.T, origin string) *gate {
	t.Helper()
	return startIdentifiedWith(t, origin, "")
}

// startIdentifiedWith has more routes, and more environment given as alternating names and values.
func startIdentifiedWith(t *testing.T, origin, more string, env ...string) *gate {
	t.Helper()
	file := filepath.Join(t.TempDir(), "secret.txt")
	must(t, os.WriteFile(file, []byte(sharedSecret+"\n"), 0o600))
	routes := `
version: 1
defaults: {cors: {origins: ["` + origin + `"], credentials: true}}
routes:
  - name: me
    path: /v1/me
    source: {type: core, subject: "users.{claims.sub}.notify"}
` + more
	return startWith(t, stack.Options{Routes: routes}, append([]string{"AUTH_MODE", "jwt", "AUTH_ISSUER", "e2e", "AUTH_AUDIENCE", "headgate", "AUTH_SECRET_FILE", file,
		"AUTH_LEEWAY", "0s", "AUTH_COOKIE", "session", "AUTH_EXPIRY_NOTICE", "2s", "SSE_RETRY", "100ms", "SSE_RETRY_JITTER", "50ms"}, env...)...)
}

// A page that renews its cookie when it is told that it expires loses nothing when the stream ends with the old one.
func TestChromium_ACookieThatIsRenewedInTimeLosesNothing(t *testing.T) {
	t.Parallel()
	r := newLogin(t)
	g := startIdentified(t, r.origin)
	r.eval(t, `fetch("/login?life=5s").then(() => 0)`)
	r.eval(t, fmt.Sprintf(`connect(%q, ["$expiring"], {withCredentials: true}), source.addEventListener("$expiring", () => fetch("/login?life=10m")), 0`, g.URL+"/v1/me"))
	r.wait(t, `{type: "$ready"}`, 0)
	var sent []string
	for n := 1; len(of(r.all(t), "$ready")) < 2; n++ { // until it has come back
		if n > 2000 {
			t.Fatal("it never came back")
		}
		sent = append(sent, strconv.Itoa(n))
		g.publish(t, "users.ann.notify", sent[n-1])
		g.publish(t, "users.bob.notify", "not for ann")
	}
	g.publish(t, "users.ann.notify", "last")
	r.wait(t, `{type: "message", data: "last"}`, 0)
	all := r.all(t)
	var got []string
	for _, e := range of(all, "message") {
		got = append(got, text(e.Data))
	}
	if want := append(sent, "last"); !slices.Equal(got, want) {
		t.Errorf("%d of %d messages arrived: %s", len(got), len(want), strings.Join(got, " "))
	}
	ends := of(all, "$end")
	if len(ends) != 1 || text(ends[0].Data) != `{"reason":"token-expired","reconnect":true}` || len(of(all, "$expiring")) != 1 || len(of(all, "$gap")) != 0 {
		t.Errorf("ends %v", ends)
	}
}

func TestChromium_ACookieThatIsNotRenewedClosesThePageForGood(t *testing.T) {
	t.Parallel()
	r := newLogin(t)
	g := startIdentified(t, r.origin)
	r.eval(t, `fetch("/login?life=2s").then(() => 0)`)
	r.eval(t, fmt.Sprintf(`connect(%q, [], {withCredentials: true}), 0`, g.URL+"/v1/me"))
	r.wait(t, `{type: "$end"}`, 0)
	r.wait(t, fmt.Sprintf(`{type: "error", state: %d}`, closed), 0) // a 401, which the page cannot see
}

func TestChromium_ThePageOfAnotherOriginCannotUseTheCookie(t *testing.T) {
	t.Parallel()
	mine := newLogin(t)
	g := startIdentified(t, mine.origin)
	evil := newLogin(t) // the same host on another port: the browser sends the cookie
	evil.eval(t, `fetch("/login?life=10m").then(() => 0)`)
	evil.eval(t, fmt.Sprintf(`connect(%q, [], {withCredentials: true}), 0`, g.URL+"/v1/me"))
	evil.wait(t, fmt.Sprintf(`{type: "error", state: %d}`, closed), 0)
	evil.eval(t, fmt.Sprintf(`fetch(%q, {mode: "no-cors", credentials: "include"}).then(() => 0)`, g.URL+"/v1/me"))
	ctx, cancel := soon(t)
	defer cancel()
	if n, err := g.Metric(ctx, "headgate_requests_total", `outcome="cookie-cross-origin"`); err != nil || n != 2 {
		t.Errorf("%v requests were refused for it: %v", n, err)
	}
}
