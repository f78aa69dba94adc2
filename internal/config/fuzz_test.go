package config

import (
	"errors"
	"os"
	"slices"
	"strings"
	"testing"
)

// FuzzRoutes: whatever stands in a routes file, Load comes back, and every error has a place in it.
func FuzzRoutes(f *testing.F) {
	for _, name := range []string{"testdata/example.yaml", "testdata/every_use.yaml", "testdata/broken.yaml", "dev_routes.yaml"} {
		text, err := os.ReadFile(name)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(string(text))
	}
	for _, s := range []string{"", "\x00", "---\n---\n", "a: &a [*a]", "&a *a", "<<: *x", "? a\n: b", "!!binary x", "version: 1\nroutes: [~]", "version: 1\nroutes: [[]]",
		"version: 1\nroutes: [{name: a, path: /a, source: [x]}]", "version: [1]\nroutes: {", "\ufeffversion: 1", "version: 1\r\nroutes:\r\n  - name: a\r\n    heartbeet: 1",
		"version: 1\nroutes:\n  - {params: {a: b}, limits: 5, cors: [], event: x, publish: y, auth: no}", "<<: {<<: {<<: {a: b}}}", "version: .inf\nroutes: .nan",
		"version: 1\ndefaults: {resume: {<<: off}}", "? [a]\n: b\n? {c: d}\n: e", "routes: |\n  text\n", "routes: >-\n", "%YAML 1.1\n---\na: b", "a: 'x\n\n y'", "!!map {a: b}",
		"version: 1\nroutes: [{name: a, path: /a, source: {type: kv, bucket: B, key: \"{x}\"}, snapshot: [~], end: {when: {field: ., in: [.nan, [], 0x, 1e999]}}}]",
		"version: 1\nroutes: [{name: a, path: /a, source: {type: stream, stream: S, subject: a}, snapshot: &x since, end: *x, resume: {on_gap: snapshot}}]"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		_, _, err := Load(Options{Environ: []string{"AUTH_MODE=none", "ROUTES_FILE=/routes.yaml"}, ReadFile: files(map[string]string{"/routes.yaml": text})})
		if err == nil {
			return
		}
		var list Errors
		if !errors.As(err, &list) {
			t.Fatalf("%T", err)
		}
		lines := strings.Count(text, "\n") + 1
		for _, p := range list {
			if p.File != "/routes.yaml" || p.Line < 1 || p.Line > lines || p.Column < 1 || p.Message == "" {
				t.Errorf("without a place: %+v", p)
			}
		}
	})
}

// FuzzEnv: whatever the value of a variable, Load comes back and names the variable.
func FuzzEnv(f *testing.F) {
	list := fields()
	for i, x := range list {
		f.Add(i, x.example)
	}
	f.Fuzz(func(t *testing.T, i int, value string) {
		x := list[uint(i)%uint(len(list))]
		_, _, err := Load(Options{Environ: []string{"SUBJECTS_ALLOW=a", "AUTH_MODE=none", x.name + "=" + value}, ReadFile: files(nil)})
		if err == nil || strings.TrimSpace(value) == "" {
			return
		}
		for _, p := range err.(Errors) {
			if p.Variable != x.name && !slices.Contains(partners[x.name], p.Variable) {
				t.Errorf("%s=%q: %v", x.name, value, err)
			}
		}
	})
}

// partners are the variables that an error may name in place of the one that was given.
var partners = map[string][]string{
	"HTTP_ADDR":              {"ADMIN_ADDR"},
	"HTTP_TLS_CERT_FILE":     {"HTTP_TLS_KEY_FILE"},
	"HTTP_TLS_KEY_FILE":      {"HTTP_TLS_CERT_FILE"},
	"NATS_TLS_CERT_FILE":     {"NATS_TLS_KEY_FILE"},
	"NATS_TLS_KEY_FILE":      {"NATS_TLS_CERT_FILE"},
	"NATS_PASSWORD_FILE":     {"NATS_PASSWORD"},
	"SHUTDOWN_DRAIN":         {"SHUTDOWN_TIMEOUT"},
	"SHUTDOWN_DELAY":         {"SHUTDOWN_TIMEOUT"},
	"CORS_ALLOW_CREDENTIALS": {"CORS_ALLOWED_ORIGINS"},
}
