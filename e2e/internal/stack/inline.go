package stack

import (
	"os"
	"regexp"
	"strings"
	"testing"
)

var (
	fence  = regexp.MustCompile("(?ms)^ *```.*?^ *```$")
	inline = regexp.MustCompile("`([^`\n]+)`")
	// A program that a reader may type, with something behind it: alone it is a name.
	typed = regexp.MustCompile(`^((?:[A-Z_]+=\S+ )*)((?:go|make|curl|nats|nsc|helm|kubectl|headgate|docker|podman|buildah|skopeo|npm|npx|promtool|openssl|` +
		`sha256sum|apt-get|ulimit|sysctl|cd|kill|deploy/test/\w+\.sh) \S.*|deploy/test/\w+\.sh)$`)
)

// InlineCommand is a command in the middle of a sentence.
type InlineCommand struct {
	Document string
	Env      []string // variables that stand before it
	Text     string   // without them
}

// InlineCommands are those of all documents, except of the table that says who runs them.
func InlineCommands(t testing.TB) (all []InlineCommand) {
	t.Helper()
	for _, document := range Documents(t) {
		if "../"+document == commandsTable {
			continue
		}
		text, err := os.ReadFile("../" + document)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range inline.FindAllStringSubmatch(fence.ReplaceAllString(string(text), ""), -1) {
			if c := typed.FindStringSubmatch(m[1]); c != nil {
				all = append(all, InlineCommand{document, strings.Fields(c[1]), c[2]})
			}
		}
	}
	return all
}

// Inline are the commands in sentences that are assigned to the test, each once.
func Inline(t testing.TB) (mine []InlineCommand) {
	t.Helper()
	rows, seen := InlineAssignments(t), map[string]bool{}
	for _, c := range InlineCommands(t) {
		if i := Find(rows, c.Document, c.Text); i >= 0 && rows[i].Is(t.Name()) && !seen[c.Text] {
			seen[c.Text] = true
			mine = append(mine, c)
		}
	}
	if len(mine) == 0 {
		t.Fatalf("%s assigns nothing to this test", commandsTable)
	}
	return mine
}
