package stack

import (
	"os"
	"strings"
	"testing"
)

// Block is a fenced block of a Markdown file whose language is sh or bash.
type Block struct {
	Heading  string   // under which it stands, without the signs in front
	Commands string   // its text
	Prints   []string // the lines of the block without a language that follows at once, if one does: what the commands print
}

// Blocks are those of a file, in order.
func Blocks(t testing.TB, file string) []Block {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var blocks []Block
	var heading, fence string // fence: the opening one, "" outside
	follows := false          // a block of commands has just been closed
	for line := range strings.Lines(string(text)) {
		trimmed := strings.TrimSpace(line)
		shell := fence == "```sh" || fence == "```bash"
		switch {
		case fence == "" && strings.HasPrefix(trimmed, "```"):
			if fence = trimmed; fence == "```sh" || fence == "```bash" {
				blocks = append(blocks, Block{Heading: heading})
			}
		case fence != "" && trimmed == "```":
			fence, follows = "", shell
		case shell:
			blocks[len(blocks)-1].Commands += line
		case fence == "```" && follows && trimmed != "":
			blocks[len(blocks)-1].Prints = append(blocks[len(blocks)-1].Prints, trimmed)
		case fence == "" && strings.HasPrefix(line, "#"):
			heading, follows = strings.TrimSpace(strings.TrimLeft(line, "#")), false
		case fence == "":
			follows = false
		}
	}
	if fence != "" {
		t.Fatalf("%s: a fence is not closed", file)
	}
	return blocks
}

// ShellBlocks are the commands of the blocks alone.
func ShellBlocks(t testing.TB, file string) []string {
	t.Helper()
	var commands []string
	for _, b := range Blocks(t, file) {
		commands = append(commands, b.Commands)
	}
	return commands
}
