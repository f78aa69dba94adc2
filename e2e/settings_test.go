package e2e_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"headgate/e2e/internal/proc"
	"headgate/e2e/internal/stack"
)

// badRoutes has eight errors, each on a line of its own.
const badRoutes = `version: 1
routes:
  - name: prices
    path: /v1/prices/{symbol}
    source: {type: core, subject: "prices.{sybmol}"}
  - name: prices
    path: /v1/other
    source: {type: core, subject: "a..b"}
    heartbeet: 15s
  - name: all
    path: /v1/all
    source: {type: core, subject: ">"}
    heartbeat: soon
  - name: js
    path: /v1/js
    source: {type: core, subject: "$JS.API.>"}
    data: xml
`

func TestCheck_NamesEveryErrorAtOnce(t *testing.T) {
	t.Parallel()
	must(t, stack.BuildHeadgate())
	file := filepath.Join(t.TempDir(), "routes.yaml")
	must(t, os.WriteFile(file, []byte(badRoutes), 0o600))
	cmd := exec.Command(stack.HeadgateBinary(), "-check")
	cmd.Env = []string{"AUTH_MODE=none", "ROUTES_FILE=" + file, "SSE_HEARTBEAT=banana", "HTTP_ADDR=nonsense", "NATS_PASSWORD=s3cret",
		"NATS_TOKEN=t0ken", "SSE_HARTBEAT=15s", "LIMIT_CONNECTIONS=-5"}
	p := proc.StartT(t, "headgate -check", cmd)
	ctx, cancel := soon(t)
	defer cancel()
	code, err := p.Wait(ctx)
	must(t, err)
	if code != 2 {
		t.Errorf("exit code %d, not 2", code)
	}
	out := p.Output()
	if !strings.Contains(out, "13 errors") {
		t.Error("not the thirteen errors that are there")
	}
	for _, want := range []string{
		"SSE_HEARTBEAT", "banana", "HTTP_ADDR", "nonsense", "SSE_HARTBEAT", "LIMIT_CONNECTIONS", "NATS_", // environment
		"sybmol", "heartbeet", "soon", "a..b", "$JS", "xml", "called prices", // routes file
	} {
		if !strings.Contains(out, want) {
			t.Errorf("no word about %s", want)
		}
	}
	for _, secret := range []string{"s3cret", "t0ken"} {
		if strings.Contains(out, secret) {
			t.Errorf("a secret is printed: %s", secret)
		}
	}
	if t.Failed() {
		t.Log(out)
	}
}

func TestStart_RefusesToRunWithoutSayingWhoMayRead(t *testing.T) {
	t.Parallel()
	must(t, stack.BuildHeadgate())
	cmd := exec.Command(stack.HeadgateBinary())
	cmd.Env = []string{"SUBJECTS_ALLOW=feed.>"}
	p := proc.StartT(t, "headgate", cmd)
	ctx, cancel := soon(t)
	defer cancel()
	code, err := p.Wait(ctx)
	must(t, err)
	if code == 0 || !strings.Contains(p.Output(), "AUTH_MODE") {
		t.Errorf("exit code %d:\n%s", code, p.Output())
	}
}

func TestEnvironmentAlone_MakesARouteOfNamedSubjects(t *testing.T) {
	t.Parallel()
	g := startWith(t, stack.Options{}, "SUBJECTS_ALLOW", "feed.>,prices.*")
	s := open(t, g.URL+"/events?subject=feed.eu.*&subject=prices.ACME")
	g.publish(t, "feed.us.1", "elsewhere")
	g.publish(t, "feed.eu.1", "first")
	if got := until(t, s, "message").Data(); got != "first" {
		t.Errorf("got %q", got)
	}
	g.publish(t, "prices.ACME", "second")
	if got := until(t, s, "message").Data(); got != "second" {
		t.Errorf("got %q", got)
	}
}
