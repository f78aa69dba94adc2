package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// Each is a package of tests, that is run for real; the directory is written in place of DIR.
var cases = map[string]struct {
	tests    string
	code     int
	says     []string
	saysNot  string
	unsteady string
}{
	"all pass": {`func TestA(t *testing.T) { t.Log("nobody reads this") }`, 0, []string{"ok  \ttried"}, "nobody reads this", ""},
	"fails once": {`func TestA(t *testing.T) { once(t) }
func TestB(t *testing.T) {}`, 0, []string{"--- FAIL: TestA", "the first time", "FAILED ONCE, again and alone: tried TestA\n"}, "TestB", "tried: TestA failed, and passed when asked again; what the package's other tests leak was not looked for\n"},
	"a part fails once": {`func TestA(t *testing.T) { t.Run("part", once) }`, 0, []string{"--- FAIL: TestA/part", "FAILED ONCE, again and alone: tried TestA\n"}, "",
		"tried: TestA failed, and passed when asked again; what the package's other tests leak was not looked for\n"},
	"fails twice":               {`func TestA(t *testing.T) { t.Error("always") }`, 1, []string{"FAILED TWICE: tried TestA\n"}, "", ""},
	"one once and one twice":    {"func TestA(t *testing.T) { once(t) }\nfunc TestB(t *testing.T) { t.Error(1) }", 1, []string{"FAILED TWICE: tried TestA TestB\n"}, "", ""},
	"fails and is then skipped": {`func TestA(t *testing.T) { if there() { t.Skip() }; once(t) }`, 1, []string{"FAILED TWICE: tried TestA\n"}, "", ""},
	"does not build":            {`func TestA(t *testing.T) { nonsense() }`, 1, []string{"undefined: nonsense", "not tried again: ", "does not build"}, "ONCE", ""},
	"panics":                    {`func TestA(t *testing.T) { if !there() { once2(); panic("oh") } }`, 1, []string{"not tried again: ", "panic: oh"}, "ONCE", ""},
	"a program it runs races":   {`func TestA(t *testing.T) { t.Log("headgate wrote: WARNING: DATA RACE"); once(t) }`, 1, []string{"not tried again: "}, "ONCE", ""},
	"races, in the report of another": {`func TestA(t *testing.T) { if !there() { once2(); t.Error("race detected during execution of test") } }
func TestB(t *testing.T) { t.Log("WARNING: DATA RACE") }`, 1, []string{"not tried again: "}, "ONCE", ""},
	"what passes may say panic": {`func TestA(t *testing.T) { t.Log("panic: as it should") }
func TestB(t *testing.T) { once(t) }`, 0, []string{"FAILED ONCE"}, "as it should", "tried: TestB failed, and passed when asked again; what the package's other tests leak was not looked for\n"},
	"leaks": {`func TestA(t *testing.T) {}
func TestMain(m *testing.M) { m.Run(); fmt.Println("found unexpected goroutines"); os.Exit(1) }`, 1, []string{"not tried again: ", "found unexpected goroutines"}, "ONCE", ""},
}

const head = `package tried

import (
	"fmt"
	"os"
	"testing"
)

var _ = fmt.Sprint

func there() bool { _, err := os.Stat("DIR/once"); return err == nil }

func once2() { _ = os.WriteFile("DIR/once", nil, 0o600) }

func once(t *testing.T) {
	if !there() {
		once2()
		t.Error("the first time")
	}
}

`

func TestAgain_OnlyWhatASlowMachineCanDoGetsASecondChance(t *testing.T) {
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			for file, text := range map[string]string{"go.mod": "module tried\n", "some_test.go": strings.ReplaceAll(head+c.tests, "DIR", dir)} {
				if err := os.WriteFile(filepath.Join(dir, file), []byte(text), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			t.Chdir(dir)
			unsteady := filepath.Join(dir, "unsteady")
			t.Setenv("HEADGATE_UNSTEADY", unsteady)
			var out strings.Builder
			if code := twice(&out, gotest, []string{"-vet=off"}, []string{"./..."}); code != c.code {
				t.Errorf("ends with %d", code)
			}
			for _, want := range c.says {
				if !strings.Contains(out.String(), want) {
					t.Errorf("does not say %q", want)
				}
			}
			if c.saysNot != "" && strings.Contains(out.String(), c.saysNot) {
				t.Errorf("says %q", c.saysNot)
			}
			noted, _ := os.ReadFile(unsteady)
			if string(noted) != c.unsteady {
				t.Errorf("notes %q", noted)
			}
			if t.Failed() {
				t.Log(out.String())
			}
		})
	}
}

func TestAgain_WithVWhatPassesIsShownToo(t *testing.T) {
	dir := t.TempDir()
	for file, text := range map[string]string{"go.mod": "module tried\n", "some_test.go": head + `func TestA(t *testing.T) { t.Log("a figure") }`} {
		if err := os.WriteFile(filepath.Join(dir, file), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	t.Chdir(dir)
	var out strings.Builder
	if code := twice(&out, gotest, []string{"-v"}, []string{"."}); code != 0 || !strings.Contains(out.String(), "a figure\n--- PASS: TestA") {
		t.Errorf("ends with %d:\n%s", code, out.String())
	}
}

func TestSplit_PackagesAreTheLast(t *testing.T) {
	flags, packages := split([]string{"-run", "TestMemory_", "-timeout", "30m", "./bridge", "./..."})
	if strings.Join(flags, " ") != "-run TestMemory_ -timeout 30m" || strings.Join(packages, " ") != "./bridge ./..." {
		t.Errorf("%q %q", flags, packages)
	}
}
