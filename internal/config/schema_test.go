package config

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"
	"pgregory.net/rapid"
)

const schemaFile = "../../docs/routes.schema.json"

func TestSchema_TheFileInTheDocsIsWhatTheStructsSay(t *testing.T) {
	if *update {
		if err := os.WriteFile(schemaFile, RoutesSchema(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if text, err := os.ReadFile(schemaFile); err != nil || !bytes.Equal(text, RoutesSchema()) {
		t.Fatalf("%s is stale (%v); run: go test ./internal/config -run Schema -update", schemaFile, err)
	}
}

// conforms judges a value by a schema: the keywords that ours has, by draft-07. Any other one is a fault of this test.
func conforms(t testing.TB, s map[string]any, v any, path string) (complaint string) {
	for _, keyword := range slices.Sorted(maps.Keys(s)) {
		arg, bad := s[keyword], false
		switch keyword {
		case "$schema", "title", "description", "default", "examples":
		case "type":
			names, several := arg.([]any)
			if !several {
				names = []any{arg}
			}
			bad = !slices.ContainsFunc(names, func(n any) bool { return isType(n.(string), v) })
		case "enum":
			bad = !slices.ContainsFunc(arg.([]any), func(e any) bool { return reflect.DeepEqual(e, v) })
		case "pattern":
			text, ok := v.(string)
			bad = ok && !regexp.MustCompile(arg.(string)).MatchString(text)
		case "minimum":
			n, ok := v.(float64)
			bad = ok && n < arg.(float64)
		case "maximum":
			n, ok := v.(float64)
			bad = ok && n > arg.(float64)
		case "required":
			o, ok := v.(map[string]any)
			for _, name := range arg.([]any) {
				if _, has := o[name.(string)]; ok && !has {
					return path + ": " + name.(string) + " is missing"
				}
			}
		case "properties", "additionalProperties":
			o, _ := v.(map[string]any)
			known, _ := s["properties"].(map[string]any)
			for name, x := range o {
				below, ok := known[name].(map[string]any)
				if keyword == "additionalProperties" {
					if ok {
						continue
					}
					if below, ok = arg.(map[string]any); !ok {
						return path + ": " + name + " is unknown"
					}
				} else if !ok {
					continue
				}
				if c := conforms(t, below, x, path+"."+name); c != "" {
					return c
				}
			}
		case "items":
			list, _ := v.([]any)
			for i, x := range list {
				if c := conforms(t, arg.(map[string]any), x, fmt.Sprintf("%s[%d]", path, i)); c != "" {
					return c
				}
			}
		case "anyOf":
			var all []string
			for _, one := range arg.([]any) {
				all = append(all, conforms(t, one.(map[string]any), v, path))
			}
			if !slices.Contains(all, "") {
				return "none of: " + strings.Join(all, "; ")
			}
		default:
			t.Fatalf("this test does not know the keyword %s", keyword)
		}
		if bad {
			return fmt.Sprintf("%s: %v against %s %v", path, v, keyword, arg)
		}
	}
	return ""
}

func isType(name string, v any) bool {
	switch v := v.(type) {
	case nil:
		return name == "null"
	case bool:
		return name == "boolean"
	case string:
		return name == "string"
	case float64:
		return name == "number" || name == "integer" && v == math.Trunc(v)
	case []any:
		return name == "array"
	}
	return name == "object"
}

// parsed is the schema, read back.
func parsed(t testing.TB) map[string]any {
	var s map[string]any
	if err := json.Unmarshal(RoutesSchema(), &s); err != nil {
		t.Fatal(err)
	}
	return s
}

// plainValue is a YAML text as the values of JSON, as an editor sees it.
func plainValue(text []byte) (any, error) {
	var v any
	if err := yaml.Unmarshal(text, &v); err != nil {
		return nil, err
	}
	b, err := json.Marshal(v)
	if err != nil {
		return nil, err
	}
	v = nil
	return v, json.Unmarshal(b, &v)
}

// decodes says what the decoder alone thinks of a text: fields, types, values, bounds.
func decodes(text []byte) error {
	var f routesFile
	r := &report{}
	decodeFile("routes.yaml", text, &f, r)
	if len(r.problems) > 0 {
		return Errors(r.problems)
	}
	return nil
}

// full has every field of the format once, with values from the tags.
func full(typ reflect.Type, m member) any {
	switch {
	case typ == reflect.TypeFor[literal]():
		return "x"
	case typ.Kind() == reflect.Struct && typ.Implements(reflect.TypeFor[interface{ isVal() }]()):
		return full(typ.Field(0).Type, m)
	case typ.Kind() == reflect.Slice:
		return []any{full(typ.Elem(), m)}
	case typ.Kind() == reflect.Map:
		return map[string]any{"p": full(typ.Elem(), m)}
	case typ.Kind() == reflect.Struct:
		o := map[string]any{}
		for _, m := range members(typ) {
			if m.later == "" {
				o[m.name] = full(m.typ, m)
			}
		}
		return o
	case len(m.oneOf) > 0:
		return m.oneOf[0]
	}
	switch typ {
	case reflect.TypeFor[Duration]():
		return "1h"
	case reflect.TypeFor[bool]():
		return true
	case reflect.TypeFor[string]():
		return "text"
	}
	return 50.0
}

// corpus are routes files that are fine, and one that has every field.
func corpus(t testing.TB) map[string][]byte {
	files := map[string][]byte{"dev_routes.yaml": devRoutes}
	examples, err := filepath.Glob("../../examples/*/routes.yaml")
	if err != nil || len(examples) < 5 {
		t.Fatal(examples, err)
	}
	for _, name := range append(examples, "testdata/example.yaml", "testdata/every_use.yaml") {
		if files[name], err = os.ReadFile(name); err != nil {
			t.Fatal(err)
		}
	}
	if files["every field"], err = json.Marshal(full(reflect.TypeFor[routesFile](), member{})); err != nil {
		t.Fatal(err)
	}
	return files
}

func TestSchema_AcceptsWhatIsFineAndRefusesTheBrokenFixture(t *testing.T) {
	s := parsed(t)
	for name, text := range corpus(t) {
		v, err := plainValue(text)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if err := decodes(text); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if c := conforms(t, s, v, ""); c != "" {
			t.Errorf("%s: %s", name, c)
		}
	}
	text, err := os.ReadFile("testdata/broken.yaml")
	if err != nil {
		t.Fatal(err)
	}
	v, err := plainValue(text)
	if err != nil || conforms(t, s, v, "") == "" {
		t.Error("broken.yaml is accepted", err)
	}
}

// In a file with every field each value is replaced by values of every kind, and each mapping gets a field that nobody knows: schema and
// decoder must think the same of it.
func TestSchema_ThinksOfEveryFieldAsTheDecoderDoes(t *testing.T) {
	s, n, refused := parsed(t), 0, 0
	v, err := plainValue(corpus(t)["every field"])
	if err != nil {
		t.Fatal(err)
	}
	mutate(v, func(what string, value any) {
		changed, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		n++
		complaint, err := conforms(t, s, v, ""), decodes(changed)
		if err != nil {
			refused++
		}
		if _, text := value.(string); text && complaint == "" && err != nil && outOfBounds.MatchString(err.Error()) {
			return // a bound of what is written as text, which a pattern cannot say
		}
		if (complaint == "") != (err == nil) {
			t.Errorf("%s: %v: the schema says %q, the decoder %v", what, value, complaint, err)
		}
	})
	t.Logf("%d files, %d of them refused", n, refused)
	if n < 1000 || refused < n/4 {
		t.Error("too little to prove anything")
	}
}

var outOfBounds = regexp.MustCompile(`has an error:\n\n.*: (\S+: )?too (small|large)\n`)

// substitutes are values of every kind: of those that some field takes in an unusual spelling, and those that none takes.
var substitutes = []any{nil, true, 7.0, 0.0, -1.0, 0.25, 1e12, "", "text", "5s", "0s", "-5s", "1h30m", "15", "64KiB", "1.5 gib", "true", "T", "off", "last", "kv", "snapshot",
	[]any{}, []any{"a"}, []any{nil}, []any{map[string]any{}}, map[string]any{}, map[string]any{"nobody": 1.0}, map[string]any{"mode": "last"}, map[string]any{"equals": "a"}}

// mutate calls try with every change of v, and undoes it.
func mutate(v any, try func(what string, value any)) {
	switch v := v.(type) {
	case map[string]any:
		v["nobody_knows_it"] = "x"
		try("an unknown field", nil)
		delete(v, "nobody_knows_it")
		for _, name := range slices.Sorted(maps.Keys(v)) {
			old := v[name]
			delete(v, name)
			try(name+" missing", nil)
			for _, other := range substitutes {
				v[name] = other
				try(name, other)
			}
			v[name] = old
			mutate(old, try)
		}
	case []any:
		for i, old := range v {
			for _, other := range substitutes {
				v[i] = other
				try("in a list", other)
			}
			v[i] = old
			mutate(old, try)
		}
	}
}

func TestSchema_AcceptsWhateverLoads(t *testing.T) {
	s := parsed(t)
	rapid.Check(t, func(rt *rapid.T) {
		text := genRoutes(rt)
		if _, _, err := Load(Options{Environ: genEnv(rt), ReadFile: files(map[string]string{"/routes.yaml": text})}); err != nil {
			rt.Fatal(err)
		}
		v, err := plainValue([]byte(text))
		if err != nil {
			rt.Fatal(err)
		}
		if c := conforms(t, s, v, ""); c != "" {
			rt.Fatalf("%s\n%s", c, text)
		}
	})
}

func TestSchema_ItsDefaultsAndExamplesAreValues(t *testing.T) {
	n := 0
	var walk func(s map[string]any, path string)
	walk = func(s map[string]any, path string) {
		examples, _ := s["examples"].([]any)
		if d, ok := s["default"]; ok {
			examples = append(examples, d)
		}
		for _, e := range examples {
			n++
			if c := conforms(t, s, e, path); c != "" {
				t.Error(c)
			}
		}
		for name, below := range s {
			switch below := below.(type) {
			case map[string]any:
				walk(below, path+"/"+name)
			case []any:
				for _, x := range below {
					if x, ok := x.(map[string]any); ok && name == "anyOf" {
						walk(x, path+"/"+name)
					}
				}
			}
		}
	}
	walk(parsed(t), "")
	if n < 50 {
		t.Errorf("only %d", n)
	}
}

// The comment by which editors find the schema leads to it, from where each example stands.
func TestSchema_TheExamplesNameIt(t *testing.T) {
	const comment = "# yaml-language-server: $schema="
	for name, text := range corpus(t) {
		if !strings.Contains(name, "examples/") {
			continue
		}
		line, _, _ := strings.Cut(string(text), "\n")
		target, ok := strings.CutPrefix(line, comment)
		found := filepath.Join(filepath.Dir(name), filepath.FromSlash(target))
		if !ok || found != filepath.FromSlash(schemaFile) {
			t.Errorf("%s begins with %q; its first line must be %s../../docs/routes.schema.json", name, line, comment)
		}
	}
}
