package e2e_test

import (
	"fmt"
	"regexp"
	"strings"
	"testing"
	"time"

	"headgate/e2e/internal/browser"
	"headgate/e2e/internal/stack"
)

// follow collects what a page says about its stream, however briefly.
func follow(t *testing.T, p *browser.Page) {
	t.Helper()
	ctx, cancel := soon(t)
	defer cancel()
	must(t, p.Eval(ctx, `window.said = [], new MutationObserver(() => said.push(document.querySelector("#state").textContent))
		.observe(document.querySelector("#state"), {childList: true}), 0`, nil))
}

func TestExample_TokensOfAProviderThatChangesItsKey(t *testing.T) {
	t.Parallel()
	e := startExample(t, "jwks", "AUTH_MODE=jwt", "AUTH_LEEWAY=0s AUTH_EXPIRY_NOTICE=3s SSE_RETRY=100ms SSE_RETRY_JITTER=50ms AUTH_MODE=jwt", "-pages", "-life 6s -pages")
	ann, bob := e.openPage(t, "?user=ann"), e.openPage(t, "?user=bob")
	e.run(t, 0)
	showsText(t, ann, "#list li", "mention: Bob wrote: have you seen this, @ann?")
	showsText(t, bob, "#list li", "payment: 12.50 EUR from Carol")

	out := e.run(t, 1)
	if !strings.Contains(out, `event: $ready`) || !strings.Contains(out, "HTTP/1.1 401 Unauthorized") || !strings.Contains(out, "token-missing") {
		t.Errorf("with and without a token:\n%s", out)
	}
	if out = e.run(t, 2); strings.Count(out, `event: $ready`) != 2 {
		t.Errorf("with the old key and the new one:\n%s", out)
	}
	// The pages go on with tokens of the new key.
	follow(t, ann)
	sees(t, ann, `said.includes("Connection lost (token-expired), trying again…") && said.at(-1) === "Connected."`)
	e.run(t, 0)
	showsText(t, ann, "#list li", "mention: Bob wrote: have you seen this, @ann?", "mention: Bob wrote: have you seen this, @ann?")
	snap(t, ann, "jwks.png")
	quiet(t, ann)
	quiet(t, bob)
}

// logIn fills in the form as a person would.
func logIn(t *testing.T, p *browser.Page, user, password string) {
	t.Helper()
	ctx, cancel := soon(t)
	defer cancel()
	sees(t, p, `!document.querySelector("#login").hidden`)
	for name, text := range map[string]string{"user": user, "password": password} {
		must(t, p.Eval(ctx, fmt.Sprintf(`document.querySelector("[name=%s]").focus(); document.querySelector("[name=%s]").select()`, name, name), nil))
		must(t, p.Type(ctx, text))
	}
	must(t, p.Press(ctx, "Enter"))
}

func TestExample_ASessionCookieBehindALoginPage(t *testing.T) {
	t.Parallel()
	e := startExample(t, "login", "AUTH_MODE=jwt", "AUTH_LEEWAY=0s AUTH_EXPIRY_NOTICE=3s SSE_RETRY=100ms SSE_RETRY_JITTER=50ms AUTH_MODE=jwt", "-life 1m", "-life 6s")
	ctx, cancel := stack.Deadline(t, 2*time.Minute)
	defer cancel()
	ann := browser.New(t)
	must(t, ann.Open(ctx, e.page))
	logIn(t, ann, "ann", "wrong")
	sees(t, ann, `document.querySelector("#state").textContent.includes("is wrong")`)
	logIn(t, ann, "ann", "correct horse")
	sees(t, ann, `document.querySelector("#state").textContent === "Connected as ann."`)
	var cookies string
	must(t, ann.Eval(ctx, `document.cookie`, &cookies))
	if cookies != "" {
		t.Errorf("a script can read %q", cookies)
	}
	follow(t, ann)
	e.run(t, 0)
	showsText(t, ann, "#list li", "mention: Bob wrote: have you seen this, @ann?")
	// The stream ends with its token, and comes back with the one that the page has had renewed.
	sees(t, ann, `said.includes("Connection lost, trying again…") && said.at(-1) === "Connected as ann."`)
	e.run(t, 0)
	showsText(t, ann, "#list li", "mention: Bob wrote: have you seen this, @ann?", "mention: Bob wrote: have you seen this, @ann?")
	snap(t, ann, "login.png")

	out := e.run(t, 1)
	if !regexp.MustCompile(`(?s)"user":"ann".*event: \$ready`).MatchString(out) {
		t.Errorf("curl with the cookie:\n%s", out)
	}
	if out = e.run(t, 2); !strings.Contains(out, "HTTP/1.1 403 Forbidden") || !strings.Contains(out, "cookie-cross-origin") {
		t.Errorf("a page of another site:\n%s", out)
	}
	must(t, ann.Eval(ctx, `document.querySelector("#logout").click()`, nil))
	sees(t, ann, `document.querySelector("#state").textContent === "Nobody is logged in."`)

	// A session that has ended elsewhere: the stream goes on until its token ends, then a 401 closes it, and the page shows the login.
	must(t, ann.Open(ctx, e.page+"?again"))
	logIn(t, ann, "ann", "correct horse")
	sees(t, ann, `document.querySelector("#state").textContent === "Connected as ann."`)
	must(t, ann.Eval(ctx, `fetch("/logout", {method: "POST"}).then(() => 0)`, nil))
	sees(t, ann, `!document.querySelector("#login").hidden`)
	quiet(t, ann)
}
