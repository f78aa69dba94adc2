package e2e_test

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"headgate/e2e/internal/lsp"
	"headgate/e2e/internal/need"
	"headgate/e2e/internal/stack"
)

// editorServer is where yaml-language-server is installed, once for all tests; its versions and their checksums stand in testdata/editor.
var editorServer = sync.OnceValues(func() (string, error) {
	dir := filepath.Join(filepath.Dir(stack.HeadgateBinary()), "editor") // which is removed at the end
	if err := os.Mkdir(dir, 0o700); err != nil {
		return "", err
	}
	for _, name := range []string{"package.json", "package-lock.json"} {
		text, err := os.ReadFile(filepath.Join("testdata/editor", name))
		if err != nil {
			return dir, err
		}
		if err := os.WriteFile(filepath.Join(dir, name), text, 0o600); err != nil {
			return dir, err
		}
	}
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund")
	cmd.Dir = dir
	return dir, cmd.Run()
})

// editor is what stands behind VS Code, Neovim, Emacs and others when a YAML file is open.
func editor(t *testing.T, ctx context.Context) *lsp.Server {
	t.Helper()
	need.Program(t, "npm", "npm")
	dir, err := editorServer()
	if err != nil {
		need.Missing(t, "yaml-language-server", "npm ci in e2e/testdata/editor says: "+err.Error())
	}
	return lsp.Start(t, ctx, exec.Command(need.Program(t, "nodejs", "node"), filepath.Join(dir, "node_modules/yaml-language-server/bin/yaml-language-server"), "--stdio"))
}

func uriOf(file string) string {
	absolute, err := filepath.Abs(file)
	if err != nil {
		panic(err)
	}
	return "file://" + filepath.ToSlash(absolute)
}

// The line is taken from docs/configuration.md, and the schema from the admin listener with the command that stands there.
func TestEditor_CompletesAndChecksARoutesFileByItsFirstLine(t *testing.T) {
	t.Parallel()
	_, _ = editorServer() // an installation takes time of its own; editor tells what went wrong
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	s, dir := editor(t, ctx), t.TempDir()
	text, err := os.ReadFile("../docs/configuration.md")
	must(t, err)
	_, line, ok := strings.Cut(string(text), "```yaml\n# yaml-language-server: ")
	line, _, ended := strings.Cut(line, "\n")
	if !ok || !ended {
		t.Fatal("docs/configuration.md has no such line")
	}
	const command = "curl -o routes.schema.json localhost:9090/schema/routes.json"
	p := shell(t, "cd "+dir+" && "+strings.Replace(command, "localhost:9090", start(t).AdminAddr, 1))
	if code, err := p.Wait(ctx); err != nil || code != 0 {
		t.Fatalf("%s: %d %v %s", command, code, err, p.Output())
	}
	file := uriOf(filepath.Join(dir, "routes.yaml"))
	head := "# yaml-language-server: " + line + "\nversion: 1\nroutes:\n  - name: orders\n    path: /v1/orders\n    "

	must(t, s.Open(file, head+"sauce: {type: stream, stream: ORDERS, subject: \"orders.>\"}\n", 1))
	wrong, err := s.Diagnostics(ctx, file, func(all []lsp.Diagnostic) bool { return len(all) > 0 })
	if err != nil || !slices.ContainsFunc(wrong, func(d lsp.Diagnostic) bool { return strings.Contains(d.Message, "sauce") && d.Range.Start.Line == 5 }) {
		t.Fatalf("a wrong key: %v %+v", err, wrong)
	}

	must(t, s.Open(file, head+"source: {type: stream, stream: ORDERS, subject: \"orders.>\"}\n    snapshot: \n    \n", 2))
	for what, c := range map[string]struct {
		at   lsp.Position
		want []string
	}{
		"a field of a route":      {lsp.Position{Line: 7, Character: 4}, []string{"event", "resume", "publish", "cors", "limits"}},
		"what snapshot can be":    {lsp.Position{Line: 6, Character: 14}, []string{"last_per_subject", "last", "all", "since"}},
		"a field of the document": {lsp.Position{Line: 8, Character: 0}, []string{"defaults", "auth"}},
	} {
		labels, err := s.Completion(ctx, file, c.at)
		for _, want := range c.want {
			if err != nil || !slices.Contains(labels, want) {
				t.Errorf("%s: no %q in %q, %v", what, want, labels, err)
			}
		}
	}
	if said, err := s.Hover(ctx, file, lsp.Position{Line: 5, Character: 6}); err != nil || !strings.Contains(said, "Where the events come from") {
		t.Errorf("over source it says %q, %v", said, err)
	}
}

// The examples' own first lines lead to the schema, and nothing in the files is underlined. That it is looked at, a wrong key shows.
func TestEditor_FindsNothingWrongInTheExamples(t *testing.T) {
	t.Parallel()
	_, _ = editorServer() // an installation takes time of its own; editor tells what went wrong
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	s := editor(t, ctx)
	files, err := filepath.Glob("../examples/*/routes.yaml")
	if err != nil || len(files) < 10 {
		t.Fatalf("%d examples: %v", len(files), err)
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		must(t, err)
		uri := uriOf(file)
		must(t, s.Open(uri, string(text)+"\nsauce: 1\n", 1))
		if all, err := s.Diagnostics(ctx, uri, func(all []lsp.Diagnostic) bool { return len(all) == 1 }); err != nil || !strings.Contains(all[0].Message, "sauce") {
			t.Errorf("%s with a wrong key: %v %+v", file, err, all)
		}
		must(t, s.Open(uri, string(text), 2))
		if all, err := s.Diagnostics(ctx, uri, func(all []lsp.Diagnostic) bool { return len(all) == 0 }); err != nil {
			t.Errorf("%s: %v %+v", file, err, all)
		}
	}
}
