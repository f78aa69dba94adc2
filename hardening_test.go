package main

import (
	"fmt"
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
	testedTable(t, "docs/security.md", "## Weaknesses", "weakness", "TestHardening_", 30)
}

// So does that of docs/pitfalls.md. Each pitfall has one that bears its number, and no test bears another one.
func TestPageOfPitfalls_EachHasItsTest(t *testing.T) {
	const pitfalls = 15
	rows := testedTable(t, "docs/pitfalls.md", "## The list", "pitfall", "TestPitfall", pitfalls)
	for i, row := range rows {
		number := fmt.Sprintf("%d. ", i+1)
		if !strings.HasPrefix(row.what, number) {
			t.Errorf("%q is not the pitfall %d", row.what, i+1)
		}
		own := 0
		for _, name := range row.tests {
			_, name, _ = strings.Cut(name, " TestPitfall")
			switch {
			case strings.HasPrefix(name, fmt.Sprintf("%02d_", i+1)):
				own++
			case name != "":
				t.Errorf("TestPitfall%s is in the row %q", name, row.what)
			}
		}
		if own == 0 {
			t.Errorf("no test of %q bears its number", row.what)
		}
	}
	if len(rows) != pitfalls {
		t.Errorf("%d pitfalls", len(rows))
	}
}

// testedRow is a row of a table of things and the tests for each.
type testedRow struct {
	what  string
	tests []string // as "directory name"
}

// testedTable reads such a table. Each of its rows has tests, all of them exist, and every test whose name begins with prefix is in one.
func testedTable(t *testing.T, page, heading, head, prefix string, least int) (rows []testedRow) {
	t.Helper()
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
	for line := range strings.Lines(section) {
		cells := strings.Split(strings.Trim(line, "| \n"), " | ")
		if len(cells) != 2 || !strings.HasPrefix(line, "| ") || cells[0] == head {
			continue
		}
		row := testedRow{what: cells[0]}
		for group := range strings.SplitSeq(cells[1], "; ") {
			parts := regexp.MustCompile("^`([^`]+)` (.+)$").FindStringSubmatch(group)
			if parts == nil {
				t.Errorf("%s: %q is not a directory in backquotes and tests", row.what, group)
				continue
			}
			for name := range strings.SplitSeq(parts[2], ", ") {
				if !there[parts[1]+" "+name] {
					t.Errorf("%s: there is no test %s in %s", row.what, name, parts[1])
				}
				row.tests = append(row.tests, parts[1]+" "+name)
			}
		}
		if len(row.tests) == 0 {
			t.Errorf("%s has no test", row.what)
		}
		listed, rows = append(listed, row.tests...), append(rows, row)
	}
	if len(rows) < least {
		t.Errorf("%d rows are read of the table in %s", len(rows), page)
	}
	for name := range there {
		if strings.Contains(name, " "+prefix) && !slices.Contains(listed, name) {
			t.Errorf("%s is in no row of %s, %s", name, page, heading)
		}
	}
	return rows
}
