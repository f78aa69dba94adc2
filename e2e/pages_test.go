package e2e_test

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"headgate/e2e/internal/need"
	"headgate/e2e/internal/proc"
	"headgate/e2e/internal/stack"
)

// The smallest configuration, as docs/configuration.md begins with it.
func TestConfiguration_ItsFirstCommandsWork(t *testing.T) {
	t.Parallel()
	need.Program(t, "curl", "curl")
	must(t, stack.BuildHeadgate())
	ledger := stack.NewLedger(t, "docs/configuration.md")
	blocks := stack.ShellBlocks(t, "../docs/configuration.md")
	if len(blocks) != 1 {
		t.Fatalf("%d blocks", len(blocks))
	}
	ledger.Run(blocks[0])
	commands := stack.Commands(blocks[0])
	addr, admin, url := proc.FreeAddr(t), proc.FreeAddr(t), stack.StartNATS(t, "").URL()
	p := shell(t, commands[0], programs(t, url), "NATS_URL="+url, "HTTP_ADDR="+addr, "ADMIN_ADDR="+admin)
	ctx, cancel := soon(t)
	defer cancel()
	must(t, p.WaitListening(ctx, addr))
	ready(t, admin)
	for _, command := range commands[1:] {
		curlWorks(t, strings.ReplaceAll(command, "localhost:8080", addr))
	}
}

// The signal of docs/reload.md is heard, where nothing else would have the file read again.
func TestReload_ThePagesCommandIsHeard(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "routes.yaml")
	must(t, os.WriteFile(file, []byte(routesFor("https://app.example")), 0o600))
	g := startWith(t, stack.Options{}, "ROUTES_FILE", file, "ROUTES_RELOAD", "0s")
	ledger := stack.NewLedger(t, "docs/reload.md")
	path := programs(t, g.nats.URL())
	dir, _, _ := strings.Cut(strings.TrimPrefix(path, "PATH="), ":")
	// Others on this machine may run headgate too.
	must(t, os.WriteFile(filepath.Join(dir, "pidof"), fmt.Appendf(nil, "#!/bin/sh\necho %d\n", g.PID()), 0o755))
	text := strings.Replace(routesFor("https://app.example"), "/v1/prices/{symbol}", "/v2/prices/{symbol}", 1)
	must(t, os.WriteFile(file, []byte(text), 0o600))
	if status, _ := send(t, http.DefaultClient, http.MethodHead, g.URL+"/v2/prices/ACME", ""); status != http.StatusNotFound {
		t.Fatalf("before the signal: %d", status)
	}
	for _, block := range stack.ShellBlocks(t, "../docs/reload.md") {
		for _, command := range stack.Commands(block) {
			if !ledger.Mine(command) {
				continue
			}
			ledger.Run(command)
			sh := shell(t, command, path, "AUTH_MODE=none", "ROUTES_FILE="+file)
			ctx, cancel := soon(t)
			defer cancel()
			if code, err := sh.Wait(ctx); err != nil || code != 0 {
				t.Fatalf("%s: %d %v\n%s", command, code, err, sh.Output())
			}
		}
	}
	ctx, cancel := soon(t)
	defer cancel()
	must(t, stack.Poll(ctx, func() error {
		if status, _ := send(t, http.DefaultClient, http.MethodHead, g.URL+"/v2/prices/ACME", ""); status != http.StatusOK {
			return fmt.Errorf("the new path answers %d", status)
		}
		return nil
	}))
}

// What docs/security.md writes into the bucket of revocations shuts that user out, and nobody else.
func TestSecurity_ThePagesRevocationsAreObeyed(t *testing.T) {
	t.Parallel()
	must(t, stack.BuildHeadgate())
	broker := stack.StartNATS(t, "")
	here := place{ledger: stack.NewLedger(t, "docs/security.md"), names: []string{"--replicas 3", "--replicas 1"}, env: []string{programs(t, broker.URL())}}
	revoked := 0
	for _, b := range stack.Blocks(t, "../docs/security.md") {
		here.runs(t, b)
		revoked += strings.Count(b.Commands, "nats kv put ")
	}
	file := filepath.Join(t.TempDir(), "secret.txt")
	must(t, os.WriteFile(file, []byte(sharedSecret), 0o600))
	h := stack.StartHeadgate(t, stack.Options{NATS: broker.URL(), Routes: `
version: 1
routes:
  - {name: me, path: /v1/me, source: {type: core, subject: "users.me"}}
`, Env: map[string]string{"AUTH_MODE": "jwt", "AUTH_ISSUER": "e2e", "AUTH_AUDIENCE": "headgate", "AUTH_SECRET_FILE": file, "AUTH_REVOCATION_BUCKET": "REVOKED"}})
	for user, want := range map[string]int{"ann@example.org": http.StatusUnauthorized, "bob@example.org": http.StatusOK} {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodHead, h.URL+"/v1/me", nil)
		must(t, err)
		req.Header.Set("Authorization", "Bearer "+jwtFor(user, time.Minute))
		resp, err := http.DefaultClient.Do(req)
		must(t, err)
		must(t, resp.Body.Close())
		if resp.StatusCode != want {
			t.Errorf("%s gets %d", user, resp.StatusCode)
		}
	}
	if n, err := h.Metric(t.Context(), "headgate_revocations"); err != nil || revoked < 2 || n != float64(revoked) {
		t.Errorf("%v revocations, of %d: %v", n, revoked, err)
	}
}

// The requests of docs/control.md: an operator sees ann's stream, and ends it.
func TestControl_ThePagesCommandsWork(t *testing.T) {
	t.Parallel()
	g := startIdentifiedWith(t, "https://app.example", "", "CONTROL", "true", "AUTH_REVOCATION_BUCKET", "REVOKED", "AUTH_REVOCATION_TTL", "1h")
	s := open(t, g.URL+"/v1/me", "Authorization", "Bearer "+jwtFor("ann", time.Minute))
	here := place{ledger: stack.NewLedger(t, "docs/control.md"), env: []string{programs(t, g.nats.URL())}}
	var out string
	for _, b := range stack.Blocks(t, "../docs/control.md") {
		out += here.runs(t, b)
	}
	for _, want := range []string{`headgate`, `"streams":1`, `"user":"ann"`, `"ended":1`, `"key":"sid.`} {
		if !strings.Contains(out, want) {
			t.Errorf("no %s in\n%s", want, out)
		}
	}
	if got := until(t, s, "$end").Data(); !strings.Contains(got, `"kicked"`) {
		t.Errorf("ann's stream ends with %s", got)
	}
}
