package e2e_test

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"headgate/e2e/internal/need"
	"headgate/e2e/internal/proc"
	"headgate/e2e/internal/stack"
)

// place is where the commands of a document are run: what the document calls by names that hold everywhere, and what is there.
type place struct {
	names []string // old and new, in turn
	env   []string
}

// runs runs a block of a document, and looks for what the document says that it prints. A line of it may leave things out with an ellipsis.
func (p place) runs(t *testing.T, b stack.Block) {
	t.Helper()
	command := strings.NewReplacer(p.names...).Replace(b.Commands)
	sh := shell(t, command, p.env...)
	ctx, cancel := soon(t)
	defer cancel()
	code, err := sh.Wait(ctx)
	must(t, err)
	if code != 0 && !(code == 28 && strings.Contains(command, " -m ")) { // 28: curl's time is over, as it should be for a stream
		t.Errorf("%s\nends with %d:\n%s", command, code, sh.Output())
	}
	for _, line := range b.Prints {
		if !regexp.MustCompile(strings.ReplaceAll(regexp.QuoteMeta(line), "…", ".*")).MatchString(sh.Output()) {
			t.Errorf("%s\ndoes not print %q, but\n%s", command, line, sh.Output())
		}
	}
}

// programs is a directory with headgate and nats in it, for commands that name them, and PATH with it.
func programs(t *testing.T, natsURL string) string {
	t.Helper()
	dir := stack.NATSCommand(t, natsURL)
	must(t, os.Symlink(stack.HeadgateBinary(), filepath.Join(dir, "headgate")))
	return "PATH=" + dir + ":" + os.Getenv("PATH")
}

// The commands of the page find what they say they find: in headgate -dev, in the same behind nginx with its documented file, and in a nats-server.
func TestTroubleshooting_ItsCommandsWork(t *testing.T) {
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
		names: []string{"localhost:8080", addr, "localhost:9090", admin, "https://edge.example", edge.URL, "localhost:8222", monitor, "nats://127.0.0.1:4222", natsURL},
		env:   []string{programs(t, natsURL), "CURL_CA_BUNDLE=" + cert.CertFile, "AUTH_MODE=none", "NATS_URL=" + broker.URL(), "ROUTES_FILE=" + routesFile},
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
