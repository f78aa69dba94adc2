package e2e_test

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"headgate/e2e/internal/browser"
	"headgate/e2e/internal/fault"
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

	mu    sync.Mutex
	asked []string // the queries of the requests for tokens
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
			l := &library{t: t}
			s := httptest.NewServer(http.HandlerFunc(l.serve))
			t.Cleanup(s.Close)
			l.origin = s.URL
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
	return fmt.Sprintf(`((lives) => ({renew, signal}) => fetch("%s/token?renew=" + renew + "&life=" + (lives.length > 1 ? lives.shift() : lives[0]), {signal}).then((r) => r.text()))(%s)`,
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
defaults: {cors: {origins: ["ORIGIN"]}}
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

func TestClient_ATokenThatIsRenewedInTimeLosesNothing(t *testing.T) {
	inEngines(t, func(t *testing.T, l *library) {
		g, _ := l.identified()
		l.begin(g.URL+"/v1/me", "token: "+l.tokens("5s", "10m"))
		l.until(`first("onReady")`)
		var sent []string
		pause, late := time.NewTicker(5*time.Millisecond), time.After(brief)
		defer pause.Stop()
		for back := false; !back; l.eval(`all("onReady").length > 1`, &back) {
			select {
			case <-pause.C:
			case <-late:
				t.Fatal("it never came back")
			}
			sent = append(sent, strconv.Itoa(len(sent)))
			g.publish(t, "users.ann.notify", sent[len(sent)-1])
			g.publish(t, "users.bob.notify", "not for ann")
		}
		sent = append(sent, "last")
		g.publish(t, "users.ann.notify", "last")
		l.until(`all("onEvent").some((e) => e.data === "last")`)
		if got := l.data(); !slices.Equal(got, sent) {
			t.Errorf("%d of %d messages arrived: %s", len(got), len(sent), strings.Join(got, " "))
		}
		l.is(`all("onEnd")`, `[{"reason":"token-expired","reconnect":true}]`)
		l.is(`all("onGap").length + all("onExpiring").length`, "1")
		if asked := l.requests(); !slices.Equal(asked, []string{"renew=false&life=5s", "renew=true&life=10m"}) {
			t.Errorf("tokens were asked for with %q", asked)
		}
	})
}

func TestClient_A401IsAnsweredWithANewTokenOnce(t *testing.T) {
	inEngines(t, func(t *testing.T, l *library) {
		g, _ := l.identified()
		l.begin(g.URL+"/v1/me", "token: "+l.tokens("-1m", "10m"))
		l.until(`first("onReady")`)
		l.is(`states()`, `["connecting","open"]`)
		l.eval(`stream.close()`, nil)

		l.begin(g.URL+"/v1/me", "token: "+l.tokens("-1m"))
		l.until(`all("closed").length === 2`)
		l.is(`((c) => [c.reason, c.error.status, c.error.problem.type, c.error.message.includes("expired")])(all("closed")[1])`,
			`["refused",401,"urn:headgate:problem:token-invalid",true]`)
		if asked := l.requests(); !slices.Equal(asked, []string{"renew=false&life=-1m", "renew=true&life=10m", "renew=false&life=-1m", "renew=true&life=-1m"}) {
			t.Errorf("tokens were asked for with %q", asked)
		}
		ctx, cancel := soon(t)
		defer cancel()
		if n, err := g.Metric(ctx, "headgate_requests_total", `outcome="token-invalid"`); err != nil || n != 3 {
			t.Errorf("%v requests with a bad token, not 1 and 2: %v", n, err)
		}
		// Without a token function nothing can be renewed.
		l.begin(g.URL+"/v1/me", "")
		l.until(`all("closed").length === 3`)
		l.is(`all("closed")[2].error.problem.type`, `"urn:headgate:problem:token-missing"`)
	})
}

func TestClient_WaitsForItsTokenAsForTheNetwork(t *testing.T) {
	inEngines(t, func(t *testing.T, l *library) {
		g, _ := l.identified()
		l.begin(g.URL+"/v1/me", `retry: 100, silence: 1000, token: ((n) => () => {
			if (++n === 1) throw new Error("no session yet");
			if (n === 2) return Promise.reject(new Error("the login is down"));
			if (n === 3) return new Promise(() => {}); // never
			return `+fmt.Sprintf("%q", jwtFor("ann", time.Hour))+`;
		})(0)`)
		l.until(`first("onReady")`)
		l.is(`states()`, `["connecting","waiting failed","connecting","waiting failed","connecting","waiting silent","connecting","open"]`)
	})
}

func TestClient_ComesBackWhenThereIsRoomHoweverItWasTurnedAway(t *testing.T) {
	inEngines(t, func(t *testing.T, l *library) {
		g, _ := l.identified()
		bearer := "Bearer " + jwtFor("bob", time.Hour)
		for path, said := range map[string]string{"/v1/narrow": "waiting cap", "/v1/strict": "waiting refused"} {
			first := open(t, g.URL+path, "Authorization", bearer)
			l.eval(`seen = []`, nil)
			l.begin(g.URL+path, "token: "+l.tokens("10m"))
			l.until(`states().length >= 5`)
			var list []string
			l.eval(`states()`, &list)
			waits := 0
			for _, state := range list {
				if strings.HasPrefix(state, "waiting") {
					waits++
					if state != said {
						t.Errorf("%s: %s, not %s", path, state, said)
					}
				}
			}
			if waits == 0 {
				t.Errorf("%s: it never waited: %q", path, list)
			}
			l.is(`seen.filter((s) => s.what === "waiting").every((s) => s.wait >= 1000 && s.wait < 10000)`, "true") // as headgate has said
			if path == "/v1/strict" {
				l.is(`((e) => [e.status, e.problem.type])(seen.find((s) => s.what === "waiting").error)`, `[503,"urn:headgate:problem:cap-process"]`)
			} else {
				l.is(`first("onEnd")`, `{"reason":"overloaded","cause":"cap","reconnect":true}`)
			}
			first.Close()
			l.until(`first("onReady")`)
			l.eval(`stream.close()`, nil)
		}
	})
}

func TestClient_OutlivesAGatewayThatIsKilledAndMissesNothing(t *testing.T) {
	inEngines(t, func(t *testing.T, l *library) {
		g, s := l.identified()
		l.begin(g.URL+"/v1/orders", "token: "+l.tokens("10m"))
		l.until(`first("onReady")`)
		var sent []string
		for round := range kills {
			for range 5 {
				sent = append(sent, strconv.Itoa(len(sent)))
				s.order(t, "ann", sent[len(sent)-1])
				s.order(t, "bob", "not for ann")
			}
			l.until(fmt.Sprintf(`all("onEvent").length >= %d`, len(sent)-2))
			g.Kill()
			l.until(`states().at(-1).startsWith("waiting")`)
			s.order(t, "ann", "while it was away")
			sent = append(sent, "while it was away")
			g.Restart(t)
			l.until(fmt.Sprintf(`all("onReady").length === %d`, round+2))
		}
		l.until(fmt.Sprintf(`all("onEvent").length >= %d`, len(sent)))
		if got := l.data(); !slices.Equal(got, sent) {
			t.Errorf("%q came, not %q", got, sent)
		}
		l.is(`all("onGap").length`, "0")
		if asked := l.requests(); len(asked) != 1 {
			t.Errorf("tokens were asked for with %q, though the first one is good", asked)
		}
	})
}

func TestClient_TellsGapsAndStopsWhereHeadgateSaysSo(t *testing.T) {
	inEngines(t, func(t *testing.T, l *library) {
		g, s := l.identified()
		ctx, cancel := soon(t)
		defer cancel()
		l.begin(g.URL+"/v1/jobs/1", "token: "+l.tokens("10m")+`, lastEventId: "nonsense"`)
		l.until(`first("onReady")`)
		l.is(`((g) => [g.reason, g.certain, g.source, g.next])(first("onGap"))`, `["unknown-position",false,"job","live"]`)
		_, err := s.js.Publish(ctx, "jobs.1", []byte(`{"status":"done"}`))
		must(t, err)
		l.until(`first("closed")`)
		l.is(`[first("closed"), first("onEnd"), states()]`,
			`[{"reason":"done"},{"reason":"done","reconnect":false},["connecting","open","closed"]]`)
		var id string
		l.eval(`stream.lastEventId`, &id)
		// Who comes back all the same is told that nothing more will come.
		l.eval(`seen = []`, nil)
		l.begin(g.URL+"/v1/jobs/1", fmt.Sprintf("token: %s, lastEventId: %q", l.tokens("10m"), id))
		l.until(`first("closed")`)
		l.is(`[first("closed"), states()]`, `[{"reason":"finished"},["connecting","closed"]]`)
		// A message that is gone.
		l.eval(`seen = []`, nil)
		l.begin(g.URL+"/v1/orders", "token: "+l.tokens("10m"))
		l.until(`first("onReady")`)
		s.order(t, "ann", "1")
		l.until(`first("onEvent")`)
		g.Kill()
		for n := range 4 {
			s.order(t, "ann", strconv.Itoa(n+2))
		}
		orders, err := s.js.Stream(ctx, "ORDERS")
		must(t, err)
		must(t, orders.Purge(ctx, jetstream.WithPurgeSequence(4)))
		g.Restart(t)
		l.until(`first("onLive")`)
		l.is(`((g) => [g.reason, g.from, g.to])(first("onGap"))`, `["expired",2,3]`)
		if got := l.data(); !slices.Equal(got, []string{"1", "4", "5"}) {
			t.Errorf("%q came", got)
		}
	})
}

func TestClient_LeavesAConnectionThatHasGoneSilent(t *testing.T) {
	inEngines(t, func(t *testing.T, l *library) {
		g, s := l.identified()
		net := fault.New(t, g.Addr)
		l.begin(net.URL()+"/v1/orders", "silence: 3000, token: "+l.tokens("10m")) // three heartbeats
		l.until(`first("onReady")`)
		s.order(t, "ann", "1")
		l.until(`all("onEvent").length === 1`)
		net.Stall()
		s.order(t, "ann", "2")
		l.until(`states().includes("waiting silent")`)
		net.Flow()
		l.until(`all("onReady").length === 2 && all("onEvent").length === 2`)
		if got := l.data(); !slices.Equal(got, []string{"1", "2"}) {
			t.Errorf("%q came", got)
		}
		// A stream on which nothing happens is alive by its heartbeats.
		l.eval(`globalThis.before = states().length, setTimeout(() => { globalThis.later = true }, 4500), 0`, nil)
		l.until(`globalThis.later`)
		l.is(`states().length - before`, "0")
	})
}

func TestClient_GoesOnFromTheIDOfAHeartbeat(t *testing.T) {
	inEngines(t, func(t *testing.T, l *library) {
		g, s := l.identified()
		net := fault.New(t, g.Addr)
		l.begin(net.URL()+"/v1/orders", "token: "+l.tokens("10m"))
		l.until(`first("onReady")`)
		l.eval(`globalThis.ready = stream.lastEventId, 0`, nil)
		s.order(t, "bob", "moves the position, and is not for ann")
		l.until(`stream.lastEventId !== ready`)
		l.is(`all("onEvent").length`, "0")
		var id string
		l.eval(`stream.lastEventId`, &id)
		net.Cut()
		ctx, cancel := soon(t)
		defer cancel()
		if err := net.Wait(ctx, func() bool {
			return strings.Contains(strings.Join(net.Requests(), ""), "Last-Event-ID: "+id+"\r\n")
		}); err != nil {
			t.Errorf("no request with the heartbeat's id %s: %q", id, net.Requests())
		}
	})
}

func TestClient_SaysNothingMoreAfterItWasClosed(t *testing.T) {
	inEngines(t, func(t *testing.T, l *library) {
		g, s := l.identified()
		for how, stop := range map[string]string{"close": `stream.close()`, "abort": `controller.abort()`} {
			l.eval(`seen = [], globalThis.controller = new AbortController(), 0`, nil)
			// It is closed in the middle of what has come: three orders are read at once.
			l.begin(g.URL+"/v1/orders?since=1h", "signal: controller.signal, token: "+l.tokens("10m")+`, onEvent: (e) => { if (e.data === "1") `+stop+` }`)
			l.until(`first("onReady")`)
			if how == "close" {
				for n := range 3 {
					s.order(t, "ann", strconv.Itoa(n))
				}
			}
			l.until(`first("closed")`)
			l.is(`[first("closed").reason, all("onEvent").map((e) => e.data), seen.at(-1).name, states().at(-1)]`, `["closed",["0","1"],"closed","open"]`)
			ctx, cancel := soon(t)
			must(t, stack.Poll(ctx, func() error { // its connection is gone too
				if n, err := g.Metric(ctx, "headgate_streams", ""); err != nil || n != 0 {
					return fmt.Errorf("%v streams: %w", n, err)
				}
				return nil
			}))
			cancel()
		}
		// One that was aborted before it began does nothing at all.
		l.eval(`seen = [], 0`, nil)
		l.begin(g.URL+"/v1/orders", "signal: AbortSignal.abort(), token: "+l.tokens("10m"))
		l.until(`first("closed")`)
		l.is(`seen.length`, "1")
	})
}

func TestClient_StaysWhereACallbackThrows(t *testing.T) {
	l := &library{t: t}
	s := httptest.NewServer(http.HandlerFunc(l.serve))
	t.Cleanup(s.Close)
	l.origin = s.URL
	openInNode(t, l)
	g, orders := l.identified()
	l.begin(g.URL+"/v1/orders", "token: "+l.tokens("10m")+`, onEvent: () => { throw new Error("of the application") }`)
	l.until(`first("onReady")`)
	orders.order(t, "ann", "1")
	orders.order(t, "ann", "2")
	l.until(`all("onEvent").length === 2`)
	if said := l.engine.(*node.Process).Said(); strings.Count(said, "of the application") != 2 {
		t.Errorf("it was not told of: %q", said)
	}
}

// The parser is held against the cases of headgate's own decoder, cut at random places.
func TestClient_ParsesAsTheStandardSays(t *testing.T) {
	text, err := os.ReadFile("../internal/sse/testdata/vectors.json")
	must(t, err)
	var vectors []struct {
		Name   string
		Stream string
		Bytes  []byte
		Blocks []struct {
			ID, Type, Data string
			Retry          int64
			HasRetry       bool
			Silent         bool
		}
	}
	must(t, json.Unmarshal(text, &vectors))
	if len(vectors) < 30 {
		t.Fatalf("%d vectors", len(vectors))
	}
	type block struct {
		Type        string
		Data        *string
		LastEventID string
		Retry       *int64
	}
	show := func(list []block) string {
		text, _ := json.Marshal(list)
		return string(text)
	}
	seed := rand.Uint64()
	random := rand.New(rand.NewPCG(seed, 1))
	inEngines(t, func(t *testing.T, l *library) {
		for _, v := range vectors {
			stream := v.Stream + string(v.Bytes)
			want := []block{}
			for _, b := range v.Blocks {
				w := block{LastEventID: b.ID}
				if !b.Silent {
					w.Type, w.Data = b.Type, &b.Data
				}
				if b.HasRetry {
					w.Retry = &b.Retry
				}
				want = append(want, w)
			}
			for round := range 12 {
				cuts := []int{}
				for at := range len(stream) {
					if round == 1 || round > 1 && random.IntN(4) == 0 { // whole, byte by byte, at random
						cuts = append(cuts, at)
					}
				}
				places, _ := json.Marshal(cuts)
				var got []block
				l.eval(fmt.Sprintf(`parse(Uint8Array.from(atob(%q), (c) => c.charCodeAt(0)), %s)`, base64.StdEncoding.EncodeToString([]byte(stream)), places), &got)
				for i := range got {
					if got[i].Data == nil {
						got[i].Type = "" // no event, no type
					}
				}
				if show(got) != show(want) && len(got)+len(want) > 0 {
					t.Errorf("%s, cut at %v (seed %d):\n got %s\nwant %s", v.Name, cuts, seed, show(got), show(want))
				}
			}
		}
	})
}
