package subject

import "strings"

// Tree is a set of subjects with a value each, which finds the ones that a pattern matches without looking at the others. The zero
// value is ready for use. It is not safe for concurrent use, and must not be changed by a visit.
//
// It is a trie of tokens that grows only where subjects differ: as long as a subject shares the tokens up to some node with no other
// one, a single node holds it, whatever its length. The tokens are parts of the subjects themselves.
type Tree[V any] struct {
	root children[treeNode[V]]
	n    int
}

// treeNode is a place in the trie. Without below it is a leaf: one subject, which may go on behind this place. With below it
// branches, and its subject, if it has one, ends here.
type treeNode[V any] struct {
	subject string // "" = none
	value   V
	below   *children[treeNode[V]]
}

// Len is the number of subjects.
func (t *Tree[V]) Len() int { return t.n }

// Get is the value of a subject.
func (t *Tree[V]) Get(literal string) (v V, ok bool) {
	at, off := &t.root, 0
	for {
		token, next := tokenAt(literal, off)
		n := at.get(token)
		switch {
		case n == nil:
			return v, false
		case n.below == nil || next > len(literal):
			if n.subject != literal || literal == "" {
				return v, false
			}
			return n.value, true
		}
		at, off = n.below, next
	}
}

// Put sets the value of a subject, which must be a valid one without wildcards.
func (t *Tree[V]) Put(literal string, v V) {
	at, off := &t.root, 0
	for {
		token, next := tokenAt(literal, off)
		n := at.get(token)
		if n == nil {
			at.add(token, &treeNode[V]{subject: literal, value: v})
			t.n++
			return
		}
		if n.below == nil && n.subject == literal {
			n.value = v
			return
		}
		if n.below == nil {
			n.branch(next)
		}
		if next > len(literal) {
			if n.subject == "" {
				t.n++
			}
			n.subject, n.value = literal, v
			return
		}
		at, off = n.below, next
	}
}

// branch makes a leaf at which another subject arrives a node with children. next is where the subjects go on behind it.
func (n *treeNode[V]) branch(next int) {
	n.below = &children[treeNode[V]]{}
	if next > len(n.subject) {
		return // it ends here
	}
	token, _ := tokenAt(n.subject, next)
	n.below.add(token, &treeNode[V]{subject: n.subject, value: n.value})
	var none V
	n.subject, n.value = "", none
}

// Delete removes a subject.
func (t *Tree[V]) Delete(literal string) {
	if literal != "" && t.remove(&t.root, literal, 0) {
		t.n--
	}
}

func (t *Tree[V]) remove(at *children[treeNode[V]], literal string, off int) (removed bool) {
	token, next := tokenAt(literal, off)
	n := at.get(token)
	if n == nil {
		return false
	}
	if n.below == nil || next > len(literal) {
		if n.subject != literal {
			return false
		}
		var none V
		n.subject, n.value, removed = "", none, true
	} else {
		removed = t.remove(n.below, literal, next)
	}
	if n.subject == "" && (n.below == nil || n.below.empty()) {
		at.remove(token)
	} else if n.below != nil && n.below.empty() {
		n.below = nil // a leaf again
	}
	return removed
}

// Match visits the subjects that a pattern matches, in no particular order, until visit says false. It descends only where something
// can match.
func (t *Tree[V]) Match(pattern string, visit func(literal string, v V) bool) {
	if pattern != "" {
		matchBelow(&t.root, pattern, 0, visit)
	}
}

// matchBelow visits what the rest of a pattern matches below a node; off is where the subjects go on there.
func matchBelow[V any](at *children[treeNode[V]], pattern string, off int, visit func(string, V) bool) bool {
	token, rest, more := strings.Cut(pattern, ".")
	if token == ">" && !more {
		return allBelow(at, visit)
	}
	if token != "*" {
		n := at.get(token)
		return n == nil || n.match(rest, more, off+len(token)+1, visit)
	}
	return at.each(func(token string, n *treeNode[V]) bool {
		return token == "" || n.match(rest, more, off+len(token)+1, visit)
	})
}

// match visits what the rest of a pattern matches at a node and below it; more says whether there is a rest.
func (n *treeNode[V]) match(rest string, more bool, off int, visit func(string, V) bool) bool {
	ends := off > len(n.subject)
	switch {
	case n.below == nil && more:
		return ends || !Match(rest, n.subject[off:]) || visit(n.subject, n.value)
	case more:
		return matchBelow(n.below, rest, off, visit)
	case n.subject != "" && ends:
		return visit(n.subject, n.value)
	}
	return true
}

func allBelow[V any](at *children[treeNode[V]], visit func(string, V) bool) bool {
	return at.each(func(_ string, n *treeNode[V]) bool {
		if n.subject != "" && !visit(n.subject, n.value) {
			return false
		}
		return n.below == nil || allBelow(n.below, visit)
	})
}

// tokenAt is the token of s that begins at off, and where the next one does: beyond the end of s when there is none.
func tokenAt(s string, off int) (token string, next int) {
	if dot := strings.IndexByte(s[off:], '.'); dot >= 0 {
		return s[off : off+dot], off + dot + 1
	}
	return s[off:], len(s) + 1
}
