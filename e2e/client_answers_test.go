package e2e_test

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"testing"
	"time"

	"headgate/e2e/internal/browser"
)

// This file has what the client makes of answers that headgate does not give, or not on demand: those of proxies and other servers.

type answer = func(w http.ResponseWriter, r *http.Request)

func status(code int, header ...string) answer {
	return func(w http.ResponseWriter, _ *http.Request) {
		for i := 0; i+1 < len(header); i += 2 {
			w.Header().Set(header[i], header[i+1])
		}
		w.WriteHeader(code)
		fmt.Fprint(w, "<h1>This is a proxy</h1>")
	}
}

// events is a stream of these bytes, which then ends.
func events(text string) answer {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "Text/Event-Stream; charset=utf-8")
		fmt.Fprint(w, text)
	}
}

func TestClient_WaitsOutWhatPassesAndGivesUpOnWhatStays(t *testing.T) {
	t.Parallel()
	const done = "event: $end\ndata: {\"reason\":\"done\",\"reconnect\":false}\n\n"
	inEngines(t, func(t *testing.T, l *library) {
		l.answers = []answer{
			status(502), status(500), status(429, "Retry-After", "1"), status(503, "Retry-After", "soon"),
			func(w http.ResponseWriter, r *http.Request) {
				status(503, "Retry-After", time.Now().Add(3*time.Second).UTC().Format(http.TimeFormat))(w, r)
			},
			events("retry: 40\n\n"),                          // a stream that ends without a word
			events("id: 7\ndata: a\n\nid: 8\ndata: cut off"), // in the middle of an event
			func(w http.ResponseWriter, r *http.Request) {
				events("data: behind "+r.Header.Get("Last-Event-ID")+"\n\nevent: $later\ndata: x\n\n"+done+"data: after the end\n\n")(w, r)
			},
		}
		l.begin(l.origin+"/answers", `retry: 20`)
		l.until(`first("closed")`) // each wait has up to twice the spread of the one before: with the number before its own it would be another
		l.is(`states()`, `["connecting","waiting refused","connecting","waiting refused","connecting","waiting refused","connecting","waiting refused","connecting","waiting refused",`+
			`"connecting","open","waiting cut","connecting","open","waiting cut","connecting","open","closed"]`)
		l.is(`all("onEvent").map((e) => [e.data, e.lastEventId])`, `[["a","7"],["behind 7","7"]]`)
		l.is(`first("closed")`, `{"reason":"done"}`)
		l.is(`((w) => [w[0] >= 20 && w[0] <= 40, w[1] <= 80, w[2] >= 1000 && w[2] <= 1250, w[3] < 1000, w[4] > 1000 && w[4] < 3800, w[5] >= 40])(seen.filter((s) => s.what === "waiting").map((s) => s.wait))`,
			`[true,true,true,true,true,true]`)

		for want, a := range map[string]answer{
			"404": status(404), "400": status(400), "200": status(200, "Content-Type", "text/html"),
			"403": status(403, "Content-Type", "application/problem+json"), // which is no JSON
		} {
			l.eval(`seen = []`, nil)
			l.mu.Lock()
			l.answers = []answer{a}
			l.mu.Unlock()
			l.begin(l.origin+"/answers", ``)
			l.until(`first("closed")`)
			l.is(`[first("closed").reason, String(first("closed").error.status), states()]`, `["refused","`+want+`",["connecting","closed"]]`)
		}
	})
}

// A server that says retry: 0, and then is away, is not asked as fast as it fails.
func TestClient_ARetryOfZeroIsNoReasonToHammer(t *testing.T) {
	t.Parallel()
	inEngines(t, func(t *testing.T, l *library) {
		l.answers = []answer{events("retry: 0\nevent: $ready\ndata: {}\n\n"), status(503)}
		l.begin(l.origin+"/answers", `retry: 20`)
		l.until(`seen.filter((s) => s.what === "waiting").length >= 11`)
		l.is(`((w) => [w[0] <= 2, w.slice(1, 11).every((x, n) => x > 0 && x <= 2 ** (n + 2))])(seen.filter((s) => s.what === "waiting").map((s) => s.wait))`, `[true,true]`)
	})
}

