package main

import (
	"os"
	"regexp"
	"testing"
)

// Commands are run by the tests that docs/commands.md names; flags and targets that are only mentioned exist.
func TestDocs_EveryTargetAndEveryFlagExists(t *testing.T) {
	makefile, err := os.ReadFile("Makefile")
	if err != nil {
		t.Fatal(err)
	}
	targets, flags := map[string]bool{}, map[string]bool{}
	for _, m := range regexp.MustCompile(`(?m)^([a-z-]+):`).FindAllStringSubmatch(string(makefile), -1) {
		targets[m[1]] = true
	}
	source, err := os.ReadFile("main.go")
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range regexp.MustCompile(`set\.BoolVar\(&f\.\w+, "([a-z-]+)"`).FindAllStringSubmatch(string(source), -1) {
		flags[m[1]] = true
	}
	named := 0
	for _, d := range documents(t) {
		for _, m := range regexp.MustCompile("`make ([a-z-]+)").FindAllStringSubmatch(d.text, -1) {
			named++
			if !targets[m[1]] {
				t.Errorf("%s: the Makefile has no target %s", d.name, m[1])
			}
		}
		for _, m := range regexp.MustCompile("(?:`|headgate |go run \\. )-([a-z][a-z-]+)\\b").FindAllStringSubmatch(d.text, -1) {
			if len(m[1]) < 3 || regexp.MustCompile("^(race|tags|trimpath|buildvcs|size|only|servers|patience|passes|streams|timeout|run|update)$").MatchString(m[1]) {
				continue // of other programs: go, curl, bench
			}
			named++
			if !flags[m[1]] {
				t.Errorf("%s: headgate has no flag -%s", d.name, m[1])
			}
		}
	}
	if named < 40 {
		t.Errorf("only %d names found", named)
	}
}
