package config

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"reflect"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write the generated files anew")

const reference = "../../docs/configuration.md"

// The generated parts of the page stand between these lines; the rest is written by hand.
func marks(part string) (begin, end string) {
	return "<!-- generated: " + part + " -->\n", "<!-- end of " + part + " -->\n"
}

func TestReference_IsWhatTheStructsSay(t *testing.T) {
	page, err := os.ReadFile(reference)
	if err != nil {
		t.Fatal(err)
	}
	example, err := os.ReadFile("testdata/example.yaml")
	if err != nil {
		t.Fatal(err)
	}
	fresh := page
	for part, text := range map[string]string{
		"environment": environmentTables(), "routes": routesTables(), "example": "```yaml\n" + string(example) + "```\n",
	} {
		begin, end := marks(part)
		before, rest, ok1 := bytes.Cut(fresh, []byte(begin))
		_, after, ok2 := bytes.Cut(rest, []byte(end))
		if !ok1 || !ok2 {
			t.Fatalf("%s has no part between %q and %q", reference, begin, end)
		}
		fresh = fmt.Appendf(nil, "%s%s%s%s%s", before, begin, text, end, after)
	}
	if bytes.Equal(page, fresh) {
		return
	}
	if !*update {
		t.Fatalf("%s is stale; run: go test ./internal/config -run Reference -update", reference)
	}
	if err := os.WriteFile(reference, fresh, 0o644); err != nil {
		t.Fatal(err)
	}
}

func TestReference_EveryFieldIsDescribed(t *testing.T) {
	for _, f := range fields() {
		if f.doc == "" || f.name == "" {
			t.Errorf("%+v has no doc tag or no name", f)
		}
	}
	for _, s := range yamlStructs() {
		for _, m := range members(s.typ) {
			if m.doc == "" || m.name == "" {
				t.Errorf("%s: %+v has no doc tag or no name", s.title, m)
			}
		}
	}
}

func environmentTables() string {
	var b strings.Builder
	defaults, group := DefaultConfig(), ""
	for _, f := range fields() {
		if f.group != group {
			group = f.group
			fmt.Fprintf(&b, "\n### %s\n\n| variable | default | form | meaning |\n|---|---|---|---|\n", group)
		}
		fmt.Fprintf(&b, "| `%s` | %s | %s | %s |\n", f.name, code(f.text(&defaults)), formOf(f.typ, f.oneOf), cell(f.doc))
	}
	return b.String() + "\n"
}

// formOf is the unit column: what kind of value.
func formOf(t reflect.Type, oneOf []string) string {
	if len(oneOf) > 0 {
		quoted := make([]string, len(oneOf))
		for i, s := range oneOf {
			quoted[i] = code(s)
		}
		return strings.Join(quoted, ", ")
	}
	switch t {
	case reflect.TypeFor[Duration]():
		return "duration"
	case reflect.TypeFor[Bytes]():
		return "size"
	case reflect.TypeFor[bool]():
		return "true, false"
	case reflect.TypeFor[int](), reflect.TypeFor[float64]():
		return "number"
	case reflect.TypeFor[[]string]():
		return "comma list"
	}
	return "text"
}

type yamlStruct struct {
	title string
	typ   reflect.Type
}

// yamlStructs are the mappings of the routes file that this version understands, each once, outermost first.
func yamlStructs() []yamlStruct {
	list := []yamlStruct{{"The file", reflect.TypeFor[routesFile]()}, {"`routes[]`: a route", reflect.TypeFor[routeYAML]()}}
	for i := 0; i < len(list); i++ {
		for _, m := range members(list[i].typ) {
			t := m.inner()
			known := t.Kind() != reflect.Struct || m.later != "" || t == reflect.TypeFor[sharedYAML]()
			for _, s := range list {
				known = known || s.typ == t
			}
			if !known {
				title := m.name
				if m.typ.Kind() == reflect.Map {
					title += ".<" + map[string]string{"params": "placeholder", "require": "claim"}[m.name] + ">"
				}
				if t == reflect.TypeFor[identityYAML]() {
					title += " of the file"
				}
				list = append(list, yamlStruct{"`" + title + "`", t})
			}
		}
	}
	return list
}

func routesTables() string {
	var b strings.Builder
	shared := members(reflect.TypeFor[sharedYAML]())
	for _, s := range yamlStructs() {
		fmt.Fprintf(&b, "\n### %s\n\n| field | default | form | meaning |\n|---|---|---|---|\n", s.title)
		for _, m := range members(s.typ) {
			if m.hidden || m.later != "" {
				continue
			}
			def := code(m.def)
			if m.required {
				def = "must be said"
			} else if strings.ContainsAny(m.def, " ,") {
				def = m.def
			}
			doc := cell(m.doc)
			if s.typ == reflect.TypeFor[routeYAML]() && hasMember(shared, m.name) {
				doc += " *(also in `defaults`)*"
			}
			if m.example != "" {
				doc += "; e.g. `" + strings.ReplaceAll(m.example, "|", "\\|") + "`"
			}
			fmt.Fprintf(&b, "| `%s` | %s | %s | %s |\n", m.name, def, memberForm(m), doc)
		}
	}
	return b.String() + "\n"
}

func hasMember(list []member, name string) bool {
	for _, m := range list {
		if m.name == name {
			return true
		}
	}
	return false
}

func memberForm(m member) string {
	inner := m.inner()
	form := formOf(inner, m.oneOf)
	if inner.Kind() == reflect.Struct {
		form = "mapping"
	}
	switch {
	case m.name == "resume":
		return "mapping, or `off`"
	case m.name == "require":
		return "mapping of claims"
	case m.name == "snapshot":
		return "mapping, or its `mode`"
	case m.typ.Kind() == reflect.Slice:
		return "list"
	case m.typ.Kind() == reflect.Map:
		return "mapping"
	}
	return form
}

func code(s string) string {
	if s == "" {
		return "–"
	}
	return "`" + s + "`"
}

func cell(s string) string { return strings.ReplaceAll(s, "|", "\\|") }
