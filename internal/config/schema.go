package config

import (
	"bytes"
	"encoding/json"
	"math"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"github.com/goccy/go-yaml"
)

// RoutesSchema is the JSON Schema of the routes file, made from the tags by which the decoder reads it: editors complete and check
// with it. It accepts every file that -check accepts. What it cannot say, how fields go together, -check tells.
//
// It is draft-07 (json-schema.org/draft-07), which every editor knows, and has no references: in that draft a description beside one
// does not count.
func RoutesSchema() []byte {
	s := structSchema(reflect.TypeFor[routesFile]())
	s.Schema = "http://json-schema.org/draft-07/schema#"
	s.Title = "Routes file of headgate"
	s.Description = "Which requests lead to which NATS subjects, streams and buckets. docs/configuration.md describes every field; headgate -check tells the rest."
	text, err := encodeSchema(s)
	if err != nil {
		panic("config: a schema does not marshal: " + err.Error())
	}
	return text
}

func encodeSchema(v any) ([]byte, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	err := e.Encode(v)
	return b.Bytes(), err
}

// schema holds the keywords of JSON Schema that are used.
type schema struct {
	Schema      string     `json:"$schema,omitempty"`
	Title       string     `json:"title,omitempty"`
	Description string     `json:"description,omitempty"`
	Type        any        `json:"type,omitempty"` // a name, or several
	Enum        []any      `json:"enum,omitempty"`
	Pattern     string     `json:"pattern,omitempty"`
	Minimum     *float64   `json:"minimum,omitempty"`
	Maximum     *float64   `json:"maximum,omitempty"`
	Default     any        `json:"default,omitempty"`
	Examples    []any      `json:"examples,omitempty"`
	Required    []string   `json:"required,omitempty"`
	Properties  properties `json:"properties,omitempty"`
	Additional  any        `json:"additionalProperties,omitempty"` // false, or a schema
	Items       *schema    `json:"items,omitempty"`
	AnyOf       []*schema  `json:"anyOf,omitempty"`
}

// properties are named schemas in the order of the struct, which is the order in which a person writes them.
type properties []property

type property struct {
	name string
	*schema
}

func (list properties) MarshalJSON() ([]byte, error) {
	var b bytes.Buffer
	b.WriteByte('{')
	for i, p := range list {
		if i > 0 {
			b.WriteByte(',')
		}
		b.WriteString(strconv.Quote(p.name) + ":")
		text, err := encodeSchema(p.schema)
		if err != nil {
			return nil, err
		}
		b.Write(text)
	}
	b.WriteByte('}')
	return b.Bytes(), nil
}

// structSchema describes a mapping with known fields. What a later version will do is left out, for this one refuses it.
func structSchema(t reflect.Type) *schema {
	s := &schema{Type: "object", Additional: false}
	for _, m := range members(t) {
		if m.later != "" {
			continue
		}
		s.Properties = append(s.Properties, property{m.name, memberSchema(m)})
		if m.required {
			s.Required = append(s.Required, m.name)
		}
	}
	return s
}

// memberSchema describes a field: what its value may be, and what the reference says of it.
func memberSchema(m member) *schema {
	s := valueSchema(m.typ, m, true)
	s.Description = strings.ToUpper(m.doc[:min(1, len(m.doc))]) + m.doc[min(1, len(m.doc)):] + "."
	if t := m.inner(); m.typ.Kind() != reflect.Map && m.typ.Kind() != reflect.Slice && len(m.oneOf) == 0 && slices.Contains(numberTypes, t) {
		s.Description += " It is " + expectedOf(t, m.min, m.max) + "."
	}
	if m.def != "" {
		s.Description += " Default: " + m.def + "."
		s.Default = constant(m)
	}
	if m.example != "" && !strings.Contains(m.example, "…") {
		var v any
		if yaml.Unmarshal([]byte(m.example), &v) == nil {
			s.Examples = []any{v}
		}
	}
	return s
}

var numberTypes = []reflect.Type{reflect.TypeFor[Duration](), reflect.TypeFor[Bytes](), reflect.TypeFor[int](), reflect.TypeFor[float64]()}

// constant is the default of a field where it is a value of the field, not a variable's name or a sentence.
func constant(m member) any {
	switch {
	case slices.Contains(m.oneOf, m.def):
		return m.def
	case m.inner() == reflect.TypeFor[bool]() && (m.def == "true" || m.def == "false"):
		return m.def == "true"
	case m.inner() == reflect.TypeFor[int]():
		if n, err := strconv.Atoi(m.def); err == nil {
			return n
		}
	}
	return nil
}

