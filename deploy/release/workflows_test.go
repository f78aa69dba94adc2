package main

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"
)

type workflow struct {
	On          any
	Permissions map[string]string
	Jobs        map[string]struct {
		Timeout     int `yaml:"timeout-minutes"`
		Permissions map[string]string
		Steps       []struct {
			Uses, Run, Shell string
			Env              map[string]string
		}
	}
}

func workflows(t *testing.T) map[string]workflow {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(here.dir, ".github", "workflows", "*"))
	if err != nil || len(files) != 2 {
		t.Fatalf("%v %v", files, err)
	}
	all := map[string]workflow{}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		var w workflow
		if err := yaml.Unmarshal(text, &w); err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		all[filepath.Base(file)] = w
	}
	return all
}

// What the code host runs, everybody can run; it has no steps of its own but to put the result on a page.
func TestWorkflows_RunWhatDevelopersRun(t *testing.T) {
	want := map[string][]string{
		"ci.yml":      {".ci/run"},
		"release.yml": {".ci/run", `make release VERSION="${TAG#v}"`, `gh release create "$TAG" --draft --verify-tag --title "$TAG" --notes-file dist/NOTES.md dist/headgate_* dist/SHA256SUMS`},
	}
	for name, w := range workflows(t) {
		var runs []string
		for _, job := range []string{"ci", "build", "draft"} { // in the order in which they run
			for _, s := range w.Jobs[job].Steps {
				if s.Run != "" {
					runs = append(runs, s.Run)
				}
			}
		}
		if !slices.Equal(runs, want[name]) {
			t.Errorf("%s runs %q, not %q", name, runs, want[name])
		}
	}
}

// Whoever sends a pull request writes branch names and code, and gets neither a shell nor a token that can write.
func TestWorkflows_TrustNoNamesAndMayWriteOnlyADraft(t *testing.T) {
	for name, w := range workflows(t) {
		if len(w.Permissions) != 1 || w.Permissions["contents"] != "read" {
			t.Errorf("%s: permissions %v", name, w.Permissions)
		}
		for id, job := range w.Jobs {
			if job.Timeout == 0 {
				t.Errorf("%s: the job %s may run forever", name, id)
			}
			if job.Permissions != nil && id != "draft" {
				t.Errorf("%s: the job %s has permissions of its own", name, id)
			}
			for _, s := range job.Steps {
				if strings.Contains(s.Run, "${{") {
					t.Errorf("%s: a value from outside becomes part of the script %q: hand it over in env", name, s.Run)
				}
				if s.Uses != "" && !strings.HasPrefix(s.Uses, "actions/") {
					t.Errorf("%s uses %s", name, s.Uses)
				}
			}
		}
	}
}
