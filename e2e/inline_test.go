package e2e_test

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"headgate/e2e/internal/need"
	"headgate/e2e/internal/proc"
	"headgate/e2e/internal/stack"
)

// withSystem is NATS whose default user may do what an operator may.
const withSystem = `
accounts {
  HOME: {jetstream: enabled, users: [{user: home, password: home}]}
  $SYS: {users: [{user: sys, password: sys}]}
}
no_auth_user: home
`

// works runs a command of a sentence, which must end well, and gives what it printed.
func works(t *testing.T, c stack.InlineCommand, command string, env ...string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	p := shell(t, command, append(env, c.Env...)...)
	if code, err := p.Wait(ctx); err != nil || code != 0 {
		t.Errorf("%s: %s: %d %v\n%s", c.Document, c.Text, code, err, p.Output())
	}
	return p.Output()
}

// With a configuration as a reader may have it. What goes on is ended when it listens.
func TestInline_HeadgatesOwnWork(t *testing.T) {
	t.Parallel()
	must(t, stack.BuildHeadgate())
	url, routes := stack.StartNATS(t, "").URL(), filepath.Join(t.TempDir(), "routes.yaml")
	must(t, os.WriteFile(routes, []byte(routesFor("https://app.example")), 0o600))
	path := programs(t, url)
	for _, c := range stack.Inline(t) {
		if strings.HasPrefix(c.Text, "headgate -dev") {
			addr := proc.FreeAddr(t)
			p := shell(t, c.Text, path, "HTTP_ADDR="+addr, "ADMIN_ADDR="+proc.FreeAddr(t))
			ctx, cancel := soon(t)
			must(t, p.WaitListening(ctx, addr))
			cancel()
			continue
		}
		works(t, c, c.Text, path, "NATS_URL="+url, "AUTH_MODE=none", "ROUTES_FILE="+routes)
	}
}

func TestInline_NATSsOwnWork(t *testing.T) {
	t.Parallel()
	server := stack.StartNATS(t, withSystem)
	stack.StartHeadgate(t, stack.Options{NATS: server.URL(), Routes: routesFor("https://app.example"), Env: map[string]string{"CONTROL": "true"}})
	path := programs(t, server.URL())
	for _, prepare := range []string{"nats stream add ORDERS --subjects 'orders.*' --defaults", "nats kv add FLAGS --ttl 1h --marker-ttl 1m",
		"for n in 1 2 3 4 5 6 7 8; do nats pub --jetstream orders.eu $n; done"} {
		works(t, stack.InlineCommand{Text: prepare}, prepare, path)
	}
	for _, c := range stack.Inline(t) {
		command := c.Text
		if strings.HasPrefix(command, "nats server ") { // for the operators of NATS
			command = strings.Replace(command, "nats ", "nats --user sys --password sys ", 1)
		}
		works(t, c, strings.Replace(command, "stream rmm", "stream rmm --force", 1), path)
	}
}

// They ask the admin listener of this machine.
func TestInline_TheCurlsWork(t *testing.T) {
	t.Parallel()
	need.Program(t, "curl", "curl")
	g, dir := start(t, "ADMIN_PPROF", "true"), t.TempDir()
	for _, c := range stack.Inline(t) {
		command := strings.NewReplacer("curl ", "curl --fail --no-progress-meter ", "localhost:9090", g.AdminAddr, "':9090", "'"+g.AdminAddr).Replace(c.Text)
		if out := works(t, c, "cd "+dir+" && "+command+" && ls"); len(out) < 10 {
			t.Errorf("%s prints %q", c.Text, out)
		}
	}
}

// Without doing anything; but what calls make again is done all the same, with what it writes, so the Makefile is in another place.
func TestInline_MakeKnowsItsTargets(t *testing.T) {
	t.Parallel()
	need.Program(t, "make", "make")
	dir := t.TempDir()
	text, err := os.ReadFile("../Makefile")
	must(t, err)
	must(t, os.WriteFile(filepath.Join(dir, "Makefile"), text, 0o600))
	must(t, os.MkdirAll(filepath.Join(dir, "docs/proofs"), 0o700))
	for _, c := range stack.Inline(t) {
		if out := works(t, c, strings.Replace(c.Text, "make ", "make --dry-run -C "+dir+" ", 1)); strings.TrimSpace(out) == "" {
			t.Errorf("%s does nothing", c.Text)
		}
	}
}

func TestInline_TheShellsWork(t *testing.T) {
	t.Parallel()
	must(t, stack.BuildHeadgate())
	for _, c := range stack.Inline(t) {
		if out := works(t, c, "cd "+filepath.Dir(stack.HeadgateBinary())+" && "+c.Text); out == "" {
			t.Errorf("%s prints nothing", c.Text)
		}
	}
}
