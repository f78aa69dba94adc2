package stack

import (
	"flag"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
)

// commandsTable says who runs the commands of documents.
const commandsTable = "../docs/commands.md"

// Assignment is one row of it: the commands of a document that begin with a text, and the test that runs them, "" for none.
type Assignment struct {
	Document string // path from the repository's root, or a pattern of path.Match, or any
	Begins   string // "" for all that no row above has
	Test     string // its name, or the beginning of several names and an ellipsis
	Remark   string // why no test runs them, or runs them otherwise
}

// Assignments are the rows of the table of blocks. Of those that fit a command the first one counts.
func Assignments(t testing.TB) []Assignment {
	t.Helper()
	blocks, _ := tables(t)
	return assignments(t, blocks)
}

// InlineAssignments are the rows of the table of commands in sentences.
func InlineAssignments(t testing.TB) []Assignment {
	t.Helper()
	_, sentences := tables(t)
	return assignments(t, sentences)
}

func tables(t testing.TB) (blocks, sentences string) {
	t.Helper()
	text, err := os.ReadFile(commandsTable)
	if err != nil {
		t.Fatal(err)
	}
	blocks, sentences, ok := strings.Cut(string(text), "\n## In sentences\n")
	if !ok {
		t.Fatalf("%s has no part for commands in sentences", commandsTable)
	}
	return blocks, sentences
}

var assignmentRow = regexp.MustCompile("(?m)^\\| ([\\w./*-]+\\.md|any) \\| (?:`([^`]+)`|all others|all) \\| (?:`(\\w+…?)`|–) \\|(.*)\\|$")

func assignments(t testing.TB, text string) (all []Assignment) {
	t.Helper()
	for _, m := range assignmentRow.FindAllStringSubmatch(text, -1) {
		all = append(all, Assignment{m[1], m[2], m[3], strings.TrimSpace(m[4])})
	}
	if rows := strings.Count(text, "\n| ") - 1; len(all) != rows { // without the head of the table
		t.Fatalf("%s has %d rows, and %d of them can be read", commandsTable, rows, len(all))
	}
	return all
}

// Find is the row of a command, or -1.
func Find(all []Assignment, document, command string) int {
	return slices.IndexFunc(all, func(a Assignment) bool {
		fits, err := path.Match(a.Document, document)
		return (err == nil && fits || a.Document == "any") && strings.HasPrefix(command, a.Begins)
	})
}

// Is says whether the row means a test of this name.
func (a Assignment) Is(test string) bool {
	if begins, ok := strings.CutSuffix(a.Test, "…"); ok {
		return strings.HasPrefix(test, begins)
	}
	return a.Test == test && test != ""
}

// Commands are the commands of a block, without comments; a backslash at the end of a line goes on with the next one.
func Commands(block string) (commands []string) {
	for line := range strings.Lines(strings.ReplaceAll(block, "\\\n", " ")) {
		if line = strings.TrimSpace(line); line != "" && !strings.HasPrefix(line, "#") {
			commands = append(commands, line)
		}
	}
	return commands
}

// Documents are the Markdown files of the repository, from its root; the changelog and the decisions tell of the past.
func Documents(t testing.TB) (names []string) {
	t.Helper()
	err := filepath.WalkDir("..", func(name string, d os.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && (d.Name() == "adr" || d.Name() == "testdata" || d.Name() == "node_modules" || name != ".." && strings.HasPrefix(d.Name(), ".")):
			return filepath.SkipDir
		case !d.IsDir() && path.Ext(name) == ".md" && d.Name() != "CHANGELOG.md":
			names = append(names, strings.TrimPrefix(filepath.ToSlash(name), "../"))
		}
		return nil
	})
	if err != nil || len(names) < 20 {
		t.Fatalf("%d documents: %v", len(names), err)
	}
	return names
}

// Ledger holds a test to the table: what it runs of a document must be assigned to it, and what is assigned to it must have been run when it
// has passed.
type Ledger struct {
	t        testing.TB
	document string
	rows     []Assignment

	mu  sync.Mutex
	ran map[string]bool
}

// NewLedger is for one document, named from the repository's root.
func NewLedger(t testing.TB, document string) *Ledger {
	t.Helper()
	l := &Ledger{t: t, document: document, rows: Assignments(t), ran: map[string]bool{}}
	blocks := ShellBlocks(t, "../"+document)
	t.Cleanup(func() {
		if t.Failed() || t.Skipped() || strings.Contains(flag.Lookup("test.run").Value.String(), "/") {
			return
		}
		for _, block := range blocks {
			for _, command := range Commands(block) {
				if l.Mine(command) && !l.ran[command] {
					t.Errorf("%s assigns to this test what it has not run, in %s: %s", commandsTable, document, command)
				}
			}
		}
	})
	return l
}

// Mine says whether a command is assigned to the test.
func (l *Ledger) Mine(command string) bool {
	i := Find(l.rows, l.document, command)
	return i >= 0 && l.rows[i].Is(l.t.Name())
}

// Run notes that the commands of a block, as the document has them, are run.
func (l *Ledger) Run(block string) {
	l.t.Helper()
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, command := range Commands(block) {
		if !l.Mine(command) {
			l.t.Errorf("%s does not assign to this test what it runs, in %s: %s", commandsTable, l.document, command)
		}
		l.ran[command] = true
	}
}
