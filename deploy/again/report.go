package main

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
)

// event is a line of go test -json (go doc test2json).
type event struct {
	Action, Package, ImportPath, Test, Output string
}

// report reads them, and prints what go test prints without -json: the packages, and the output of tests that fail.
type report struct {
	out     io.Writer
	verbose bool                           // also the output of tests that pass, as go test -v
	failed  map[string][]string            // tests of the highest level, by package
	passed  int                            // tests of the highest level
	said    map[[2]string]*strings.Builder // what has been printed and not yet shown, by package and test
	causes  []string                       // why nothing is to be tried again
}

func newReport(out io.Writer, flags []string) *report {
	return &report{out: out, verbose: slices.Contains(flags, "-v"), failed: map[string][]string{}, said: map[[2]string]*strings.Builder{}}
}

func (r *report) packages() []string { return slices.Sorted(maps.Keys(r.failed)) }

// signs are in what a test or package that fails has printed, also of the programs that it runs, when no slow machine is to blame. Where
// tests run side by side go test gives the race detector's own report to any of them; the test that has the race says "race detected".
var signs = []string{"WARNING: DATA RACE", "race detected ", "panic: ", "fatal error: ", "found unexpected goroutines", "test timed out"}

func (r *report) line(text []byte) {
	var e event
	if json.Unmarshal(text, &e) != nil {
		_, _ = r.out.Write(text)
		return
	}
	top, _, _ := strings.Cut(e.Test, "/")
	key := [2]string{e.Package, top}
	switch e.Action {
	case "output":
		if r.said[key] == nil {
			r.said[key] = &strings.Builder{}
		}
		r.said[key].WriteString(e.Output)
	case "build-output":
		fmt.Fprint(r.out, e.Output)
	case "build-fail":
		r.causes = append(r.causes, e.ImportPath+" does not build")
	case "pass", "skip", "fail":
		r.over(e, top, key)
	}
}

// over is the end of a test or of a package.
func (r *report) over(e event, top string, key [2]string) {
	switch {
	case e.Test != top: // a part of a test, whose end counts
	case e.Test != "" && e.Action == "fail":
		r.failed[e.Package] = append(r.failed[e.Package], top)
		r.show(key, true)
	case e.Test != "":
		if r.verbose {
			r.show(key, false)
		}
		delete(r.said, key)
		if e.Action == "pass" {
			r.passed++
		}
	case e.Action == "fail":
		if len(r.failed[e.Package]) == 0 {
			r.causes = append(r.causes, e.Package+" fails, and none of its tests does")
		}
		for key := range r.said { // tests that have begun and not ended, and what belongs to none
			if key[0] == e.Package {
				r.show(key, true)
			}
		}
	default:
		r.show(key, false)
	}
}

// show prints what has been said, but for the lines that only go test -v has.
func (r *report) show(key [2]string, failed bool) {
	text := r.said[key]
	if text == nil {
		return
	}
	delete(r.said, key)
	for line := range strings.Lines(text.String()) {
		if word, _, _ := strings.Cut(strings.TrimSpace(line), " "); word == "===" || line == "PASS\n" || line == "FAIL\n" {
			continue
		}
		fmt.Fprint(r.out, line)
		for _, sign := range signs {
			if failed && strings.Contains(line, sign) {
				r.causes = append(r.causes, strings.TrimSpace(key[0]+" "+key[1])+": "+strings.TrimSpace(line))
			}
		}
	}
}
