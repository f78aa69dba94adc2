//go:build linux

package main

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// documentedRun is a command of a document.
type documentedRun struct {
	file, text string
	env, args  []string
}

func documented(t *testing.T) (all []documentedRun) {
	t.Helper()
	files, err := filepath.Glob("../docs/*.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range append(files, "../README.md", "README.md", "../CONTRIBUTING.md") {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range regexp.MustCompile("(?m)((?:[A-Z_]+=\\S+ )*)go run \\./bench( [^`#\n]*)?").FindAllStringSubmatch(string(text), -1) {
			all = append(all, documentedRun{file, m[0], strings.Fields(m[1]), strings.Fields(m[2])})
		}
	}
	if len(all) < 20 {
		t.Errorf("only %d commands found", len(all))
	}
	return all
}

// Commands of this suite take minutes to an hour as they stand; what they ask for must exist.
func TestDocs_TheirScenariosExist(t *testing.T) {
	for _, c := range documented(t) {
		if _, err := parse(c.args); err != nil {
			t.Errorf("%s: %s: %v", c.file, c.text, err)
		}
	}
}

// What documents tell to run runs, at the smallest size and for headgate alone: each scenario once, with the flags and variables of the command
// that names it first. Some are run by TestSuite_… anyway.
func TestDocs_TheirCommandsRunInSmall(t *testing.T) {
	if raceDetector {
		t.Skip("nothing is measured under the race detector; make test runs this once more without it")
	}
	ran := map[string]bool{"memory": true, "heartbeat": true, "fanout": true, "fanout-max": true, "resume": true, "storm-naive": true, "million": true, "revoke": true}
	for _, c := range documented(t) {
		o, err := parse(c.args)
		if err != nil || o.only == "" { // all scenarios are what other tests of this package run
			continue
		}
		fresh := slices.DeleteFunc(strings.Split(o.only, ","), func(name string) bool { return ran[name] })
		if len(fresh) == 0 {
			continue
		}
		for _, name := range fresh {
			ran[name] = true
		}
		t.Run(strings.Join(fresh, ","), func(t *testing.T) {
			for _, v := range c.env {
				name, value, _ := strings.Cut(v, "=")
				t.Setenv(name, value)
			}
			small := []string{"-size", "test", "-passes", "1", "-streams", "500", "-patience", "0s", "-timeout", "3m", "-servers", "headgate", "-only", strings.Join(fresh, ","), "-o", filepath.Join(t.TempDir(), "report.md")}
			if err := suite(append(c.args, small...)); err != nil {
				t.Errorf("%s: %v", strings.Join(c.args, " "), err)
			}
		})
	}
	if len(ran) < 15 {
		t.Errorf("only %d scenarios are in commands", len(ran))
	}
}
