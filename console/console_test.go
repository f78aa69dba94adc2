package console_test

import (
	"encoding/json"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"os"
	"regexp"
	"strings"
	"testing"

	"headgate/console"
)

var routes = []console.Route{
	{Name: "prices", Path: "/v1/prices/{symbol}", Stream: true, Subjects: []string{"prices.{symbol}"},
		Params: []console.Param{{Name: "symbol", Pattern: "^[A-Z]{1,6}$", Example: "ACME"}}},
	{Name: "chat", Path: "/v1/chat", Stream: true, Subjects: []string{"chat"}, Publish: "chat", MaxBytes: 1 << 10},
	{Name: "notify", Path: "/v1/notify/{user}", Publish: "users.{user}.notify.web"},
}

func request(t *testing.T, o console.Options, method, target string, header ...string) *httptest.ResponseRecorder {
	t.Helper()
	req := httptest.NewRequestWithContext(t.Context(), method, target, nil)
	for i := 0; i+1 < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	rec := httptest.NewRecorder()
	console.Handler(o).ServeHTTP(rec, req)
	return rec
}

type listing struct {
	Routes []struct {
		Name, Path, Publish string
		Stream              bool
		Params              []struct{ Name, Pattern, Example string }
	}
	Insecure     bool
	Identity     bool
	TokenCommand string
	NATSURL      string
}

func list(t *testing.T, o console.Options) listing {
	t.Helper()
	rec := request(t, o, http.MethodGet, "/console/routes.json")
	var l listing
	if err := json.Unmarshal(rec.Body.Bytes(), &l); err != nil {
		t.Fatalf("routes.json: %v: %s", err, rec.Body)
	}
	return l
}

func TestEveryAnswerOfThePageForbidsInlineAndForeignContent(t *testing.T) {
	for _, target := range []string{"/console/", "/console/app.js", "/base/console/base.css", "/console/routes.json", "/console/nothing"} {
		rec := request(t, console.Options{}, http.MethodGet, target)
		policy := rec.Header().Get("Content-Security-Policy")
		for _, want := range []string{"default-src 'none'", "script-src 'self'", "frame-ancestors 'none'", "require-trusted-types-for 'script'"} {
			if !strings.Contains(policy, want) {
				t.Errorf("%s: the policy lacks %q: %s", target, want, policy)
			}
		}
		if strings.Contains(policy, "unsafe") || strings.Contains(policy, "http") {
			t.Errorf("%s: the policy opens something: %s", target, policy)
		}
		if rec.Header().Get("X-Content-Type-Options") != "nosniff" {
			t.Errorf("%s: nosniff is missing", target)
		}
	}
}

func TestThePageIsServedUnderAnyPrefixWithItsTypes(t *testing.T) {
	for target, kind := range map[string]string{
		"/console/":               "text/html; charset=utf-8",
		"/":                       "text/html; charset=utf-8",
		"/edge/console/app.js":    "text/javascript; charset=utf-8",
		"/console/log.css":        "text/css; charset=utf-8",
		"/console/icon.svg":       "image/svg+xml",
		"/console/routes.json":    "application/json",
		"/edge/console/base.css":  "text/css; charset=utf-8",
		"/edge/console/stream.js": "text/javascript; charset=utf-8",
	} {
		rec := request(t, console.Options{}, http.MethodGet, target)
		if rec.Code != http.StatusOK || rec.Header().Get("Content-Type") != kind || rec.Body.Len() == 0 {
			t.Errorf("%s: %d %q, %d bytes", target, rec.Code, rec.Header().Get("Content-Type"), rec.Body.Len())
		}
	}
}

func TestUnknownFilesAndMethodsAreRefused(t *testing.T) {
	if rec := request(t, console.Options{}, http.MethodGet, "/console/console.go"); rec.Code != http.StatusNotFound {
		t.Errorf("unknown file: %d", rec.Code)
	}
	rec := request(t, console.Options{}, http.MethodPost, "/console/")
	if rec.Code != http.StatusMethodNotAllowed || rec.Header().Get("Allow") != "GET, HEAD" {
		t.Errorf("POST: %d Allow %q", rec.Code, rec.Header().Get("Allow"))
	}
}

func TestAnUnchangedFileIsNotSentAgain(t *testing.T) {
	first := request(t, console.Options{}, http.MethodGet, "/console/app.js")
	tag := first.Header().Get("ETag")
	again := request(t, console.Options{}, http.MethodGet, "/console/app.js", "If-None-Match", tag)
	if tag == "" || again.Code != http.StatusNotModified || again.Body.Len() != 0 {
		t.Errorf("ETag %q: %d, %d bytes", tag, again.Code, again.Body.Len())
	}
	head := request(t, console.Options{}, http.MethodHead, "/console/app.js")
	if head.Body.Len() != 0 || head.Header().Get("Content-Length") != first.Header().Get("Content-Length") {
		t.Errorf("HEAD: %d bytes, length %q", head.Body.Len(), head.Header().Get("Content-Length"))
	}
}

