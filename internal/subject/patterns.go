package subject

import (
	"slices"
	"strings"
)

// Patterns is a set of patterns with any number of values each, which finds the ones that match a subject. The zero value is ready for
// use. It is not safe for concurrent use, and must not be changed by a visit.
type Patterns[V comparable] struct {
	literal map[string][]V
	wild    children[patternNode[V]] // trie of the patterns that have a wildcard; * and > are tokens like any other
	wilds   int
	n       int
}

// patternNode is a token of a pattern.
type patternNode[V comparable] struct {
	values []V // of the pattern that ends here
	below  children[patternNode[V]]
}

// Len is the number of values.
func (p *Patterns[V]) Len() int { return p.n }

// Add adds a value to a valid pattern. One that is there already is added once more.
func (p *Patterns[V]) Add(pattern string, v V) {
	p.n++
	if !HasWildcard(pattern) {
		if p.literal == nil {
			p.literal = map[string][]V{}
		}
		p.literal[pattern] = append(p.literal[pattern], v)
		return
	}
	p.wilds++
	at := &p.wild
	for off := 0; ; {
		token, next := tokenAt(pattern, off)
		n := at.get(token)
		if n == nil {
			n = &patternNode[V]{}
			at.add(token, n)
		}
		if next > len(pattern) {
			n.values = append(n.values, v)
			return
		}
		at, off = &n.below, next
	}
}

// Remove takes one value from a pattern, and says whether it was there.
func (p *Patterns[V]) Remove(pattern string, v V) bool {
	if HasWildcard(pattern) {
		if !removeBelow(&p.wild, pattern, 0, v) {
			return false
		}
		p.wilds--
		p.n--
		return true
	}
	left, ok := without(p.literal[pattern], v)
	if !ok {
		return false
	}
	if p.literal[pattern] = left; left == nil {
		delete(p.literal, pattern)
	}
	p.n--
	return true
}

func removeBelow[V comparable](at *children[patternNode[V]], pattern string, off int, v V) (ok bool) {
	token, next := tokenAt(pattern, off)
	n := at.get(token)
	if n == nil {
		return false
	}
	if next > len(pattern) {
		n.values, ok = without(n.values, v)
	} else {
		ok = removeBelow(&n.below, pattern, next, v)
	}
	if n.values == nil && n.below.empty() {
		at.remove(token)
	}
	return ok
}

// without removes one value in place; nil is left of a single one. The order is kept.
func without[V comparable](list []V, v V) ([]V, bool) {
	i := slices.Index(list, v)
	if i < 0 {
		return list, false
	}
	if len(list) == 1 {
		return nil, true
	}
	return slices.Delete(list, i, i+1), true
}

// Match visits the values of every pattern that matches a subject: a value of two such patterns twice.
func (p *Patterns[V]) Match(literal string, visit func(v V)) {
	if literal == "" {
		return
	}
	for _, v := range p.literal[literal] {
		visit(v)
	}
	if p.wilds > 0 {
		visitPatterns(&p.wild, literal, visit)
	}
}

func visitPatterns[V comparable](at *children[patternNode[V]], rest string, visit func(v V)) {
	token, behind, more := strings.Cut(rest, ".")
	if n := at.get(">"); n != nil && rest != "" {
		for _, v := range n.values {
			visit(v)
		}
	}
	if token == "" { // no wildcard stands for an empty token
		if n := at.get(token); n != nil && more {
			visitPatterns(&n.below, behind, visit)
		}
		return
	}
	for _, name := range [2]string{token, "*"} {
		n := at.get(name)
		switch {
		case n == nil:
		case more:
			visitPatterns(&n.below, behind, visit)
		default:
			for _, v := range n.values {
				visit(v)
			}
		}
	}
}
