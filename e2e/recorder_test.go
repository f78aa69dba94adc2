package e2e_test

import (
	"context"
	_ "embed"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"headgate/e2e/internal/browser"
)

//go:embed testdata/recorder.html
var recorderHTML string

// recorder is a page in Chromium that notes everything its EventSource tells it.
type recorder struct {
	*browser.Page
	origin string
}

// seen is one callback of the EventSource.
type seen struct {
	Type  string
	Data  *string
	ID    *string
	State int // readyState at that time
}

const (
	connecting = 0
	closed     = 2
)

// newRecorder opens the page, on an origin of its own.
func newRecorder(t *testing.T) *recorder {
	t.Helper()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
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

// connect opens an EventSource that listens to types besides message and the reserved ones.
func (r *recorder) connect(t *testing.T, url string, types ...string) {
	t.Helper()
	ctx, cancel := soon(t)
	defer cancel()
	list, _ := json.Marshal(append([]string{}, types...))
	must(t, r.Eval(ctx, fmt.Sprintf("connect(%q, %s), 0", url, list), nil))
}

// wait waits until the page has seen an entry like this one, given as a JavaScript object, at index from or later.
func (r *recorder) wait(t *testing.T, like string, from int) {
	t.Helper()
	ctx, cancel := soon(t)
	defer cancel()
	must(t, r.Wait(ctx, fmt.Sprintf("saw(%s, %d)", like, from)))
}

// all returns what the page has seen.
func (r *recorder) all(t *testing.T) []seen {
	t.Helper()
	ctx, cancel := soon(t)
	defer cancel()
	var out []seen
	must(t, r.Eval(ctx, "seen", &out))
	return out
}

func (r *recorder) texts() []string {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second) // the test's own context has ended when it cleans up
	defer cancel()
	var out []string
	_ = r.Eval(ctx, `seen.map(e => [e.state, e.type, e.id, e.data].join(" "))`, &out)
	return out
}

// of returns the entries of one type.
func of(list []seen, eventType string) []seen {
	var out []seen
	for _, e := range list {
		if e.Type == eventType {
			out = append(out, e)
		}
	}
	return out
}

func text(s *string) string {
	if s == nil {
		return ""
	}
	return *s
}

// routesFor are the common routes, readable by pages of origin.
func routesFor(origin string) string { return strings.ReplaceAll(routes, "ORIGIN", origin) }

// keep writes a file into HEADGATE_E2E_KEEP, where one is given, for people to look at.
func keep(t *testing.T, name string, content []byte) {
	t.Helper()
	if dir := os.Getenv("HEADGATE_E2E_KEEP"); dir != "" {
		must(t, os.WriteFile(filepath.Join(dir, name), content, 0o644))
	}
}
