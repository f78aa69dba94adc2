package config

import (
	"bytes"
	"encoding/json"

	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/token"
)

// literal is a scalar of any type, written as JSON: "done", 3, true, null.
type literal string

// literal reads one. Its type is what YAML makes of it: 3 is a number and "3" is text.
func (d *decoder) literal(n ast.Node, dst *literal, path string) {
	var v any
	switch n := n.(type) {
	case nil, *ast.NullNode:
	case *ast.IntegerNode:
		v = n.Value
	case *ast.FloatNode:
		v = n.Value
	case *ast.BoolNode:
		v = n.Value
	default:
		text, ok := scalarText(n)
		if _, number := n.(ast.ScalarNode); !ok || !number {
			d.fail(position(n), Problem{Message: shown(path) + " is a single value, not a list or a mapping", Expected: literalForm})
			return
		}
		switch n.(type) {
		case *ast.InfinityNode, *ast.NanNode:
			d.fail(position(n), Problem{Message: shown(path) + ": JSON has no such number", Expected: literalForm})
			return
		}
		v = text
		if n.GetToken().Type == token.StringType && isNumber(text) {
			v = json.Number(text) // 1e3, which the library takes for text
		}
	}
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false) // it is shown by -print-config
	if err := e.Encode(v); err != nil {
		d.fail(position(n), Problem{Message: shown(path) + ": JSON has no such value", Expected: literalForm})
		return
	}
	*dst = literal(bytes.TrimSpace(b.Bytes()))
}

func isNumber(text string) bool {
	return text != "" && (text[0] == '-' || text[0] >= '0' && text[0] <= '9') && json.Valid([]byte(text))
}

const literalForm = "text, a number, true, false or null"
