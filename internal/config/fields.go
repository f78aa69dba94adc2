package config

import (
	"reflect"
	"strconv"
	"strings"
)

// field is one variable of the environment, as the tags of Config describe it.
type field struct {
	name    string // variable
	group   string // heading of its component
	doc     string
	example string
	form    string   // a form narrower than the type: addr
	oneOf   []string // the values it may have; empty = any
	later   []string // values that a later version will have
	min     string   // smallest number, in the type's own unit; "" = 0 for durations and sizes, none otherwise
	max     string
	secret  bool
	// secretFile: the value is the path of a file that holds a secret.
	secretFile bool
	index      []int // for reflect.Value.FieldByIndex of Config
	typ        reflect.Type
}

const generalGroup = "Routes and the rest"

// fields lists every variable in the order of the structs, the ones without a prefix last.
func fields() []field {
	var grouped, general []field
	t := reflect.TypeFor[Config]()
	for i := range t.NumField() {
		f := t.Field(i)
		if prefix, ok := f.Tag.Lookup("envPrefix"); ok {
			for j := range f.Type.NumField() {
				if f.Type.Field(j).Tag.Get("env") == "-" {
					continue
				}
				grouped = append(grouped, newField(f.Type.Field(j), prefix, f.Tag.Get("doc"), []int{i, j}))
			}
			continue
		}
		if f.Tag.Get("env") != "-" {
			general = append(general, newField(f, "", generalGroup, []int{i}))
		}
	}
	return append(grouped, general...)
}

func newField(f reflect.StructField, prefix, group string, index []int) field {
	return field{
		name:       prefix + f.Tag.Get("env"),
		group:      group,
		doc:        f.Tag.Get("doc"),
		example:    f.Tag.Get("example"),
		form:       f.Tag.Get("form"),
		oneOf:      splitList(f.Tag.Get("oneof")),
		later:      splitList(f.Tag.Get("later")),
		min:        f.Tag.Get("min"),
		max:        f.Tag.Get("max"),
		secret:     f.Tag.Get("secret") == "true",
		secretFile: f.Tag.Get("secret") == "file",
		index:      index,
		typ:        f.Type,
	}
}

// splitList reads a comma list; spaces round its parts and empty parts are dropped.
func splitList(text string) []string {
	var out []string
	for part := range strings.SplitSeq(text, ",") {
		if part = strings.TrimSpace(part); part != "" {
			out = append(out, part)
		}
	}
	return out
}

// value is what c holds for the field.
func (f field) value(c *Config) reflect.Value { return reflect.ValueOf(c).Elem().FieldByIndex(f.index) }

// text writes what c holds in the form the variable takes.
func (f field) text(c *Config) string {
	switch v := f.value(c).Interface().(type) {
	case Duration:
		return durationText(v)
	case Bytes:
		return v.String()
	case []string:
		return strings.Join(v, ",")
	case bool:
		return strconv.FormatBool(v)
	case int:
		return strconv.Itoa(v)
	case float64:
		return strconv.FormatFloat(v, 'g', -1, 64)
	case string:
		return v
	}
	panic("config: no text form for " + f.typ.String())
}

// expected says in words what the variable takes.
func (f field) expected() string {
	switch {
	case len(f.oneOf) > 0:
		return orList(f.oneOf)
	case f.form == "addr":
		return "host:port, or :port for all addresses of this machine"
	}
	return expectedOf(f.typ, f.min, f.max)
}

// expectedOf says in words what a value of this type looks like, for variables and for the routes file.
func expectedOf(t reflect.Type, least, most string) string {
	what := ""
	switch t {
	case reflect.TypeFor[Duration]():
		what = "a duration: a number with ms, s, m or h behind it"
	case reflect.TypeFor[Bytes]():
		what = "a size: bytes, or a number with KiB, MiB, GiB, KB, MB or GB behind it"
	case reflect.TypeFor[bool]():
		what = "true or false"
	case reflect.TypeFor[int]():
		what = "a whole number"
	case reflect.TypeFor[float64]():
		what = "a number"
	case reflect.TypeFor[[]string]():
		what = "a comma list"
	default:
		what = "text"
	}
	if n, err := strconv.Atoi(least); err == nil && (n > 1 || t == reflect.TypeFor[int]() || t == reflect.TypeFor[float64]()) {
		what += ", " + boundText(t, least) + " or more"
	}
	if most != "" {
		what += ", at most " + boundText(t, most)
	}
	return what
}

// boundText writes a bound, which the tags hold in bytes or nanoseconds, as an operator would.
func boundText(t reflect.Type, bound string) string {
	n, _ := strconv.ParseInt(bound, 10, 64)
	switch t {
	case reflect.TypeFor[Duration]():
		return durationText(Duration(n))
	case reflect.TypeFor[Bytes]():
		return Bytes(n).String()
	}
	return bound
}

// sample is a value that works: the example of the tag, the default, or one for the type.
func (f field) sample(defaults *Config) string {
	if f.example != "" {
		return f.example
	}
	if len(f.oneOf) > 0 && f.text(defaults) == "" {
		return f.oneOf[0]
	}
	if text := f.text(defaults); text != "" && text != "0" && text != "0s" && text != "-1" && text != "false" {
		return text
	}
	switch f.typ {
	case reflect.TypeFor[Duration]():
		return "30s"
	case reflect.TypeFor[Bytes]():
		return "64KiB"
	case reflect.TypeFor[bool]():
		return "true"
	}
	return "100"
}

// orList writes "a, b or c".
func orList(list []string) string {
	if len(list) < 2 {
		return strings.Join(list, "")
	}
	return strings.Join(list[:len(list)-1], ", ") + " or " + list[len(list)-1]
}
