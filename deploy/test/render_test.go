package deploy_test

import (
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"
)

type object = map[string]any

// template runs helm template and gives what it printed, or its error.
func template(t *testing.T, args ...string) (string, error) {
	t.Helper()
	cmd := exec.Command(built(t, bin.helm), append([]string{"template", "r", chart, "--namespace", "edge"}, args...)...)
	var stderr strings.Builder
	cmd.Stderr = &stderr
	text, err := cmd.Output()
	if err != nil {
		return stderr.String(), err
	}
	return string(text), nil
}

// render gives the objects that the chart makes.
func render(t *testing.T, args ...string) []object {
	t.Helper()
	text, err := template(t, args...)
	if err != nil {
		t.Fatalf("helm template %v: %v\n%s", args, err, text)
	}
	var objects []object
	for _, document := range strings.Split("\n"+text, "\n---\n") {
		var o object
		if err := yaml.UnmarshalStrict([]byte(document), &o); err != nil {
			t.Fatalf("%v\n%s", err, document)
		}
		if len(o) > 0 {
			objects = append(objects, o)
		}
	}
	return objects
}

// scenarios are the values files of deploy/chart/ci.
func scenarios(t *testing.T) map[string][]object {
	t.Helper()
	files, _ := filepath.Glob(chart + "/ci/*-values.yaml")
	if len(files) < 4 {
		t.Fatalf("only %v", files)
	}
	out := map[string][]object{}
	for _, file := range files {
		out[strings.TrimSuffix(filepath.Base(file), "-values.yaml")] = render(t, "-f", file)
	}
	return out
}

// find gives the first object of the kind, whose name ends so.
func find(t *testing.T, objects []object, kind, suffix string) object {
	t.Helper()
	for _, o := range objects {
		if o["kind"] == kind && strings.HasSuffix(dig(o, "metadata", "name").(string), suffix) {
			return o
		}
	}
	t.Fatalf("no %s …%s", kind, suffix)
	return nil
}

// dig follows keys and indexes; nil when there is nothing.
func dig(v any, path ...any) any {
	for _, p := range path {
		switch p := p.(type) {
		case string:
			m, _ := v.(object)
			v = m[p]
		case int:
			l, _ := v.([]any)
			if p >= len(l) {
				return nil
			}
			v = l[p]
		}
	}
	return v
}

// podSpec is the one of the Deployment, with its only container.
func podSpec(t *testing.T, objects []object) (spec, container object) {
	t.Helper()
	spec = dig(find(t, objects, "Deployment", ""), "spec", "template", "spec").(object)
	return spec, dig(spec, "containers", 0).(object)
}

// environment is the container's, without what comes from elsewhere.
func environment(container object) map[string]string {
	out := map[string]string{}
	entries, _ := container["env"].([]any)
	for _, e := range entries {
		if value, ok := dig(e, "value").(string); ok {
			out[dig(e, "name").(string)] = value
		}
	}
	return out
}

// templates are the texts of the chart's templates.
func templates(t *testing.T) []string {
	t.Helper()
	var texts []string
	for _, pattern := range []string{"/templates/*", "/templates/tests/*"} {
		files, _ := filepath.Glob(chart + pattern)
		for _, file := range files {
			if strings.Contains(filepath.Base(file), ".") {
				texts = append(texts, read(t, file))
			}
		}
	}
	if len(texts) < 10 {
		t.Fatalf("%d templates", len(texts))
	}
	return texts
}
