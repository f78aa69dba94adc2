package e2e_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"headgate/e2e/internal/browser"
	"headgate/e2e/internal/node"
	"headgate/e2e/internal/stack"
)

// engine is where JavaScript runs.
type engine interface {
	Eval(ctx context.Context, expression string, out any) error
	Wait(ctx context.Context, expression string) error
}

// library is examples/client/headgate.js in Chromium or Node, and the application around it, which has a place where tokens come from.
type library struct {
	engine
	t      *testing.T
	origin string

	mu      sync.Mutex
	asked   []string // the queries of the requests for tokens
	answers []answer // what /answers does next, the last one for ever
}

const clientPage = `<!doctype html><meta charset="utf-8"><title>client</title><link rel="icon" href="data:,"><script type="module">
import * as client from "/headgate.js";
import { record } from "/client.mjs";
record(client);
</script>`

// inEngines runs a test of the client in Chromium and in Node.
func inEngines(t *testing.T, test func(t *testing.T, l *library)) {
	for name, open := range map[string]func(*testing.T, *library){"Chromium": openInChromium, "Node": openInNode} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l := &library{t: t}
			l.listen()
			open(t, l)
			l.until(`globalThis.begin !== undefined`)
			t.Cleanup(func() {
				if t.Failed() {
					ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second) // the test's own has ended
					defer cancel()
					var seen []string
					_ = l.Eval(ctx, `seen.map((s) => JSON.stringify(s))`, &seen)
					t.Logf("what the client told:\n%s", strings.Join(seen, "\n"))
				}
			})
			test(t, l)
		})
	}
}

// listen starts the application.
func (l *library) listen() {
	s := httptest.NewServer(http.HandlerFunc(l.serve))
	l.t.Cleanup(s.Close)
	l.origin = s.URL
}

func openInChromium(t *testing.T, l *library) {
	p := browser.New(t)
	l.engine = p
	ctx, cancel := soon(t)
	defer cancel()
	must(t, p.Open(ctx, l.origin+"/"))
	t.Cleanup(func() { quiet(t, p) })
}

func openInNode(t *testing.T, l *library) {
	p := node.New(t)
	l.engine = p
	url := func(file string) string {
		path, err := filepath.Abs(file)
		must(t, err)
		return "file://" + path
	}
	l.eval(fmt.Sprintf(`Promise.all([load(%q), load(%q)]).then(([client, { record }]) => record(client))`, url("../examples/client/headgate.js"),
		url("testdata/client.mjs")), nil)
}

// serve is the application: its page, and /token?life=3s, which gives a token as a session's server would.
func (l *library) serve(w http.ResponseWriter, r *http.Request) {
	switch r.URL.Path {
	case "/headgate.js":
		http.ServeFile(w, r, "../examples/client/headgate.js")
	case "/client.mjs":
		http.ServeFile(w, r, "testdata/client.mjs")
	case "/answers":
		l.mu.Lock()
		answer := l.answers[0]
		if len(l.answers) > 1 {
			l.answers = l.answers[1:]
		}
		l.mu.Unlock()
		answer(w, r)
	case "/token":
		l.mu.Lock()
		l.asked = append(l.asked, r.URL.RawQuery)
		l.mu.Unlock()
		life, err := time.ParseDuration(r.FormValue("life"))
		if err != nil {
			l.t.Errorf("life: %v", err)
		}
		fmt.Fprint(w, jwtFor("ann", life))
	default:
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		fmt.Fprint(w, clientPage)
	}
}

// requests are the queries with which tokens were asked for.
func (l *library) requests() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.asked)
}

// tokens is a token function whose n-th answer lives as long as the n-th of lives, the last one from then on.
func (l *library) tokens(lives ...string) string {
	list, _ := json.Marshal(lives)
	return fmt.Sprintf(`((lives) => ({renew, signal}) => seen.push({name: "token", what: renew}) && fetch("%s/token?renew=" + renew + "&life=" + (lives.length > 1 ? lives.shift() : lives[0]), {signal}).then((r) => r.text()))(%s)`,
		l.origin, list)
}

// begin connects with options, which are written in JavaScript.
func (l *library) begin(url, options string) {
	l.t.Helper()
	l.eval(fmt.Sprintf("begin(%q, {%s})", url, options), nil)
}

func (l *library) eval(expression string, out any) {
	l.t.Helper()
	ctx, cancel := soon(l.t)
	defer cancel()
	must(l.t, l.Eval(ctx, expression, out))
}

func (l *library) until(expression string) {
	l.t.Helper()
	ctx, cancel := soon(l.t)
	defer cancel()
	must(l.t, l.Wait(ctx, expression))
}

// is fails unless an expression has a value.
func (l *library) is(expression, want string) {
	l.t.Helper()
	var got string
	l.eval("JSON.stringify("+expression+")", &got)
	if got != want {
		l.t.Errorf("%s is %s, not %s", expression, got, want)
	}
}

// data is the data of the application's events so far.
func (l *library) data() []string {
	l.t.Helper()
	var list []string
	l.eval(`all("onEvent").map((e) => e.data)`, &list)
	return list
}

// clientRoutes are routes for callers with tokens. ORIGIN is the page's.
const clientRoutes = `
version: 1
defaults: {cors: {origins: ["ORIGIN"], credentials: true}}
routes:
  - name: me
    path: /v1/me
    source: {type: core, subject: "users.{claims.sub}.notify"}
  - name: orders
    path: /v1/orders
    source: {type: stream, stream: ORDERS, subject: "orders.{claims.sub}.>"}
    event: {type: order}
  - name: job
    path: /v1/jobs/{id}
    source: {type: stream, stream: JOBS, subject: "jobs.{id}"}
    end: {when: {field: status, in: [done]}}
  - {name: narrow, path: /v1/narrow, source: {type: core, subject: narrow}, limits: {connections: 1}, on_overload: retry}
  - {name: strict, path: /v1/strict, source: {type: core, subject: strict}, limits: {connections: 1}, on_overload: status}
`

// identified starts headgate for callers with tokens, in front of streams.
func (l *library) identified(env ...string) (*gate, *stored) {
	l.t.Helper()
	s := newStored(l.t)
	file := filepath.Join(l.t.TempDir(), "secret.txt")
	must(l.t, os.WriteFile(file, []byte(sharedSecret+"\n"), 0o600))
	g := &gate{nats: s.nats, pub: s.nats.Connect(l.t)}
	g.Headgate = stack.StartHeadgate(l.t, stack.Options{NATS: s.nats.URL(), Routes: strings.ReplaceAll(clientRoutes, "ORIGIN", l.origin),
		Env: pairs(append([]string{"AUTH_MODE", "jwt", "AUTH_ISSUER", "e2e", "AUTH_AUDIENCE", "headgate", "AUTH_SECRET_FILE", file, "AUTH_LEEWAY", "0s",
			"AUTH_EXPIRY_NOTICE", "2s", "SSE_RETRY", "100ms", "SSE_RETRY_JITTER", "50ms", "SSE_OVERLOAD_RETRY", "1s", "SSE_OVERLOAD_JITTER", "0s",
			"SSE_HEARTBEAT", "1s"}, env...))})
	return g, s
}
