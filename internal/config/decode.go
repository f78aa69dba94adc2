package config

import (
	"fmt"
	"reflect"
	"strconv"
	"strings"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"
)

// Bounds of a routes file, against a wrong path in ROUTES_FILE and against aliases that multiply.
const (
	maxFileBytes = 1 << 20
	maxNodes     = 1 << 20
	maxDepth     = 64
)

// decoder turns the syntax tree of a routes file into the structs of file.go. The library's own decoder stops at the first field
// that it does not know; this one goes on, so that one start shows everything.
type decoder struct {
	file    string
	lines   []string
	anchors map[string]ast.Node
	nodes   int
	r       *report
}

// custom is a struct that the file may also write as a scalar.
type custom interface {
	scalar(d *decoder, text string, at pos) bool
}

// decodeFile parses text and fills dst, a pointer to a struct.
func decodeFile(name string, text []byte, dst any, r *report) *decoder {
	d := &decoder{file: name, lines: strings.Split(string(text), "\n"), anchors: map[string]ast.Node{}, r: r}
	if len(text) > maxFileBytes {
		d.r.fail(Problem{File: name, Message: fmt.Sprintf("the file has %d bytes, at most %d are read", len(text), maxFileBytes)})
		return d
	}
	body, ok := d.parse(text)
	if ok && body != nil {
		d.decode(body, reflect.ValueOf(dst).Elem(), "", 0)
	}
	return d
}

// parse gives the body of the file's one document, nil for an empty file.
func (d *decoder) parse(text []byte) (body ast.Node, ok bool) {
	defer func() {
		if p := recover(); p != nil {
			d.fail(pos{1, 1}, Problem{Message: "not YAML that can be read"})
			body, ok = nil, false
		}
	}()
	if at, deep := tooDeep(d.lines); deep {
		d.fail(at, Problem{Message: "nested too deep"})
		return nil, false
	}
	f, err := parser.ParseBytes(text, 0, parser.AllowDuplicateMapKey())
	if err != nil {
		d.syntax(err)
		return nil, false
	}
	for _, doc := range f.Docs {
		if doc.Body == nil {
			continue
		}
		if body != nil {
			d.fail(position(doc.Body), Problem{Message: "a second document begins here", Hint: "put all routes into one routes: list and drop the line ---"})
			return nil, false
		}
		body = doc.Body
	}
	return body, true
}

// syntax reports what the parser says, which stops at its first error.
func (d *decoder) syntax(err error) {
	at, message := pos{1, 1}, err.Error()
	if e, ok := err.(yaml.Error); ok {
		at, message = tokenPosition(e.GetToken()), e.GetMessage()
	}
	hint := ""
	if at.line <= len(d.lines) && strings.HasPrefix(strings.TrimLeft(d.lines[at.line-1], " "), "\t") {
		hint = "YAML is indented with spaces, not with tabs"
	}
	d.fail(at, Problem{Message: "YAML: " + message, Hint: hint})
}

// fail reports a problem at a place of the file, with the source line and a caret.
func (d *decoder) fail(at pos, p Problem) {
	if at.line == 0 {
		at = pos{1, 1}
	}
	at.line = min(at.line, len(d.lines))
	p.File, p.Line, p.Column = d.file, at.line, at.column
	p.Excerpt = excerpt(d.lines[at.line-1], at)
	d.r.fail(p)
}

// decode puts the node into dst. path names the field for messages: routes[2].source.
func (d *decoder) decode(n ast.Node, dst reflect.Value, path string, depth int) {
	if d.nodes++; d.nodes > maxNodes || depth > maxDepth {
		if d.nodes <= maxNodes+1 {
			d.fail(position(n), Problem{Message: "nested too deep, or too large"})
		}
		d.nodes = max(d.nodes, maxNodes)
		return
	}
	n, ok := d.resolve(n)
	if !ok {
		spoil(dst)
		return
	}
	if h, ok := dst.Addr().Interface().(holder); ok {
		before := len(d.r.problems)
		inner := reflect.ValueOf(h.target()).Elem()
		if _, null := n.(*ast.NullNode); (null || n == nil) && inner.Kind() == reflect.Struct {
			d.nothing(n, path)
			h.spoil()
			return
		}
		d.decode(n, inner, path, depth+1)
		if inner.Kind() == reflect.Struct || len(d.r.problems) == before {
			h.place(position(n))
		} else {
			h.spoil() // a scalar that could not be read counts as not said, so that nothing complains about it again
		}
		return
	}
	if l, ok := dst.Addr().Interface().(*literal); ok {
		d.literal(n, l, path)
		return
	}
	if _, ok := n.(*ast.NullNode); ok || n == nil {
		d.null(n, dst, path)
		return
	}
	switch dst.Kind() {
	case reflect.Struct:
		d.object(n, dst, path, depth)
	case reflect.Slice:
		d.list(n, dst, path, depth)
	case reflect.Map:
		d.dictionary(n, dst, path, depth)
	case reflect.Interface:
		d.anything(n, depth)
	default:
		d.scalar(n, dst, path)
	}
}

