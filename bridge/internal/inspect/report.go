package inspect

import (
	"fmt"
	"io"
	"strings"
)

// Level is how bad a finding is.
type Level uint8

// The levels.
const (
	Note    Level = iota // how it is
	Warning              // it works, and not as the route promises
	Error                // it does not work
)

func (l Level) String() string { return [...]string{"note", "warning", "error"}[l] }

// Finding is one thing that an operator should know.
type Finding struct {
	Where  string
	Level  Level
	Text   string
	Remedy string // "" where there is nothing to be done
}

// Report is what an inspection has found.
type Report struct {
	Server      string
	Findings    []Finding
	Checks      int // that found nothing wrong
	Permissions Permissions
}

func (r *Report) checked()      { r.Checks++ }
func (r *Report) add(f Finding) { r.Findings = append(r.Findings, f) }

// count is how many findings are of a level.
func (r *Report) count(l Level) (n int) {
	for _, f := range r.Findings {
		if f.Level == l {
			n++
		}
	}
	return n
}

// Failed says whether something does not work.
func (r *Report) Failed() bool { return r.count(Error) > 0 }

// WriteTo writes the report for people: findings by place, what they amount to, then the permissions.
func (r *Report) WriteTo(w io.Writer) (int64, error) {
	var b strings.Builder
	fmt.Fprintf(&b, "Checked against NATS at %s.\n", r.Server)
	for n, f := range r.Findings {
		if n == 0 || r.Findings[n-1].Where != f.Where {
			fmt.Fprintf(&b, "\n%s\n", f.Where)
		}
		fmt.Fprintf(&b, "    %s: %s\n", f.Level, f.Text)
		if f.Remedy != "" {
			fmt.Fprintf(&b, "        remedy: %s\n", f.Remedy)
		}
	}
	fmt.Fprintf(&b, "\n%s, %s, %s; %s found nothing wrong.\n", counted(r.count(Error), "error"), counted(r.count(Warning), "warning"),
		counted(r.count(Note), "note"), counted(r.Checks, "check"))
	b.WriteString("\n" + r.Permissions.String())
	n, err := io.WriteString(w, b.String())
	return int64(n), err
}

func counted(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}
