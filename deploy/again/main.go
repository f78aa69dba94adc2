// Command again is go test for a machine that others use too: a test that fails is asked once more, alone, and both are said. What fails
// twice fails; so does at once what has nothing to do with a slow machine: a build, a panic, a data race, a leak, a time limit. Leaks are only
// looked for where all tests of a package pass (goleak.VerifyTestMain), so of a package with such a test it is said that they were not.
//
//	again [flags of go test] ./package…
package main

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"
	"strings"
)

func main() {
	flags, packages := split(os.Args[1:])
	if len(packages) == 0 {
		fmt.Fprintln(os.Stderr, "again: name packages, as ./... or ./bench, behind the flags of go test")
		os.Exit(2)
	}
	os.Exit(twice(os.Stdout, gotest, flags, packages))
}

// split divides the arguments: packages are those at the end that begin with a dot.
func split(args []string) (flags, packages []string) {
	at := len(args)
	for at > 0 && strings.HasPrefix(args[at-1], ".") {
		at--
	}
	return args[:at], args[at:]
}

// gotest runs go test -json and gives each line of what it prints; what it complains of itself goes to out.
func gotest(out io.Writer, args []string, line func([]byte)) error {
	cmd := exec.Command("go", append([]string{"test", "-json"}, args...)...)
	cmd.Stderr = out
	pipe, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	in := bufio.NewReader(pipe)
	for {
		text, err := in.ReadBytes('\n')
		if len(text) > 0 {
			line(text)
		}
		if err != nil {
			break
		}
	}
	return cmd.Wait()
}

type runner func(out io.Writer, args []string, line func([]byte)) error

// twice returns the exit code.
func twice(out io.Writer, run runner, flags, packages []string) int {
	first := newReport(out, flags)
	err := run(out, append(slices.Clone(flags), packages...), first.line)
	if err == nil && len(first.failed) == 0 {
		return 0
	}
	if len(first.failed) == 0 && len(first.causes) == 0 {
		first.causes = []string{fmt.Sprintf("go test: %v", err)}
	}
	if len(first.causes) > 0 {
		fmt.Fprintf(out, "== FAILED, and not tried again: %s\n", strings.Join(first.causes, "; "))
		return 1
	}
	code := 0
	for _, p := range first.packages() {
		tests := first.failed[p]
		fmt.Fprintf(out, "== FAILED ONCE, again and alone: %s %s\n", p, strings.Join(tests, " "))
		second := newReport(out, flags)
		args := append(slices.Clone(flags), "-count=1", "-parallel=1", "-run=^("+strings.Join(tests, "|")+")$", p)
		if err := run(out, args, second.line); err != nil || second.passed < len(tests) {
			fmt.Fprintf(out, "== FAILED TWICE: %s %s\n", p, strings.Join(tests, " "))
			code = 1
			continue
		}
		say(out, p, tests)
	}
	return code
}

// say notes what passed only when it was asked again where the end of a run shows it: it is to be mended all the same.
func say(out io.Writer, p string, tests []string) {
	text := fmt.Sprintf("%s: %s failed, and passed when asked again; what the package's other tests leak was not looked for", p, strings.Join(tests, " "))
	fmt.Fprintln(out, "== "+text)
	f, err := os.OpenFile(os.Getenv("HEADGATE_UNSTEADY"), os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644)
	if err != nil {
		return
	}
	fmt.Fprintln(f, text)
	_ = f.Close()
}
