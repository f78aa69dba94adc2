package deploy_test

import (
	"encoding/json"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// The list is of what is in the program: the modules that the go command finds in it, each with where it comes from.
func TestSBOM_ListsWhatIsInTheProgram(t *testing.T) {
	t.Parallel()
	out := t.TempDir()
	run(t, nil, "make", "--no-print-directory", "-C", "../..", "sbom", "OUT="+out, "VERSION=1.2.3")
	for file, program := range map[string][]string{
		"headgate_1.2.3_linux.cdx.json":   {"linux", ""},
		"headgate_1.2.3_darwin.cdx.json":  {"darwin", ""},
		"headgate_1.2.3_windows.cdx.json": {"windows", ""},
		"headgate_1.2.3_image.cdx.json":   {"linux", "nodev"},
	} {
		var list struct {
			BOMFormat, SpecVersion string
			Metadata               struct {
				Component struct{ Name, Version string }
			}
			Components []struct {
				Name, Version, Purl string
				Evidence            struct{ Licenses []any }
			}
		}
		if err := json.Unmarshal([]byte(read(t, filepath.Join(out, file))), &list); err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		if c := list.Metadata.Component; list.BOMFormat != "CycloneDX" || list.SpecVersion == "" || c.Name != "headgate" || c.Version != "1.2.3" {
			t.Errorf("%s is %s %s of %+v", file, list.BOMFormat, list.SpecVersion, c)
		}
		var got []string
		for _, c := range list.Components {
			if c.Name == "std" { // Go itself
				continue
			}
			got = append(got, c.Name+"@"+c.Version)
			if !strings.HasPrefix(c.Purl, "pkg:golang/"+c.Name) || len(c.Evidence.Licenses) == 0 {
				t.Errorf("%s: %s has the address %q and %d licences", file, c.Name, c.Purl, len(c.Evidence.Licenses))
			}
		}
		slices.Sort(got)
		const each = `{{with .Module}}{{if not .Main}}{{.Path}}@{{.Version}}{{end}}{{end}}`
		want := strings.Fields(run(t, nil, "env", "-C", "../..", "GOOS="+program[0], "CGO_ENABLED=0", "go", "list", "-deps", "-tags", program[1], "-f", each, "."))
		slices.Sort(want)
		if want = slices.Compact(want); !slices.Equal(got, want) {
			t.Errorf("%s lists\n%q, and the program has\n%q", file, got, want)
		}
	}
}
