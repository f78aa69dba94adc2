package e2e_test

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"headgate/e2e/internal/fault"
	"headgate/e2e/internal/node"
	"headgate/e2e/internal/stack"
)

func TestClient_ATokenThatIsRenewedInTimeLosesNothing(t *testing.T) {
	t.Parallel()
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
		l.is(`seen.findLastIndex((s) => s.name === "token") < seen.findIndex((s) => s.name === "onEnd")`, "true") // the new one is there in time
		if asked := l.requests(); !slices.Equal(asked, []string{"renew=false&life=5s", "renew=true&life=10m"}) {
			t.Errorf("tokens were asked for with %q", asked)
		}
	})
}

func TestClient_A401IsAnsweredWithANewTokenOnce(t *testing.T) {
	t.Parallel()
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
	t.Parallel()
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

// A session whose next token can be had once only must not be asked twice, though the stream ends before it has answered.
func TestClient_AsksForOneTokenAtATime(t *testing.T) {
	t.Parallel()
	inEngines(t, func(t *testing.T, l *library) {
		g, _ := l.identified()
		l.begin(g.URL+"/v1/me", `token: (({renew}) => {
			seen.push({name: "token", what: renew});
			if (!renew) return `+l.tokens("4s")+`({renew});
			return new Promise((resolve) => { globalThis.answer = resolve });
		})`)
		l.until(`all("onEnd").length === 1 && states().filter((s) => s === "connecting").length === 2`)
		l.eval(l.tokens("10m")+`({renew: true}).then(answer)`, nil)
		l.until(`all("onReady").length === 2`)
		if asked := l.requests(); !slices.Equal(asked, []string{"renew=false&life=4s", "renew=true&life=10m"}) {
			t.Errorf("tokens were asked for with %q", asked)
		}
		l.is(`seen.filter((s) => s.name === "token").map((s) => s.what)`, `[false,false,true,true]`) // each is noted twice here
	})
}

func TestClient_RefusesAnAddressThatIsNone(t *testing.T) {
	t.Parallel()
	inEngines(t, func(t *testing.T, l *library) {
		l.is(`(() => { try { begin("http://[") } catch (error) { return error.name } })()`, `"TypeError"`)
	})
}

func TestClient_ComesBackWhenThereIsRoomHoweverItWasTurnedAway(t *testing.T) {
	t.Parallel()
	inEngines(t, func(t *testing.T, l *library) {
		g, _ := l.identified()
		bearer := "Bearer " + jwtFor("bob", time.Hour)
		for path, said := range map[string]string{"/v1/narrow": "waiting cap", "/v1/strict": "waiting refused"} {
			first := open(t, g.URL+path, "Authorization", bearer)
			l.eval(`seen = []`, nil)
			l.begin(g.URL+path, "retry: 50, token: "+l.tokens("10m"))
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
	t.Parallel()
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
	t.Parallel()
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
	t.Parallel()
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
	t.Parallel()
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
	t.Parallel()
	inEngines(t, func(t *testing.T, l *library) {
		g, s := l.identified()
		for _, stop := range []string{`stream.close()`, `controller.abort()`} {
			l.eval(`seen = [], globalThis.controller = new AbortController(), 0`, nil)
			// It is closed in the middle of what has come: three orders are read at once.
			l.begin(g.URL+"/v1/orders?since=1h", "signal: controller.signal, token: "+l.tokens("10m")+`, onEvent: (e) => { if (e.data === "1") `+stop+` }`)
			l.until(`first("onReady")`)
			if stop == `stream.close()` { // the second one finds them there
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
	t.Parallel()
	l := &library{t: t}
	l.listen()
	openInNode(t, l)
	g, orders := l.identified()
	l.begin(g.URL+"/v1/orders", "token: "+l.tokens("10m")+`, onEvent: () => { throw new Error("of the application") }`)
	l.until(`first("onReady")`)
	orders.order(t, "ann", "1")
	orders.order(t, "ann", "2")
	l.until(`all("onEvent").length === 2`)
	ctx, cancel := soon(t)
	defer cancel()
	must(t, stack.Poll(ctx, func() error { // what it writes comes over another pipe
		if said := l.engine.(*node.Process).Said(); strings.Count(said, "Error: of the application") != 2 {
			return fmt.Errorf("it was not told of: %q", said)
		}
		return nil
	}))
}
