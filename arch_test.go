package main

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// source is one Go file of the module, whatever its build constraints.
type source struct {
	dir  string // of the package, "." for the root
	name string // path from the root
	test bool
	file *ast.File
}

// sources are the files of this module. e2e and deploy have modules of their own.
func sources(t *testing.T) ([]source, *token.FileSet) {
	t.Helper()
	var all []source
	set := token.NewFileSet()
	err := filepath.WalkDir(".", func(name string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && (d.Name() == "testdata" || name == "e2e" || name == "deploy" || name != "." && strings.HasPrefix(d.Name(), ".")):
			return filepath.SkipDir
		case d.IsDir() || filepath.Ext(name) != ".go":
			return nil
		}
		name = filepath.ToSlash(name)
		file, err := parser.ParseFile(set, name, nil, parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		all = append(all, source{path.Dir(name), name, strings.HasSuffix(name, "_test.go"), file})
		return nil
	})
	if err != nil || len(all) < 20 {
		t.Fatalf("%d files read: %v", len(all), err)
	}
	return all, set
}

func imports(s source) []string {
	var list []string
	for _, i := range s.file.Imports {
		list = append(list, strings.Trim(i.Path.Value, `"`))
	}
	return list
}

// under says whether dir is one of the directories or below one.
func under(dir string, list []string) bool {
	return slices.ContainsFunc(list, func(d string) bool { return dir == d || d != "." && strings.HasPrefix(dir, d+"/") })
}

// Tests, examples and the load generator play the world around headgate, so these rules are not for them.
func TestOnlyTheHouseThatOwnsItTouchesTheOutsideWorld(t *testing.T) {
	rules := []struct {
		imports []string
		only    []string
		why     string
	}{
		{[]string{"github.com/nats-io/"}, []string{"bridge", "internal/devnats"},
			"everything NATS is behind bridge: its semantics, its reconnects and its losses are handled once"},
		{[]string{"net/http"}, []string{".", "gateway", "internal/admin", "console"},
			"requests are gateway's: the other parts must not depend on how a stream was asked for"},
		{[]string{"github.com/caarlos0/env", "github.com/goccy/go-yaml"}, []string{"internal/config"},
			"settings are read in one place, which checks, documents and masks them"},
		{[]string{"golang.org/x/sys"}, []string{"internal/delivery"},
			"after the hand-over a descriptor has one owner, a shard"},
		{[]string{"syscall"}, []string{"internal/delivery", "."},
			"descriptors are delivery's; the root knows signals and the limit of open files"},
		{[]string{"unsafe"}, []string{"internal/delivery"}, "only system calls of the shards are worth it"},
	}
	all, _ := sources(t)
	for _, s := range all {
		if s.test || under(s.dir, []string{"bench", "examples"}) {
			continue
		}
		for _, imported := range imports(s) {
			for _, r := range rules {
				forbidden := slices.ContainsFunc(r.imports, func(p string) bool {
					return imported == p || strings.HasPrefix(imported, strings.TrimSuffix(p, "/")+"/")
				})
				if forbidden && !under(s.dir, r.only) {
					t.Errorf("%s imports %s, which only %v may: %s", s.name, imported, r.only, r.why)
				}
			}
		}
	}
}

func TestPackagesImportDownwardsOnly(t *testing.T) {
	leaves := []string{"internal/sse", "internal/subject", "internal/cursor"}
	with := func(more ...string) []string { return append(more, leaves...) }
	// What each package may import of ours, itself and what is below it apart.
	may := map[string][]string{
		"internal/sse":       nil,
		"internal/subject":   nil,
		"internal/cursor":    nil,
		"internal/flow":      leaves,
		"internal/config":    with("internal/keyform"),
		"internal/admin":     nil,
		"internal/devnats":   nil,
		"internal/reload":    nil,
		"console":            nil,
		"internal/keyform":   nil,
		"internal/exactjson": nil,
		"auth":               {"internal/subject", "internal/keyform", "internal/exactjson"},
		"ratelimit":          {"internal/walk"},
		"internal/walk":      nil, // how to look at what goes on changing
		"internal/delivery":  with("internal/flow"),
		"internal/gap":       {"internal/sse"}, // the words of $gap: a leaf for whoever announces a loss
		"bridge":             with("internal/flow", "internal/config", "internal/gap", "internal/walk"),
		"control":            {"gateway", "auth", "internal/flow", "internal/subject", "internal/exactjson"}, // above gateway: what its streams are like, and how they are ended
		"gateway":            with("internal/flow", "internal/config", "internal/delivery", "auth", "ratelimit", "internal/gap", "internal/walk"),
	}
	const why = "gateway, bridge and delivery know each other only through internal/flow, and leaves know nobody, so that each can be " +
		"understood, tested and replaced alone"
	all, _ := sources(t)
	for _, s := range all {
		if s.test || s.dir == "." || under(s.dir, []string{"bench", "examples"}) {
			continue
		}
		home := ""
		for dir := range may {
			if under(s.dir, []string{dir}) && len(dir) > len(home) {
				home = dir
			}
		}
		if home == "" {
			t.Errorf("%s: the package is new; say in this test what it may import", s.dir)
			continue
		}
		for _, imported := range imports(s) {
			ours, ok := strings.CutPrefix(imported, "headgate/")
			if ok && !under(ours, []string{home}) && !under(ours, may[home]) {
				t.Errorf("%s imports %s; %s may import of ours only %v: %s", s.name, imported, home, may[home], why)
			}
		}
	}
}

