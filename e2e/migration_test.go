package e2e_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"headgate/e2e/internal/need"
	"headgate/e2e/internal/stack"
)

// The steps of the page, in their order, with its own routes file. headgate is started where the page says so: behind the first step.
func TestMigration_TheStepsWork(t *testing.T) {
	t.Parallel()
	need.Program(t, "curl", "curl")
	must(t, stack.BuildHeadgate())
	page, err := os.ReadFile("../docs/migration.md")
	must(t, err)
	_, routes, ok := strings.Cut(string(page[strings.Index(string(page), "## Switching over"):]), "```yaml\n")
	if !ok {
		t.Fatal("the page has no routes file")
	}
	routes, _, _ = strings.Cut(routes, "```")
	file := filepath.Join(t.TempDir(), "routes.yaml")
	must(t, os.WriteFile(file, []byte(routes), 0o600))

	broker := stack.StartNATS(t, "")
	here := place{ledger: stack.NewLedger(t, "docs/migration.md"), names: []string{"routes.yaml", file, "nats://127.0.0.1:4222", broker.URL()}, env: []string{programs(t, broker.URL())}}
	blocks := stack.Blocks(t, "../docs/migration.md")
	if len(blocks) < 4 {
		t.Fatalf("%d blocks", len(blocks))
	}
	here.runs(t, blocks[0])
	h := stack.StartHeadgate(t, stack.Options{NATS: broker.URL(), Routes: routes})
	here.names = append(here.names, "localhost:8080", h.Addr)
	for _, b := range blocks[1:] {
		here.runs(t, b)
	}
}
