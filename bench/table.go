//go:build linux

package main

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// table is the measured part of a report. It can be read back from a file, so that a run of some scenarios replaces their rows
// and leaves the others, each with the run it came from.
type table struct {
	runs []string // what was measured, with which command; a row's run is an index in it, plus one
	rows []tableRow
}

type tableRow struct {
	name  string
	cells string // the row as it is printed, but for its last cell, the run
	run   int
	notes []string
}

// newTable is what one run has measured.
func newTable(machine []string, command string, rows []Row) table {
	t := table{runs: []string{"`" + command + "`: " + strings.Join(machine, "; ")}}
	for _, r := range rows {
		t.rows = append(t.rows, tableRow{r.Name, r.line(), 1, r.Notes})
	}
	return t
}

// parseTable reads what String has written. What it does not know it leaves out.
func parseTable(text string) table {
	var t table
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		number, run, isRun := strings.Cut(line, ". ")
		cells := strings.Split(strings.Trim(line, "| "), " | ")
		switch {
		case isRun && number == strconv.Itoa(len(t.runs)+1):
			t.runs = append(t.runs, run)
		case strings.HasPrefix(line, "| "):
			if run, err := strconv.Atoi(cells[len(cells)-1]); err == nil && run >= 1 && run <= len(t.runs) {
				t.rows = append(t.rows, tableRow{name: cells[0], cells: strings.TrimSuffix(line, fmt.Sprintf(" %d |", run)), run: run})
			}
		case strings.HasPrefix(line, "- "):
			for i := range t.rows {
				if note, ok := strings.CutPrefix(line[2:], t.rows[i].name+": "); ok {
					t.rows[i].notes = append(t.rows[i].notes, note)
				}
			}
		}
	}
	return t
}

// merge puts the rows of a later run in the place of those of the same name; new ones come last. Runs of which no row is left are forgotten.
func (t table) merge(later table) table {
	merged := table{runs: slices.Concat(t.runs, later.runs), rows: slices.Clone(t.rows)}
	for _, r := range later.rows {
		r.run += len(t.runs)
		i := slices.IndexFunc(merged.rows, func(old tableRow) bool { return old.name == r.name })
		if i < 0 {
			merged.rows = append(merged.rows, r)
			continue
		}
		merged.rows[i] = r
	}
	var kept []string
	number := map[int]int{}
	for n, text := range merged.runs {
		if slices.ContainsFunc(merged.rows, func(r tableRow) bool { return r.run == n+1 }) {
			kept = append(kept, text)
			number[n+1] = len(kept)
		}
	}
	for i := range merged.rows {
		merged.rows[i].run = number[merged.rows[i].run]
	}
	merged.runs = kept
	return merged
}

// String is Markdown.
func (t table) String() string {
	var b strings.Builder
	b.WriteString("The last column says in which of these runs a row was measured:\n\n")
	for n, run := range t.runs {
		fmt.Fprintf(&b, "%d. %s\n", n+1, run)
	}
	met, missed := 0, 0
	for _, r := range t.rows {
		met += strings.Count(r.cells, ", met")
		missed += strings.Count(r.cells, ", **missed**")
	}
	fmt.Fprintf(&b, "\nTargets met: %d, missed: %d. Figures are medians, with the range of the passes in brackets.\n\n", met, missed)
	b.WriteString("| what | unit |")
	for _, c := range columns {
		fmt.Fprintf(&b, " %s |", c)
	}
	b.WriteString(" target: measured | others | run |\n|---|---|" + strings.Repeat("---|", len(columns)+3) + "\n")
	for _, r := range t.rows {
		fmt.Fprintf(&b, "%s %d |\n", r.cells, r.run)
	}
	b.WriteString("\n")
	for _, r := range t.rows {
		for _, n := range r.notes {
			fmt.Fprintf(&b, "- %s: %s\n", r.name, n)
		}
	}
	return b.String()
}
