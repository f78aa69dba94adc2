//go:build linux

package main

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// Commands of this suite take minutes, so documents' are not run as they stand; what they ask for must exist.
func TestDocs_TheirScenariosExist(t *testing.T) {
	files, err := filepath.Glob("../docs/*.md")
	if err != nil {
		t.Fatal(err)
	}
	found := 0
	for _, file := range append(files, "../README.md", "README.md", "../CONTRIBUTING.md") {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range regexp.MustCompile("(?m)go run \\./bench( [^`#\n]*)?").FindAllStringSubmatch(string(text), -1) {
			found++
			if _, err := parse(strings.Fields(m[1])); err != nil {
				t.Errorf("%s: %s: %v", file, m[0], err)
			}
		}
	}
	if found < 20 {
		t.Errorf("only %d commands found", found)
	}
}
