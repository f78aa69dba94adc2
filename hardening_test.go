package main

import (
	"go/ast"
	"os"
	"os/exec"
	"path"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// testsOf are the tests and fuzz tests of all modules, as "directory name".
func testsOf(t *testing.T) map[string]bool {
	t.Helper()
	names := map[string]bool{}
	all, _ := sources(t)
	for _, s := range all {
		for _, d := range s.file.Decls {
			if f, ok := d.(*ast.FuncDecl); ok && s.test && f.Recv == nil {
				names[s.dir+" "+f.Name.Name] = true
			}
		}
	}
	files, err := exec.CommandContext(t.Context(), "go", "-C", "e2e", "list", "-f", `{{join .XTestGoFiles "\n"}}`, ".").Output()
	if err != nil {
		t.Fatal(err)
	}
	function := regexp.MustCompile(`(?m)^func ((?:Test|Fuzz)\w+)\(`)
	for _, name := range strings.Fields(string(files)) {
		text, err := os.ReadFile(path.Join("e2e", name))
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range function.FindAllStringSubmatch(string(text), -1) {
			names["e2e "+m[1]] = true
		}
	}
	return names
}

// The table of docs/security.md names tests that exist, and all whose name says that they are for it.
func TestSecurityPage_EveryWeaknessHasItsTests(t *testing.T) {
	const page, heading = "docs/security.md", "## Weaknesses"
	text, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	_, section, ok := strings.Cut(string(text), heading)
	if !ok {
		t.Fatalf("%s has no part %s", page, heading)
	}
	section, _, _ = strings.Cut(section, "\n## ")
	there := testsOf(t)
	var listed []string
	rows := 0
	for line := range strings.Lines(section) {
		cells := strings.Split(strings.Trim(line, "| \n"), " | ")
		if len(cells) != 2 || !strings.HasPrefix(line, "| ") || cells[0] == "weakness" {
			continue
		}
		rows++
		n := 0
		for group := range strings.SplitSeq(cells[1], "; ") {
			parts := regexp.MustCompile("^`([^`]+)` (.+)$").FindStringSubmatch(group)
			if parts == nil {
				t.Errorf("%s: %q is not a directory in backquotes and tests", cells[0], group)
				continue
			}
			for name := range strings.SplitSeq(parts[2], ", ") {
				if !there[parts[1]+" "+name] {
					t.Errorf("%s: there is no test %s in %s", cells[0], name, parts[1])
				}
				listed, n = append(listed, parts[1]+" "+name), n+1
			}
		}
		if n == 0 {
			t.Errorf("%s has no test", cells[0])
		}
	}
	if rows < 30 {
		t.Errorf("%d rows are read of the table in %s", rows, page)
	}
	for name := range there {
		if strings.Contains(name, " TestHardening_") && !slices.Contains(listed, name) {
			t.Errorf("%s is in no row of %s, %s", name, page, heading)
		}
	}
}
