//go:build linux

// Command bench measures headgate against a naive server and a bare loop of sends, in the same run, and writes a report.
// README.md says how to read it.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"time"
)

func main() {
	if runRole() {
		return
	}
	if err := suite(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

// options are what the flags say.
type options struct {
	size     Size
	sizeName string
	only     string
	servers  []string
	out      string
	limit    time.Duration
	chosen   []Scenario
}

func parse(args []string) (o options, err error) {
	flags := flag.NewFlagSet("bench", flag.ContinueOnError)
	sizeName := flags.String("size", "full", "full (the report's), quick, or test")
	only := flags.String("only", "", "comma list of scenarios: "+names())
	servers := flags.String("servers", "headgate,bare,bare-each,naive,hub,receiver", "servers to compare")
	out := flags.String("o", "", "write the report into this file; docs/performance.md when everything runs at full size; with -only the rows of other scenarios stay")
	passes := flags.Int("passes", 0, "passes per row; 0 = what the size says")
	streams := flags.Int("streams", 1_000_000, "streams of the scenario million")
	patience := flags.Duration("patience", 0, "wait up to this long before each measurement for a quiet machine")
	limit := flags.Duration("timeout", 3*time.Hour, "give up after this long")
	if err := flags.Parse(args); err != nil {
		return o, err
	}
	size, ok := sizes[*sizeName]
	if !ok {
		return o, fmt.Errorf("-size %q: want full, quick or test", *sizeName)
	}
	if *passes > 0 {
		size.Passes = *passes
	}
	size.Million, size.Patience = *streams, *patience
	chosen, err := choose(*only)
	return options{size, *sizeName, *only, strings.Split(*servers, ","), *out, *limit, chosen}, err
}

// suite is the command, and what the test runs in small.
func suite(args []string) error {
	o, err := parse(args)
	if err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	ctx, cancel := context.WithTimeoutCause(ctx, o.limit, fmt.Errorf("not finished after %v", o.limit))
	defer cancel()
	command := strings.TrimSpace("go run ./bench " + strings.Join(args, " "))
	machine, rows, err := run(ctx, o.size, o.servers, o.chosen)
	measured := newTable(machine, command, rows)
	fmt.Println(measured)
	if err != nil {
		return err
	}
	if o.out == "" && o.only == "" && o.sizeName == "full" {
		root, err := moduleRoot()
		if err != nil {
			return err
		}
		o.out = filepath.Join(root, "docs", "performance.md")
	}
	if o.out == "" {
		return nil
	}
	return writeReport(o.out, measured, o.only != "")
}

// run measures. The rows that are done are returned also when a later one fails.
func run(ctx context.Context, size Size, kinds []string, chosen []Scenario) (machine []string, rows []Row, err error) {
	// The children end with the thread that started them: it must be one that stays.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	runtime.GOMAXPROCS(4) // swarm, publisher and the rest, on one core
	files, err := raiseFiles()
	if err != nil {
		return nil, nil, fmt.Errorf("open files: %w", err)
	}
	if need := max(size.Idle, size.Many) + 200; files < need {
		return nil, nil, fmt.Errorf("at most %d open files, %d are needed: raise the hard limit (ulimit -Hn) or use -size quick", files, need)
	}
	if err := chooseCores(); err != nil {
		return nil, nil, err
	}
	lab, err := NewLab(ctx, size, kinds, logf)
	if err != nil {
		return nil, nil, err
	}
	defer lab.Close()
	machine = machineText(ctx, lab.root)
	for _, s := range chosen {
		start := now()
		more, err := s.Run(lab)
		rows = append(rows, more...)
		if err != nil {
			return machine, rows, fmt.Errorf("%s: %w", s.Name, err)
		}
		for _, r := range more {
			logf("%s", r.line())
		}
		logf("%s took %v", s.Name, time.Duration(now()-start).Round(time.Second))
	}
	return machine, rows, nil
}

func logf(format string, args ...any) {
	fmt.Fprintf(os.Stderr, "%7.1fs "+format+"\n", append([]any{time.Since(epoch).Seconds()}, args...)...)
}

func names() string {
	var list []string
	for _, s := range scenarios {
		list = append(list, s.Name)
	}
	return strings.Join(list, ",")
}

// choose takes the named scenarios, or all that are not optional.
func choose(only string) ([]Scenario, error) {
	if only == "" {
		return slices.DeleteFunc(slices.Clone(scenarios), func(s Scenario) bool { return s.Opt }), nil
	}
	var chosen []Scenario
	for name := range strings.SplitSeq(only, ",") {
		i := slices.IndexFunc(scenarios, func(s Scenario) bool { return s.Name == name })
		if i < 0 {
			return nil, fmt.Errorf("-only %q: there are %s", name, names())
		}
		chosen = append(chosen, scenarios[i])
	}
	return chosen, nil
}

// The part of the report file between these marks is made by this program; the rest is written by hand.
const (
	beginMark = "<!-- measured: begin -->"
	endMark   = "<!-- measured: end -->"
)

// writeReport replaces the measured part of a file, or makes the file. With keep, rows that were not measured now stay.
func writeReport(path string, measured table, keep bool) error {
	old, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	head, rest, ok1 := strings.Cut(string(old), beginMark)
	before, tail, ok2 := strings.Cut(rest, endMark)
	if !ok1 || !ok2 {
		head, before, tail = "# Performance\n\n", "", "\n"
	}
	if keep {
		measured = parseTable(before).merge(measured)
	}
	return os.WriteFile(path, []byte(head+beginMark+"\n\n"+measured.String()+"\n"+endMark+tail), 0o644)
}
