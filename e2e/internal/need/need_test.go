package need

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// fake notes how a test would have ended.
type fake struct {
	testing.TB
	skipped, failed string
}

func (f *fake) Helper()           {}
func (f *fake) Name() string      { return "TestOfSomething" }
func (f *fake) Skip(args ...any)  { f.skipped = args[0].(string) }
func (f *fake) Fatal(args ...any) { f.failed = args[0].(string) }

func TestProgram_MissingSkipsLoudlyOnALaptopAndFailsInCI(t *testing.T) {
	file := filepath.Join(t.TempDir(), "skipped")
	t.Setenv(reportFile, file)
	for env, required := range map[[2]string]bool{
		{"", ""}: false, {"true", ""}: true, {"", "1"}: true, {"true", "1"}: true,
	} {
		t.Setenv("CI", env[0])
		t.Setenv("HEADGATE_REQUIRE_E2E", env[1])
		f := &fake{TB: t}
		Program(f, "no-such-package", "no-such-program")
		if (f.failed != "") != required || (f.skipped != "") == required {
			t.Errorf("CI=%q HEADGATE_REQUIRE_E2E=%q: failed %q, skipped %q", env[0], env[1], f.failed, f.skipped)
		}
	}
	text, err := os.ReadFile(file)
	if err != nil || !strings.Contains(string(text), "TestOfSomething: not tested, no-such-program is missing (apt-get install no-such-package)") {
		t.Errorf("the report is %q, %v", text, err)
	}
}

func TestProgram_FindsWhatIsThere(t *testing.T) {
	f := &fake{TB: t}
	if path := Program(f, "dash", "sh"); path == "" || f.failed+f.skipped != "" {
		t.Errorf("sh: path %q, failed %q, skipped %q", path, f.failed, f.skipped)
	}
}
