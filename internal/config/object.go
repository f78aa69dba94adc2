package config

import (
	"reflect"
	"regexp"
	"slices"
	"strings"

	"github.com/goccy/go-yaml/ast"
)

// entry is one key of a mapping and its value.
type entry struct {
	key   string
	at    pos
	value ast.Node
}

// entries are the keys of a mapping: merged ones (<<) behind its own, each once. shape is an example of what belongs here.
func (d *decoder) entries(n ast.Node, path, shape string, depth int) ([]entry, bool) {
	list, ok := pairs(n)
	if !ok {
		d.fail(position(n), Problem{Message: shown(path) + " is a mapping", Expected: shape})
		return nil, false
	}
	var own, merged []entry
	for _, p := range list {
		if d.nodes++; d.nodes > maxNodes {
			return nil, false
		}
		if _, ok := p.Key.(*ast.MergeKeyNode); ok {
			merged = append(merged, d.merge(p.Value, path, shape, depth)...)
			continue
		}
		key, ok := scalarText(keyNode(p.Key))
		if !ok {
			d.fail(position(p.Key), Problem{Message: "a key is text"})
			continue
		}
		if slices.ContainsFunc(own, func(e entry) bool { return e.key == key }) {
			d.fail(position(p.Key), Problem{Message: quoteShort(key) + " is given twice"})
			continue
		}
		own = append(own, entry{key, position(p.Key), p.Value})
	}
	for _, m := range merged {
		if !slices.ContainsFunc(own, func(e entry) bool { return e.key == m.key }) {
			own = append(own, m)
		}
	}
	return own, true
}

// keyNode takes the explicit form (? key) apart.
func keyNode(n ast.Node) ast.Node {
	if k, ok := n.(*ast.MappingKeyNode); ok {
		return k.Value
	}
	return n
}

// merge gives the entries of what stands behind <<: a mapping, or a list of them, usually aliases.
func (d *decoder) merge(n ast.Node, path, shape string, depth int) []entry {
	n, ok := d.resolve(n)
	if !ok || depth > maxDepth {
		return nil
	}
	if s, ok := n.(*ast.SequenceNode); ok {
		var all []entry
		for _, item := range s.Values {
			all = append(all, d.merge(item, path, shape, depth+1)...)
		}
		return all
	}
	list, _ := d.entries(n, path, shape, depth+1)
	return list
}

// object fills a struct by the yaml tags of its fields.
func (d *decoder) object(n ast.Node, dst reflect.Value, path string, depth int) {
	if c, ok := dst.Addr().Interface().(custom); ok {
		if text, ok := scalarText(n); ok && c.scalar(d, text, position(n)) {
			return
		}
	}
	known := members(dst.Type())
	entries, ok := d.entries(n, path, shapeOf(known), depth)
	if !ok {
		return
	}
	for _, e := range entries {
		i := slices.IndexFunc(known, func(m member) bool { return m.name == e.key })
		if i < 0 {
			d.unknown(e, known, path)
			continue
		}
		m := known[i]
		if m.later != "" {
			d.fail(e.at, Problem{Message: notYet(m.later)})
		}
		before := len(d.r.problems)
		d.decode(e.value, dst.FieldByIndex(m.index), join(path, e.key), depth+1)
		if len(d.r.problems) == before {
			d.checkMember(m, dst.FieldByIndex(m.index), join(path, e.key))
		}
	}
	for _, m := range known {
		if m.required && !slices.ContainsFunc(entries, func(e entry) bool { return e.key == m.name }) {
			d.fail(position(n), Problem{Message: shown(join(path, m.name)) + " is missing", Expected: m.doc, Example: m.name + ": " + m.example})
		}
	}
}

// unknown says what a field that does not exist may have meant.
func (d *decoder) unknown(e entry, known []member, path string) {
	p := Problem{Message: "unknown field " + quoteShort(e.key)}
	if path != "" {
		p.Message += " in " + shown(path)
	}
	var names []string
	for _, m := range known {
		names = append(names, m.name)
	}
	if meant, ok := fieldAliases[e.key]; ok && slices.Contains(names, strings.SplitN(meant, ":", 2)[0]) {
		p.Hint = "write " + meant
	} else if name, ok := nearest(e.key, names); ok {
		p.Hint = "did you mean " + name + "?"
	} else if home, ok := homeOf(e.key, known); ok {
		p.Hint = e.key + " belongs into " + home + ": " + home + ": {" + e.key + ": …}"
	} else {
		p.Hint = "the fields here are " + strings.Join(shownNames(known), ", ")
	}
	d.fail(e.at, p)
}

// shownNames are the fields that this version does something with.
func shownNames(known []member) []string {
	var names []string
	for _, m := range known {
		if !m.hidden && m.later == "" {
			names = append(names, m.name)
		}
	}
	return names
}

// homeOf finds the field whose mapping knows key.
func homeOf(key string, known []member) (string, bool) {
	for _, m := range known {
		if t := m.inner(); t.Kind() == reflect.Struct {
			if slices.ContainsFunc(members(t), func(x member) bool { return x.name == key }) {
				return m.name, true
			}
		}
	}
	return "", false
}

// checkMember holds a value that was given against the tags of its field.
func (d *decoder) checkMember(m member, v reflect.Value, path string) {
	h, ok := v.Addr().Interface().(holder)
	if !ok {
		return
	}
	inner := reflect.ValueOf(h.target()).Elem()
	at := v.Addr().Interface().(interface{ where() pos }).where()
	if len(m.oneOf) > 0 && inner.Kind() == reflect.String {
		text := inner.String()
		message, ok := checkOneOf(text, m.oneOf, m.laterValues)
		if !ok && slices.Contains(m.laterValues, text) {
			d.fail(at, Problem{Message: notYet(m.name + ": " + text)})
		} else if !ok {
			d.fail(at, Problem{Message: shown(path) + ": " + quoteShort(text) + ": " + message, Expected: orList(m.oneOf),
				Hint: nearestHint(text, append(slices.Clone(m.oneOf), m.laterValues...))})
		}
		return
	}
	if message, ok := checkBounds(inner, m.min, m.max); !ok {
		d.fail(at, Problem{Message: shown(path) + ": " + message, Expected: expectedOf(inner.Type(), m.min, m.max)})
	}
}

func (v *val[T]) where() pos { return v.at }

func join(path, key string) string {
	if path == "" {
		return key
	}
	return path + "." + key
}

var routeIndex = regexp.MustCompile(`^routes\[[0-9]+\]\.?`)

// shown is the path as messages have it: the line says which route it is.
func shown(path string) string {
	if path == "" {
		return "the file"
	}
	if path = routeIndex.ReplaceAllString(path, ""); path == "" {
		return "a route"
	}
	return path
}
