package e2e_test

import (
	"os"
	"path/filepath"
	"regexp"
	"testing"

	"headgate/e2e/internal/need"
	"headgate/e2e/internal/proc"
	"headgate/e2e/internal/stack"
)

// The commands of the page find what they say they find: in headgate -dev, in the same behind nginx with its documented file, and in a nats-server.
func TestTroubleshooting_ItsCommandsWork(t *testing.T) {
	t.Parallel()
	need.Program(t, "curl", "curl")
	addr, text := banner(t)
	found := func(re string) string {
		m := regexp.MustCompile(re).FindStringSubmatch(text)
		if m == nil {
			t.Fatalf("no %s in the banner:\n%s", re, text)
		}
		return m[1]
	}
	admin, natsURL := found(`Admin +http://([\d.:]+)/`), found(`NATS +(nats://\S+)`)
	cert := stack.NewCertificate(t)
	edge := stack.StartDocumented(t, "nginx", &stack.Headgate{Addr: addr, AdminAddr: admin}, cert)
	monitor := proc.FreeAddr(t)
	broker := stack.StartNATS(t, `http: "`+monitor+`"`)
	filed := stack.StartHeadgate(t, stack.Options{NATS: broker.URL(), Routes: routesFor("https://app.example")})
	routesFile := filepath.Join(t.TempDir(), "routes.yaml")
	must(t, os.WriteFile(routesFile, []byte(routesFor("https://app.example")), 0o600))

	here := place{
		ledger: stack.NewLedger(t, "docs/troubleshooting.md"),
		names:  []string{"localhost:8080", addr, "localhost:9090", admin, "https://edge.example", edge.URL, "localhost:8222", monitor, "nats://127.0.0.1:4222", natsURL},
		env:    []string{programs(t, natsURL), "CURL_CA_BUNDLE=" + cert.CertFile, "AUTH_MODE=none", "NATS_URL=" + broker.URL(), "ROUTES_FILE=" + routesFile},
	}
	blocks := stack.Blocks(t, "../docs/troubleshooting.md")
	for _, b := range blocks {
		t.Run(b.Heading, func(t *testing.T) {
			t.Parallel() // most of them wait for seconds
			here := here
			if b.Heading == "New routes do nothing" { // which is about a routes file, and -dev has none
				here.names = append([]string{"localhost:9090", filed.AdminAddr}, here.names...)
			}
			here.runs(t, b)
		})
	}
	if len(blocks) < 15 {
		t.Errorf("only %d blocks", len(blocks))
	}
}
