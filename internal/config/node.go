package config

import (
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/token"
)

// pos is a place in the routes file, from 1. The zero pos is none.
type pos struct{ line, column int }

// val is a value of the routes file and where it stands. When the file does not have it, at is zero.
type val[T any] struct {
	v   T
	at  pos
	bad bool // the file has it, and it cannot be read, which has been reported: nothing may complain that it is missing
}

func (v *val[T]) said() bool { return v.at.line > 0 }

// holder is what decode sees of a val.
type holder interface {
	target() any
	place(pos)
	spoil()
}

func (v *val[T]) target() any { return &v.v }
func (v *val[T]) place(p pos) { v.at = p }
func (v *val[T]) spoil()      { v.bad = true }

// or is the value that the file says, else another.
func (v *val[T]) or(other T) T {
	if v.said() {
		return v.v
	}
	return other
}

// position is where a node begins.
func position(n ast.Node) pos {
	switch n := n.(type) {
	case *ast.MappingNode:
		if !n.IsFlowStyle && len(n.Values) > 0 {
			return position(n.Values[0].Key)
		}
	case *ast.MappingValueNode:
		return position(n.Key)
	case *ast.AnchorNode:
		if n.Value != nil {
			return position(n.Value)
		}
	}
	if n == nil || n.GetToken() == nil {
		return pos{1, 1}
	}
	return tokenPosition(n.GetToken())
}

func tokenPosition(t *token.Token) pos {
	if t == nil || t.Position == nil {
		return pos{1, 1}
	}
	return pos{max(t.Position.Line, 1), max(t.Position.Column, 1)}
}

// pairs are the entries of a mapping, which the parser writes in two ways; ok is false for anything else.
func pairs(n ast.Node) (list []*ast.MappingValueNode, ok bool) {
	switch n := n.(type) {
	case *ast.MappingNode:
		return n.Values, true
	case *ast.MappingValueNode:
		return []*ast.MappingValueNode{n}, true
	}
	return nil, false
}

// scalarText is the text of a plain or quoted scalar; ok is false for anything else, null included.
func scalarText(n ast.Node) (text string, ok bool) {
	switch n := n.(type) {
	case *ast.StringNode:
		return n.Value, true
	case *ast.LiteralNode:
		return n.Value.Value, true
	case *ast.IntegerNode, *ast.FloatNode, *ast.BoolNode, *ast.InfinityNode, *ast.NanNode:
		return n.GetToken().Value, true
	}
	return "", false
}
