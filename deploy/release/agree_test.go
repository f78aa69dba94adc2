package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// saying is a tree that says of itself what its arguments say.
func saying(t *testing.T, changelog, chart string) source {
	t.Helper()
	dir := t.TempDir()
	if err := os.MkdirAll(filepath.Join(dir, "deploy", "chart"), 0o755); err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{"CHANGELOG.md": "# Changelog\n\n" + changelog, "deploy/chart/Chart.yaml": "name: headgate\nversion: 9.9.9\n" + chart} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return source{dir}
}

func TestAgree_SaysWhatToChange(t *testing.T) {
	const log, chart = "## [Unreleased]\n\n## [1.2.3] - 2026-01-02\n\n### Added\n\n## [1.2.2] - 2026-01-01\n", "appVersion: \"1.2.3\"\n"
	for _, tc := range []struct{ name, version, changelog, chart, want string }{
		{"all agree", "1.2.3", log, chart, ""},
		{"a candidate", "1.3.0-rc.1", "## [1.3.0-rc.1] - 2026-01-02\n", "appVersion: 1.3.0-rc.1\n", ""},
		{"none", "", log, chart, "say it as 1.2.3"},
		{"with a v", "v1.2.3", log, chart, "without a v"},
		{"build metadata", "1.2.3+5", log, chart, "is no version"},
		{"a newer one", "1.3.0", log, chart, "under a heading ## [1.3.0] - 2"},
		{"an older one", "1.2.2", log, chart, "or release 1.2.3"},
		{"nothing released yet", "0.1.0", "## [Unreleased]\n", chart, "CHANGELOG.md has no release yet: put what is under [Unreleased] under a heading ## [0.1.0]"},
		{"without a date", "1.2.3", "## [1.2.3]\n", chart, "write ## [1.2.3] - 2"},
		{"a date that is none", "1.2.3", "## [1.2.3] - soon\n", chart, `dates 1.2.3 with "soon"`},
		{"another image", "1.2.3", log, "appVersion: \"1.2.2\"\n", `write appVersion: "1.2.3"`},
		{"no image", "1.2.3", log, "", "no appVersion"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			err := agree(saying(t, tc.changelog, tc.chart), tc.version)
			if tc.want == "" && err != nil || tc.want != "" && (err == nil || !strings.Contains(err.Error(), tc.want)) {
				t.Errorf("%v, and not %q", err, tc.want)
			}
		})
	}
}

// Between releases too, the chart installs the newest release: `helm install` of a tree whose changelog was cut works.
func TestAgree_OfThisTree(t *testing.T) {
	top, _, err := here.topRelease()
	if err != nil {
		t.Fatal(err)
	}
	chart, err := here.chartVersion()
	if err != nil {
		t.Fatal(err)
	}
	if top == "" {
		top = chart // the first release is to come
	}
	if err := agree(saying(t, "## ["+top+"] - 2026-01-02\n", `appVersion: "`+chart+`"`), top); err != nil {
		t.Error(err)
	}
}

func TestCommitted_ATreeWithChangesIsNotReleased(t *testing.T) {
	src := saying(t, "", "")
	git := func(args ...string) {
		t.Helper()
		cmd := exec.CommandContext(t.Context(), "git", args...)
		cmd.Dir = src.dir
		cmd.Env = append(os.Environ(), "GIT_CONFIG_GLOBAL=/dev/null", "GIT_CONFIG_SYSTEM=/dev/null", "GIT_AUTHOR_DATE=@1700000000 +0000", "GIT_COMMITTER_DATE=@1700000000 +0000")
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("git %v: %v %s", args, err, out)
		}
	}
	if _, err := src.stamp(t.Context(), "1.2.3"); err == nil || !strings.Contains(err.Error(), "clone of the repository") {
		t.Errorf("without a repository: %v", err)
	}
	git("init", "-q")
	git("add", ".")
	git("-c", "user.name=a", "-c", "user.email=a@example.com", "commit", "-qm", "all")
	if err := src.committed(t.Context()); err != nil {
		t.Error(err)
	}
	s, err := src.stamp(t.Context(), "1.2.3")
	if err != nil || len(s.commit) != 40 || s.time.Unix() != 1700000000 {
		t.Errorf("%v %+v", err, s)
	}
	if err := os.WriteFile(filepath.Join(src.dir, "new.go"), []byte("package a"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := src.committed(t.Context()); err == nil || !strings.Contains(err.Error(), "new.go") || !strings.Contains(err.Error(), "commit or stash") {
		t.Errorf("with a change: %v", err)
	}
}

func TestNotes_AreTheSectionOfTheRelease(t *testing.T) {
	src := saying(t, "## [Unreleased]\n\nsoon\n\n## [1.2.3] - 2026-01-02\n\n### Added\n- This.\n\n## [1.2.2] - 2026-01-01\n\n### Fixed\n- That.\n", "")
	for version, want := range map[string]string{"1.2.3": "### Added\n- This.\n", "1.2.2": "### Fixed\n- That.\n"} {
		if got, err := src.notes(version); err != nil || got != want {
			t.Errorf("%s: %q %v", version, got, err)
		}
	}
	if _, err := src.notes("1.2.4"); err == nil || !strings.Contains(err.Error(), "no section") {
		t.Errorf("%v", err)
	}
}
