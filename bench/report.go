//go:build linux

package main

import (
	"fmt"
	"slices"
	"strings"
)

// Row is one line of the report: one question, answered for each server in the same run.
type Row struct {
	Name    string
	Unit    string
	Figures map[string]Figure // by kind of server
	Checks  []Check
	Notes   []string
	Noise   Noise

	whole map[string]wholeness // by kind of server
}

// Figure is the median of the passes and their range.
type Figure struct {
	Median, Min, Max float64
	Passes           int
}

// Check is one target.
type Check struct {
	Target string  // in words
	Got    float64 // what it compares, in the words' unit
	Met    bool
}

// samples collects one number per pass and server.
type samples map[string][]float64

func (s samples) add(kind string, v float64) { s[kind] = append(s[kind], v) }

// figures are the medians. A kind without a number has no figure.
func (s samples) figures() map[string]Figure {
	f := map[string]Figure{}
	for kind, v := range s {
		if len(v) == 0 {
			continue
		}
		sorted := slices.Sorted(slices.Values(v))
		f[kind] = Figure{Median: median(sorted), Min: sorted[0], Max: sorted[len(sorted)-1], Passes: len(v)}
	}
	return f
}

func median(sorted []float64) float64 {
	m := len(sorted) / 2
	if len(sorted)%2 == 1 {
		return sorted[m]
	}
	return (sorted[m-1] + sorted[m]) / 2
}

// atLeast and atMost compare headgate with a multiple of another server's median. They compare nothing when one is missing.
func (r *Row) atLeast(factor float64, kind string) {
	r.compare(">=", factor, kind, func(x float64) bool { return x >= factor })
}

func (r *Row) atMost(factor float64, kind string) {
	r.compare("<=", factor, kind, func(x float64) bool { return x <= factor })
}

func (r *Row) compare(sign string, factor float64, kind string, met func(float64) bool) {
	mine, ok1 := r.Figures["headgate"]
	other, ok2 := r.Figures[kind]
	if !ok1 || !ok2 || other.Median == 0 {
		return
	}
	x := mine.Median / other.Median
	r.Checks = append(r.Checks, Check{Target: fmt.Sprintf("%s %s x %s", sign, number(factor), kind), Got: x, Met: met(x)})
}

// below checks headgate's own figure against a fixed bound.
func (r *Row) below(bound float64) {
	if f, ok := r.Figures["headgate"]; ok {
		r.Checks = append(r.Checks, Check{Target: fmt.Sprintf("<= %s %s", number(bound), r.Unit), Got: f.Median, Met: f.Median <= bound})
	}
}

func (r *Row) note(format string, args ...any) {
	r.Notes = append(r.Notes, fmt.Sprintf(format, args...))
}

// number prints three significant digits, thousands set apart.
func number(v float64) string {
	switch a := max(v, -v); {
	case a == 0:
		return "0"
	case a >= 1e6:
		return fmt.Sprintf("%.2f M", v/1e6)
	case a >= 10_000:
		return fmt.Sprintf("%.0f k", v/1e3)
	case a >= 100:
		return fmt.Sprintf("%.0f", v)
	case a >= 10:
		return fmt.Sprintf("%.1f", v)
	case a >= 1:
		return strings.TrimSuffix(strings.TrimRight(fmt.Sprintf("%.2f", v), "0"), ".")
	}
	return strings.TrimRight(fmt.Sprintf("%.3f", v), "0")
}

func (f Figure) String() string {
	if f.Passes < 2 {
		return number(f.Median)
	}
	return fmt.Sprintf("%s (%s to %s)", number(f.Median), number(f.Min), number(f.Max))
}

// noisy is how much work of others makes a row doubtful, in cores.
const noisy = 0.2

// columns are the servers in the order of the table.
var columns = []string{"headgate", "bare", "bare-each", "naive", "hub", "receiver"}

func (r Row) line() string {
	var b strings.Builder
	fmt.Fprintf(&b, "| %s | %s |", r.Name, r.Unit)
	for _, c := range columns {
		text := ""
		if f, ok := r.Figures[c]; ok {
			text = f.String()
		}
		fmt.Fprintf(&b, " %s |", text)
	}
	var checks []string
	for _, c := range r.Checks {
		verdict := "met"
		if !c.Met {
			verdict = "**missed**"
		}
		checks = append(checks, fmt.Sprintf("%s: %s, %s", c.Target, number(c.Got), verdict))
	}
	others := fmt.Sprintf("%.2f", max(0, r.Noise.Others))
	if r.Noise.Steal >= 0.01 {
		others += fmt.Sprintf(" + %.2f stolen", r.Noise.Steal)
	}
	if r.Noise.Others+r.Noise.Steal > noisy {
		others += " (n)"
	}
	fmt.Fprintf(&b, " %s | %s |", strings.Join(checks, "; "), others)
	return b.String()
}
