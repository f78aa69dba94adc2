package stack

import (
	"os"
	"strings"
	"testing"
)

// ShellBlocks are the fenced blocks of a Markdown file whose language is sh or bash, in order.
func ShellBlocks(t testing.TB, file string) []string {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var blocks []string
	var block strings.Builder
	inside := false
	for line := range strings.Lines(string(text)) {
		fence := strings.TrimSpace(line)
		switch {
		case !inside && (fence == "```sh" || fence == "```bash"):
			inside = true
			block.Reset()
		case inside && fence == "```":
			inside = false
			blocks = append(blocks, block.String())
		case inside:
			block.WriteString(line)
		}
	}
	if inside {
		t.Fatalf("%s: a fence is not closed", file)
	}
	return blocks
}