func TestWithoutPublishNoEntranceIsListed(t *testing.T) {
	l := list(t, console.Options{Routes: routes})
	if len(l.Routes) != 2 {
		t.Fatalf("routes: %+v", l.Routes)
	}
	for _, r := range l.Routes {
		if r.Publish != "" {
			t.Errorf("route %s shows its publish subject %q", r.Name, r.Publish)
		}
	}
}

func TestWithPublishEveryEntranceIsListed(t *testing.T) {
	l := list(t, console.Options{Routes: routes, Publish: true, Insecure: true, NATSURL: "nats://127.0.0.1:4222"})
	if len(l.Routes) != 3 || l.Routes[1].Publish != "chat" || l.Routes[2].Publish != "users.{user}.notify.web" || l.Routes[2].Stream {
		t.Fatalf("routes: %+v", l.Routes)
	}
	if !l.Insecure || l.NATSURL != "nats://127.0.0.1:4222" {
		t.Errorf("got %+v", l)
	}
	if p := l.Routes[0].Params; len(p) != 1 || p[0].Example != "ACME" || p[0].Pattern != "^[A-Z]{1,6}$" {
		t.Errorf("params: %+v", p)
	}
}

func TestTheTokenBoxIsForGatewaysThatTakeTokens(t *testing.T) {
	if l := list(t, console.Options{Routes: routes}); l.Identity || l.TokenCommand != "" {
		t.Errorf("got %+v", l)
	}
	if l := list(t, console.Options{Routes: routes, Identity: true, TokenCommand: "headgate token -sub alice"}); !l.Identity || l.TokenCommand != "headgate token -sub alice" {
		t.Errorf("got %+v", l)
	}
}

// A token is sent by streams and publishes and nobody else, and kept nowhere: what is kept goes through settings.js, which names all of it.
func TestThePageKeepsNoToken(t *testing.T) {
	kept := regexp.MustCompile(`localStorage|sessionStorage|indexedDB|document\.cookie|sendBeacon|postMessage`)
	bearer := regexp.MustCompile(`Authorization`)
	dir := os.DirFS("page")
	names, err := fs.Glob(dir, "*.js")
	if err != nil || len(names) < 8 {
		t.Fatalf("files: %v %v", names, err)
	}
	for _, name := range names {
		body, err := fs.ReadFile(dir, name)
		if err != nil {
			t.Fatal(err)
		}
		if at := kept.Find(body); at != nil && (name != "settings.js" || string(at) != "localStorage") {
			t.Errorf("%s keeps something, or passes it on: %q", name, at)
		}
		if name == "settings.js" {
			for _, word := range []string{"'token", "'last-id", "'since", "'body"} {
				if strings.Contains(string(body), word) {
					t.Errorf("settings.js keeps %q", word)
				}
			}
		}
		if n := len(bearer.FindAll(body, -1)); n > 0 && name != "stream.js" && name != "publish.js" && name != "snippets.js" && name != "token.js" {
			t.Errorf("%s speaks of Authorization", name)
		}
	}
}

// Data comes from strangers. The page may show it as text and in no other way, and may load nothing from elsewhere.
func TestThePageShowsDataAsTextOnlyAndLoadsNothingForeign(t *testing.T) {
	markup := regexp.MustCompile(`innerHTML|outerHTML|insertAdjacentHTML|document\.write|createContextualFragment|DOMParser|setHTML|srcdoc|\beval\b|new Function|javascript:`)
	foreign := regexp.MustCompile(`(?i)(src|href|from|import|url\()\s*[=(]?\s*['"(]?(https?:)?//`)
	inline := regexp.MustCompile(`(?i)<script(?:\s[^>]*)?>[^<]|<style|\son[a-z]+\s*=|\sstyle\s*=`)
	dir := os.DirFS("page")
	names, err := fs.Glob(dir, "*")
	if err != nil || len(names) < 8 {
		t.Fatalf("files: %v %v", names, err)
	}
	for _, name := range names {
		body, err := fs.ReadFile(dir, name)
		if err != nil {
			t.Fatal(err)
		}
		if at := markup.Find(body); at != nil {
			t.Errorf("%s turns text into markup or code: %q", name, at)
		}
		if at := foreign.Find(body); at != nil {
			t.Errorf("%s loads something foreign: %q", name, at)
		}
		if at := inline.Find(body); at != nil && strings.HasSuffix(name, ".html") {
			t.Errorf("%s has inline content, which the policy forbids: %q", name, at)
		}
		if n := strings.Count(string(body), "\n"); n > 400 {
			t.Errorf("%s has %d lines", name, n)
		}
	}
}
