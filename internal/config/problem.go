package config

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

// Problem is one thing that is wrong, in an operator's words. It never holds a secret.
type Problem struct {
	// Where: a variable with the value given, or a place in the routes file.
	Variable     string
	Value        string // shown quoted; "" when none was given
	File         string
	Line, Column int // from 1; 0 = the whole file

	// What is wrong, and what to do about it. All but Message may be empty.
	Message  string
	Excerpt  string // the source line with a caret
	Expected string
	Example  string
	Hint     string
}

// Errors is everything that is wrong with a configuration.
type Errors []Problem

// shownProblems bounds what Error prints: a wrong file in ROUTES_FILE can have an error in every line.
const shownProblems = 100

// Error lists the problems, one paragraph each.
func (e Errors) Error() string {
	var b strings.Builder
	if len(e) == 1 {
		b.WriteString("the configuration has an error:\n")
	} else {
		fmt.Fprintf(&b, "the configuration has %d errors:\n", len(e))
	}
	for i, p := range e {
		if i == shownProblems {
			fmt.Fprintf(&b, "\nand %d more\n", len(e)-i)
			break
		}
		b.WriteString("\n")
		b.WriteString(p.String())
	}
	return b.String()
}

// String is a paragraph: where and what in its first line, then what helps.
func (p Problem) String() string {
	var b strings.Builder
	if w := p.where(); w != "" {
		b.WriteString(w + ": ")
	}
	b.WriteString(p.Message + "\n")
	for _, line := range strings.Split(strings.TrimRight(p.Excerpt, "\n"), "\n") {
		if line != "" {
			b.WriteString("    " + line + "\n")
		}
	}
	labelled(&b, "expected: ", p.Expected)
	labelled(&b, "example:  ", p.Example)
	labelled(&b, "hint:     ", p.Hint)
	return b.String()
}

func labelled(b *strings.Builder, label, text string) {
	if text == "" {
		return
	}
	lines := strings.Split(strings.TrimRight(text, "\n"), "\n")
	b.WriteString("    " + label + lines[0] + "\n")
	for _, line := range lines[1:] {
		b.WriteString("    " + strings.Repeat(" ", len(label)) + line + "\n")
	}
}

func (p Problem) where() string {
	switch {
	case p.Variable != "" && p.Value != "":
		return p.Variable + "=" + quoteShort(p.Value)
	case p.Variable != "":
		return p.Variable
	case p.File != "" && p.Line > 0:
		return p.File + ":" + strconv.Itoa(p.Line) + ":" + strconv.Itoa(p.Column)
	}
	return p.File
}

// Warning is something that does not refuse the start but is probably not meant.
type Warning struct {
	Where string // a variable, or file:line:column
	Text  string
}

// String is one line.
func (w Warning) String() string { return w.Where + ": " + w.Text }

// report collects what Load finds.
type report struct {
	problems Errors
	warnings []Warning
}

func (r *report) fail(p Problem) { r.problems = append(r.problems, p) }

func (r *report) warn(where, text string) { r.warnings = append(r.warnings, Warning{where, text}) }

// about says whether one of the variables has a problem already.
func (r *report) about(variables ...string) bool {
	return slices.ContainsFunc(r.problems, func(p Problem) bool { return slices.Contains(variables, p.Variable) })
}

// err gives the problems: those of the environment in the order of its table, then those of the file from top to bottom.
func (r *report) err() error {
	if len(r.problems) == 0 {
		return nil
	}
	slices.SortStableFunc(r.problems, func(a, b Problem) int {
		if (a.Line == 0) != (b.Line == 0) {
			return boolOrder(a.Line > 0) - boolOrder(b.Line > 0)
		}
		if a.Line != b.Line {
			return a.Line - b.Line
		}
		return a.Column - b.Column
	})
	return r.problems
}

func boolOrder(b bool) int {
	if b {
		return 1
	}
	return 0
}

// quoteShort quotes a value and cuts it: a message must stay readable when somebody passes a whole file.
func quoteShort(s string) string {
	const most = 80
	if len(s) > most {
		cut := most
		for cut > 0 && !utf8.RuneStart(s[cut]) {
			cut--
		}
		s = s[:cut] + "…"
	}
	return strconv.Quote(s)
}
