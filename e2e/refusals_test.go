package e2e_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"
)

// callbacks are what the page has seen, without ids and without what differs between runs.
func callbacks(list []seen) []string {
	var out []string
	for _, e := range list {
		state := []string{"connecting", "open", "closed"}[e.State]
		text := e.Type + " " + state
		if e.Type == "$end" {
			text += " " + *e.Data
		}
		out = append(out, text)
	}
	return out
}

// What a page sees of refusals is little: this is all of it. The page has a cookie, and the one place on its route is taken: by somebody else,
// or by another stream of the same user.
func TestChromium_WhatAPageSeesOfARefusal(t *testing.T) {
	t.Parallel()
	const (
		gone  = "error closed" // for good, and without a reason
		again = "error connecting"
		full  = `$end open {"reason":"overloaded","cause":"cap","reconnect":true}`
	)
	for name, tc := range map[string]struct {
		login    bool
		path     string
		sees     []string // until it is closed, or up to its second try
		comesIn  bool     // when the place is free
		outcomes string
	}{
		"401, no cookie":                      {false, "/v1/me", []string{gone}, false, "token-missing"},
		"403, not what is required":           {true, "/v1/admins", []string{gone}, false, "claims-forbidden"},
		"cap, on_overload auto":               {true, "/v1/auto", []string{"open open", full, again, "open open", full, again}, true, "cap-process"},
		"cap, on_overload retry":              {true, "/v1/retry", []string{"open open", full, again, "open open", full, again}, true, "cap-process"},
		"cap, on_overload status":             {true, "/v1/status", []string{gone}, false, "cap-process"},
		"401, a cookie that is no good":       {false, "/v1/me?forged", []string{gone}, false, "token-invalid"},
		"cap of the user, on_overload auto":   {true, "/v1/user/auto", []string{"open open", full, again, "open open", full, again}, true, "cap-user"},
		"cap of the user, on_overload retry":  {true, "/v1/user/retry", []string{"open open", full, again, "open open", full, again}, true, "cap-user"},
		"cap of the user, on_overload status": {true, "/v1/user/status", []string{gone}, false, "cap-user"},
	} {
		t.Run(name, func(t *testing.T) {
			r := newLogin(t)
			g := startIdentifiedWith(t, r.origin, `
  - {name: admins, path: /v1/admins, source: {type: core, subject: admins}, auth: {require: {role: admin}}}
  - {name: auto, path: /v1/auto, source: {type: core, subject: crowd}, limits: {connections: 1}}
  - {name: retry, path: /v1/retry, source: {type: core, subject: crowd}, limits: {connections: 1}, on_overload: retry}
  - {name: status, path: /v1/status, source: {type: core, subject: crowd}, limits: {connections: 1}, on_overload: status}
  - {name: user-auto, path: /v1/user/auto, source: {type: core, subject: crowd}, limits: {connections_per_user: 1}}
  - {name: user-retry, path: /v1/user/retry, source: {type: core, subject: crowd}, limits: {connections_per_user: 1}, on_overload: retry}
  - {name: user-status, path: /v1/user/status, source: {type: core, subject: crowd}, limits: {connections_per_user: 1}, on_overload: status}
`, "SSE_OVERLOAD_RETRY", "100ms", "SSE_OVERLOAD_JITTER", "50ms")
			if tc.login {
				r.eval(t, `fetch("/login?life=10m").then(() => 0)`)
			}
			if strings.HasSuffix(tc.path, "?forged") {
				r.eval(t, fmt.Sprintf(`document.cookie = "session=%s; path=/", 0`, jwtFor("ann", -time.Hour)))
			}
			inTheWay := func() {}
			if who, ok := map[string]string{"cap-process": "bob", "cap-user": "ann"}[tc.outcomes]; ok {
				inTheWay = open(t, g.URL+tc.path, "Authorization", "Bearer "+jwtFor(who, time.Hour)).Close
			}
			if tc.outcomes == "cap-user" { // others are not concerned
				open(t, g.URL+tc.path, "Authorization", "Bearer "+jwtFor("bob", time.Hour)).Close()
			}
			r.eval(t, fmt.Sprintf(`connect(%q, [], {withCredentials: true}), 0`, g.URL+tc.path))
			ctx, cancel := soon(t)
			defer cancel()
			must(t, r.Wait(ctx, fmt.Sprintf("seen.length >= %d", len(tc.sees))))
			if got := callbacks(r.all(t)[:len(tc.sees)]); !slices.Equal(got, tc.sees) {
				t.Errorf("the page saw\n%s\nnot\n%s", strings.Join(got, "\n"), strings.Join(tc.sees, "\n"))
			}
			if n, err := g.Metric(ctx, "headgate_requests_total", fmt.Sprintf("outcome=%q", tc.outcomes)); err != nil || n == 0 {
				t.Errorf("%v requests were refused as %s: %v", n, tc.outcomes, err)
			}
			inTheWay()
			if tc.comesIn {
				r.wait(t, `{type: "$ready"}`, 0)
				g.publish(t, "crowd", "there is room")
				r.wait(t, `{type: "message", data: "there is room"}`, 0)
				return
			}
			// A page that was refused makes no request any more, whatever becomes of the reason.
			r.eval(t, `fetch("/login?life=10m").then(() => 0)`)
			before, err := g.Metric(ctx, "headgate_requests_total")
			must(t, err)
			r.eval(t, `new Promise((resolve) => setTimeout(resolve, 1500))`) // fifteen times as long as retry: asks for
			if after, err := g.Metric(ctx, "headgate_requests_total"); err != nil || after != before || len(r.all(t)) != len(tc.sees) {
				t.Errorf("%v requests more: %v, %v", after-before, callbacks(r.all(t)), err)
			}
		})
	}
}