// Whoever starts a goroutine waits for it, and says so in the table. The table names each place as `file.go Function`.
func TestEveryGoroutineHasARowInTheArchitecture(t *testing.T) {
	const table = "docs/architecture.md"
	text, err := os.ReadFile(table)
	if err != nil {
		t.Fatal(err)
	}
	rows := map[string]bool{}
	for _, m := range regexp.MustCompile("(?m)^\\|[^\\n]*?`([\\w/]+\\.go [\\w.]+)`").FindAllStringSubmatch(string(text), -1) {
		rows[m[1]] = false
	}
	all, set := sources(t)
	for _, s := range all {
		if s.test || under(s.dir, []string{"bench", "examples"}) {
			continue
		}
		for _, d := range s.file.Decls {
			ast.Inspect(d, func(n ast.Node) bool {
				if starts(n) {
					place := s.name + " " + functionName(d)
					if _, ok := rows[place]; !ok {
						t.Errorf("%s starts a goroutine; %s needs a row for `%s`", set.Position(n.Pos()), table, place)
					}
					rows[place] = true
				}
				return true
			})
		}
	}
	for place, found := range rows {
		if !found {
			t.Errorf("%s has a row for `%s`, which starts nothing", table, place)
		}
	}
}

// starts says whether the node begins a goroutine: the statement itself, WaitGroup.Go, and the two AfterFuncs.
func starts(n ast.Node) bool {
	if _, ok := n.(*ast.GoStmt); ok {
		return true
	}
	call, ok := n.(*ast.CallExpr)
	if !ok {
		return false
	}
	f, ok := call.Fun.(*ast.SelectorExpr)
	return ok && (f.Sel.Name == "Go" || f.Sel.Name == "AfterFunc")
}

func functionName(d ast.Decl) string {
	f, ok := d.(*ast.FuncDecl)
	if !ok {
		return "var"
	}
	if f.Recv == nil {
		return f.Name.Name
	}
	receiver := f.Recv.List[0].Type
	if star, ok := receiver.(*ast.StarExpr); ok {
		receiver = star.X
	}
	return fmt.Sprintf("%s.%s", receiver, f.Name.Name)
}

func TestFilesFitOnAFewScreens(t *testing.T) {
	all, set := sources(t)
	for _, s := range all {
		if n := set.File(s.file.Pos()).LineCount(); n > 400 && !s.test {
			t.Errorf("%s has %d lines; past 400 a file splits by mechanism", s.name, n)
		}
	}
}

func TestItBuildsWhereItMustAlsoRun(t *testing.T) {
	if testing.Short() {
		t.Skip("SKIPPED with -short: builds for darwin and windows, and without the embedded nats-server")
	}
	for _, b := range []struct{ os, tags string }{{"darwin", "nodev"}, {"windows", "nodev"}, {"linux", "nodev"}} {
		t.Run(b.os+" "+b.tags, func(t *testing.T) {
			cmd := exec.CommandContext(t.Context(), "go", "build", "-tags", b.tags, "./...")
			cmd.Env = append(os.Environ(), "GOOS="+b.os, "GOARCH=amd64", "CGO_ENABLED=0")
			if out, err := cmd.CombinedOutput(); err != nil {
				t.Errorf("go build: %v\n%s", err, out)
			}
		})
	}
}

// The end-to-end tests too: what needs another system is in files of that system, and skipped loudly elsewhere.
func TestEndToEndTestsBuildOnWindows(t *testing.T) {
	if testing.Short() {
		t.Skip("SKIPPED with -short: vets e2e for windows")
	}
	cmd := exec.CommandContext(t.Context(), "go", "vet", "./...")
	cmd.Dir, cmd.Env = "e2e", append(os.Environ(), "GOOS=windows", "GOARCH=amd64", "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("go vet: %v\n%s", err, out)
	}
}

// What a program without the embedded server says of -dev is tested with the tag alone, so the tests must build with it and be run.
func TestWithoutTheEmbeddedServer(t *testing.T) {
	if testing.Short() {
		t.Skip("SKIPPED with -short: the tests that are built without the embedded nats-server")
	}
	out, err := exec.CommandContext(t.Context(), "go", "test", "-count=1", "-tags", "nodev", "-v", "-run", "^TestDev_", ".").CombinedOutput()
	if err != nil || !strings.Contains(string(out), "--- PASS: TestDev_WithoutTheEmbeddedServerSaysHowToGetIt") {
		t.Errorf("go test -tags nodev: %v\n%s", err, out)
	}
}