// spoil notes that dst has a value which cannot be read. In a list that is one entry.
func spoil(dst reflect.Value) {
	if h, ok := dst.Addr().Interface().(holder); ok {
		h.spoil()
	} else if dst.Kind() == reflect.Slice {
		dst.Set(reflect.MakeSlice(dst.Type(), 1, 1))
		spoil(dst.Index(0))
	}
}

// resolve follows anchors, aliases and tags to the value itself.
func (d *decoder) resolve(n ast.Node) (ast.Node, bool) {
	for range maxDepth {
		switch x := n.(type) {
		case *ast.AnchorNode:
			d.anchors[x.Name.GetToken().Value] = x.Value
			n = x.Value
		case *ast.AliasNode:
			target, ok := d.anchors[x.Value.GetToken().Value]
			if !ok {
				d.fail(position(n), Problem{Message: "no anchor of this name stands before it"})
				return nil, false
			}
			n = target
		case *ast.TagNode:
			n = x.Value
		default:
			return n, true
		}
	}
	d.fail(position(n), Problem{Message: "an alias that contains itself"})
	return nil, false
}

// null is what an empty value means: nothing for collections, an error for the rest.
func (d *decoder) null(n ast.Node, dst reflect.Value, path string) {
	switch dst.Kind() {
	case reflect.Slice, reflect.Map, reflect.Struct, reflect.Interface:
		return
	}
	d.nothing(n, path)
}

func (d *decoder) nothing(n ast.Node, path string) {
	d.fail(position(n), Problem{Message: shown(path) + " has no value", Hint: "write one, or drop the line"})
}

func (d *decoder) list(n ast.Node, dst reflect.Value, path string, depth int) {
	s, ok := n.(*ast.SequenceNode)
	if !ok {
		hint := ""
		if text, ok := scalarText(n); ok {
			hint = "did you mean [" + strconv.Quote(text) + "]?"
		}
		d.fail(position(n), Problem{Message: shown(path) + " is a list", Expected: "entries that begin with -, or [a, b]", Hint: hint})
		spoil(dst)
		return
	}
	dst.Set(reflect.MakeSlice(dst.Type(), 0, len(s.Values))) // an empty list is said too
	for i, item := range s.Values {
		e := reflect.New(dst.Type().Elem()).Elem()
		d.decode(item, e, fmt.Sprintf("%s[%d]", path, i), depth+1)
		dst.Set(reflect.Append(dst, e))
	}
}

// dictionary is a mapping whose keys the operator chooses.
func (d *decoder) dictionary(n ast.Node, dst reflect.Value, path string, depth int) {
	entries, ok := d.entries(n, path, "{name: value}", depth)
	if !ok {
		return
	}
	dst.Set(reflect.MakeMap(dst.Type()))
	for _, e := range entries {
		v := reflect.New(dst.Type().Elem()).Elem()
		d.decode(e.value, v, path+"."+e.key, depth+1)
		dst.SetMapIndex(reflect.ValueOf(e.key), v)
	}
}

// anything walks through a value whose shape is not known yet, so that errors of syntax show all the same.
func (d *decoder) anything(n ast.Node, depth int) {
	if s, ok := n.(*ast.SequenceNode); ok {
		for _, item := range s.Values {
			var v any
			d.decode(item, reflect.ValueOf(&v).Elem(), "", depth+1)
		}
	}
	if list, ok := pairs(n); ok {
		for _, p := range list {
			var v any
			d.decode(p.Value, reflect.ValueOf(&v).Elem(), "", depth+1)
		}
	}
}

// tooDeep looks for more brackets than a routes file can need: the parser recurses, and a stack that overflows cannot be caught.
func tooDeep(lines []string) (pos, bool) {
	const most = 1000
	open := 0
	for i, line := range lines {
		for j, c := range line {
			switch c {
			case '[', '{':
				open++
			case ']', '}':
				open = max(open-1, 0)
			}
			if open > most {
				return pos{i + 1, j + 1}, true
			}
		}
	}
	return pos{}, false
}

// scalar reads text, numbers, booleans, durations and sizes.
func (d *decoder) scalar(n ast.Node, dst reflect.Value, path string) {
	text, ok := scalarText(n)
	if !ok {
		d.fail(position(n), Problem{Message: shown(path) + " is a single value, not a list or a mapping", Expected: expectedOf(dst.Type(), "", "")})
		return
	}
	if dst.Kind() == reflect.String {
		dst.SetString(text)
		return
	}
	v, err := parsers[dst.Type()](text)
	if err != nil {
		d.fail(position(n), Problem{Message: shown(path) + ": " + quoteShort(text) + ": " + err.Error(), Expected: expectedOf(dst.Type(), "", "")})
		return
	}
	dst.Set(reflect.ValueOf(v))
}