// A retry counts from the end of its line on (HTML Living Standard, section 9.2.6, "processing the fields"), also where the connection ends
// before its block does; a line that is cut off counts for nothing.
func TestClient_ARetryCountsAtOnce(t *testing.T) {
	t.Parallel()
	inEngines(t, func(t *testing.T, l *library) {
		l.answers = []answer{events("retry: 90000"), events("data: a\nretry: 90\n"), events("\xEF\xBB\xBFretry: 10\r"), events("retry: 200\nretry: x\n\n"), status(404)}
		l.begin(l.origin+"/answers", `retry: 20`)
		l.until(`first("closed")`)
		l.is(`((w) => [w[0] <= 40, w[1] >= 90 && w[1] <= 360, w[2] >= 10 && w[2] <= 80, w[3] >= 200])(seen.filter((s) => s.what === "waiting").map((s) => s.wait))`,
			`[true,true,true,true]`)
		l.is(`all("onEvent").length`, `0`)
	})
}

// A token is for the address that it was given for.
func TestClient_FollowsNoRedirect(t *testing.T) {
	t.Parallel()
	inEngines(t, func(t *testing.T, l *library) {
		l.answers = []answer{
			func(w http.ResponseWriter, r *http.Request) {
				http.Redirect(w, r, "/answers?elsewhere", http.StatusTemporaryRedirect)
			},
			func(_ http.ResponseWriter, r *http.Request) { t.Errorf("the redirect was followed: %s", r.URL) },
		}
		l.begin(l.origin+"/answers", `token: "secret"`)
		l.until(`first("closed")`)
		l.is(`first("closed").reason`, `"refused"`)
	})
}

func TestClient_TakesAnIDThatIsNotASCII(t *testing.T) {
	t.Parallel()
	inEngines(t, func(t *testing.T, l *library) {
		l.answers = []answer{
			events("id: ü—1\ndata: a\n\n"),
			func(w http.ResponseWriter, r *http.Request) {
				if got := r.Header.Get("Last-Event-ID"); got != "ü—1" {
					t.Errorf("Last-Event-ID: %q", got)
				}
				w.WriteHeader(http.StatusNoContent)
			},
		}
		l.begin(l.origin+"/answers", `retry: 20`)
		l.until(`first("closed")`)
	})
}

func TestClient_SendsACookieOrATokenAndNeverBoth(t *testing.T) {
	t.Parallel()
	l := &library{t: t}
	p := browser.New(t)
	l.engine = p
	l.listen()
	ctx, cancel := soon(t)
	defer cancel()
	must(t, p.Open(ctx, l.origin+"/"))
	l.until(`globalThis.begin !== undefined`)
	g, _ := l.identified("AUTH_COOKIE", "session")
	l.eval(fmt.Sprintf(`document.cookie = "session=%s; path=/"`, jwtFor("bob", time.Hour)), nil)
	l.begin(g.URL+"/v1/me", `credentials: "include"`)
	l.until(`first("onReady")`)
	g.publish(t, "users.bob.notify", "by cookie")
	l.until(`all("onEvent").length === 1`)
	l.eval(`stream.close(), seen = []`, nil)
	l.begin(g.URL+"/v1/me", `credentials: "include", token: `+l.tokens("10m"))
	l.until(`first("onReady")`)
	g.publish(t, "users.bob.notify", "by cookie")
	g.publish(t, "users.ann.notify", "by token")
	l.until(`all("onEvent").length === 1`)
	l.is(`first("onEvent").data`, `"by token"`)
}

// The parser is held against the cases of headgate's own decoder, cut at random places.
func TestClient_ParsesAsTheStandardSays(t *testing.T) {
	t.Parallel()
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
	inEngines(t, func(t *testing.T, l *library) {
		seed := rand.Uint64()
		random := rand.New(rand.NewPCG(seed, 1))
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