// valueSchema follows the decoder (decode.go): a collection may be null, unless a val holds it.
func valueSchema(t reflect.Type, m member, null bool) *schema {
	kind := func(name string) any {
		if null {
			return []string{name, "null"}
		}
		return name
	}
	switch {
	case t.Kind() == reflect.Struct && t.Implements(reflect.TypeFor[interface{ isVal() }]()):
		return valueSchema(t.Field(0).Type, m, false)
	case t == reflect.TypeFor[literal]():
		return &schema{Type: []string{"string", "number", "boolean", "null"}}
	case t.Kind() == reflect.Slice:
		return &schema{Type: kind("array"), Items: valueSchema(t.Elem(), m, true)}
	case t.Kind() == reflect.Map:
		return &schema{Type: kind("object"), Additional: valueSchema(t.Elem(), m, true)}
	case t.Kind() == reflect.Struct:
		s := structSchema(t)
		s.Type = kind("object")
		if short := shortForm(t); short != nil {
			return &schema{AnyOf: []*schema{s, short}}
		}
		return s
	}
	return scalarSchema(t, m)
}

// shortForm is the scalar that may stand in place of a mapping (custom), nil where none may.
func shortForm(t reflect.Type) *schema {
	if !reflect.PointerTo(t).Implements(reflect.TypeFor[custom]()) {
		return nil
	}
	switch t {
	case reflect.TypeFor[resumeYAML]():
		return &schema{Enum: []any{"off", "on", false, true, "false", "true"}}
	case reflect.TypeFor[snapshotYAML]():
		return &schema{Enum: anys(snapshotModes())}
	}
	return scalarSchema(reflect.TypeFor[string](), member{})
}

func anys(list []string) []any {
	out := make([]any, len(list))
	for i, s := range list {
		out[i] = s
	}
	return out
}

// The forms of scalars that are written as text: those of time.ParseDuration, ParseBytes and package strconv.
const (
	durationForm = `^\s*\+?(0|(([0-9]+(\.[0-9]*)?|\.[0-9]+)(ns|us|µs|μs|ms|s|m|h))+)\s*$`
	sizeForm     = `^\s*\+?[0-9.]+\s*([kKmMgG][iI]?)?[bB]?\s*$`
	wholeForm    = `^[+-]?[0-9]+$`
	decimalForm  = `^[+-]?(([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][+-]?[0-9]+)?|0[xX][0-9a-fA-F_.]+[pP][+-]?[0-9]+)$`
	boolForm     = `^(1|t|T|TRUE|true|True|0|f|F|FALSE|false|False)$`
)

// scalarSchema describes a single value. YAML takes 15 for a number and true for a boolean; the decoder reads the text of each, so
// that a stream may be called 2026.
func scalarSchema(t reflect.Type, m member) *schema {
	text := func(form string) *schema { return &schema{Type: "string", Pattern: form} }
	number := func(kind string, below float64) *schema {
		return &schema{Type: kind, Minimum: bound(m.min, below), Maximum: bound(m.max, 0)}
	}
	switch t {
	case reflect.TypeFor[Duration]():
		if bound(m.min, 0) != nil && *bound(m.min, 0) > 0 {
			return text(durationForm)
		}
		return &schema{AnyOf: []*schema{text(durationForm), {Enum: []any{0}}}}
	case reflect.TypeFor[Bytes]():
		n := number("number", 0.5) // half a byte is rounded up
		if n.Minimum == nil {
			n.Minimum = new(float64)
		}
		return &schema{AnyOf: []*schema{text(sizeForm), n}}
	case reflect.TypeFor[int]():
		n := number("integer", 0)
		if n.Maximum == nil {
			n.Maximum = new(float64(math.MaxInt32))
		}
		return &schema{AnyOf: []*schema{n, text(wholeForm)}}
	case reflect.TypeFor[float64]():
		return &schema{AnyOf: []*schema{number("number", 0), text(decimalForm)}}
	case reflect.TypeFor[bool]():
		return &schema{AnyOf: []*schema{{Type: "boolean"}, text(boolForm), {Enum: []any{0, 1}}}}
	}
	if len(m.oneOf) > 0 {
		return &schema{Enum: anys(m.oneOf)}
	}
	return &schema{Type: []string{"string", "number", "boolean"}}
}

func bound(text string, below float64) *float64 {
	n, err := strconv.ParseFloat(text, 64)
	if err != nil {
		return nil
	}
	if n > 0 {
		n -= below
	}
	return &n
}
