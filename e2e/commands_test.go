package e2e_test

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"headgate/e2e/internal/stack"
)

// Every command in a document is run by a test that is named in docs/commands.md, or has its reason there. That the test does run it, its ledger
// looks after.
func TestCommands_EachHasATestOrAReason(t *testing.T) {
	rows, tests := stack.Assignments(t), testNames(t)
	used := make([]bool, len(rows))
	for _, document := range stack.Documents(t) {
		for _, block := range stack.ShellBlocks(t, "../"+document) {
			for _, command := range stack.Commands(block) {
				i := stack.Find(rows, document, command)
				if i < 0 {
					t.Errorf("docs/commands.md does not say who runs this, in %s: %s", document, command)
					continue
				}
				used[i] = true
			}
		}
	}
	judge(t, rows, used, tests)
}

// The same for commands in the middle of sentences.
func TestCommands_EachInASentenceHasATestOrAReason(t *testing.T) {
	rows := stack.InlineAssignments(t)
	used := make([]bool, len(rows))
	for _, c := range stack.InlineCommands(t) {
		if i := stack.Find(rows, c.Document, c.Text); i >= 0 {
			used[i] = true
			continue
		}
		t.Errorf("docs/commands.md does not say who runs this, in a sentence of %s: %s", c.Document, c.Text)
	}
	judge(t, rows, used, testNames(t))
}

// judge looks that each row has its command, and a test that there is, or a reason.
func judge(t *testing.T, rows []stack.Assignment, used []bool, tests []string) {
	t.Helper()
	for i, row := range rows {
		switch {
		case !used[i]:
			t.Errorf("docs/commands.md: %s has no command for the row %q", row.Document, row.Begins)
		case row.Test == "" && len(row.Remark) < 10:
			t.Errorf("docs/commands.md: no test runs %q of %s, and no reason is given", row.Begins, row.Document)
		case row.Test != "" && !slices.ContainsFunc(tests, row.Is):
			t.Errorf("docs/commands.md: there is no test %s", row.Test)
		}
	}
}

// testNames are the tests of all modules.
func testNames(t *testing.T) (names []string) {
	t.Helper()
	err := filepath.WalkDir("..", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(name, "_test.go") {
			return err
		}
		text, err := os.ReadFile(name)
		for _, m := range regexp.MustCompile(`(?m)^func (Test\w+)\(`).FindAllStringSubmatch(string(text), -1) {
			names = append(names, m[1])
		}
		return err
	})
	must(t, err)
	return names
}

// A command that is not in a block of the language sh would be overlooked.
func TestCommands_AreInBlocksThatSaySo(t *testing.T) {
	command := regexp.MustCompile(`^\s*(\$ |(curl|docker|podman|helm|kubectl|go (run|build|test)|make|headgate|nats|npm|npx|node|python3|cat|kill|ss|sysctl|ulimit|export) )`)
	for _, document := range stack.Documents(t) {
		text, err := os.ReadFile("../" + document)
		must(t, err)
		fence := ""
		for line := range strings.Lines(string(text)) {
			switch trimmed := strings.TrimSpace(line); {
			case fence == "" && strings.HasPrefix(trimmed, "```"):
				fence = trimmed
			case fence != "" && trimmed == "```":
				fence = ""
			case command.MatchString(line) && (fence == "```" || fence == "```console" || fence == "```text" || fence == "" && strings.HasPrefix(line, "    ")):
				t.Errorf("%s: this is a command, so its block says sh: %s", document, trimmed)
			}
		}
	}
}
