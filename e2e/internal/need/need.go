// Package need says which programs a test cannot do without. On a laptop a test whose program is missing is skipped, and named
// at the end of the run; where HEADGATE_REQUIRE_E2E or CI is set it fails, so that a green run has tested everything.
package need

import (
	"fmt"
	"os"
	"os/exec"
	"testing"
)

// reportFile names the file to which skipped tests are written, one line each; `make test` prints it last. go test shows no output of
// packages that pass.
const reportFile = "HEADGATE_SKIPPED"

// Program returns the path of a program, which may have several names. Without it the test is skipped, or fails where everything is
// required. debian is the package that has it.
func Program(t testing.TB, debian string, names ...string) string {
	t.Helper()
	for _, name := range names {
		for _, candidate := range []string{name, "/usr/sbin/" + name} { // Debian's proxies are outside a user's PATH
			if path, err := exec.LookPath(candidate); err == nil {
				return path
			}
		}
	}
	Missing(t, names[0], "apt-get install "+debian)
	return ""
}

// Missing skips the test, or fails it where everything is required. remedy is what the reader can do about it.
func Missing(t testing.TB, what, remedy string) {
	t.Helper()
	text := fmt.Sprintf("%s: not tested, %s is missing (%s)", t.Name(), what, remedy)
	if Required() {
		t.Fatal(text)
		return
	}
	report(text)
	t.Skip(text)
}

// Required says whether a missing program is a failure.
func Required() bool {
	return os.Getenv("CI") == "true" || os.Getenv("HEADGATE_REQUIRE_E2E") == "1"
}

func report(text string) {
	path := os.Getenv(reportFile)
	if path == "" {
		fmt.Fprintln(os.Stderr, text)
		return
	}
	f, err := os.OpenFile(path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644)
	if err != nil {
		fmt.Fprintln(os.Stderr, text, "and", err)
		return
	}
	defer f.Close()
	fmt.Fprintln(f, text)
}
