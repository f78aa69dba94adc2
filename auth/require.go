package auth

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
)

// Rule is something that a route requires of a claim. Exactly one of the three is set.
type Rule struct {
	Claim    string
	Equals   string   // the claim is this text
	Contains string   // the claim is a list with this element, or a text with this word
	In       []string // the claim is one of these texts
}

// Meets says whether the claims are as the rules want. A placeholder {name} in a rule stands for a value of the path. An error names
// the claim, and never a value.
func (id *Identity) Meets(rules []Rule, value func(name string) (string, bool)) error {
	for _, r := range rules {
		claim, ok := id.claims.lookup(r.Claim)
		if !ok || !r.met(claim, value) {
			return fmt.Errorf("%w: the claim %s is not as the route requires", ErrForbidden, r.Claim)
		}
	}
	return nil
}

func (r Rule) met(claim any, value func(string) (string, bool)) bool {
	switch {
	case r.Contains != "":
		want, ok := fill(r.Contains, value)
		return ok && contains(claim, want)
	case r.In != nil:
		return slices.ContainsFunc(r.In, func(text string) bool { return equals(claim, text, value) })
	}
	return r.Equals != "" && equals(claim, r.Equals, value)
}

func equals(claim any, text string, value func(string) (string, bool)) bool {
	want, ok := fill(text, value)
	have, scalar := scalar(claim)
	return ok && scalar && have == want
}

// contains compares whole words and whole elements: orders:read is not in orders:readwrite. The words of a scope stand between single
// spaces (RFC 6749, section 3.3).
func contains(claim any, want string) bool {
	switch c := claim.(type) {
	case string:
		return slices.Contains(strings.Split(c, " "), want)
	case []any:
		return slices.ContainsFunc(c, func(element any) bool {
			have, ok := scalar(element)
			return ok && have == want
		})
	}
	return false
}

// scalar is the text of a claim that has one.
func scalar(claim any) (string, bool) {
	switch c := claim.(type) {
	case string:
		return c, true
	case json.Number:
		return c.String(), true
	case bool:
		return fmt.Sprint(c), true
	}
	return "", false
}

// Placeholder finds the placeholder in the text of a rule. One at most: with two, different values could give the same text.
func Placeholder(text string) (before, name, after string, err error) {
	before, rest, open := strings.Cut(text, "{")
	name, after, closed := strings.Cut(rest, "}")
	switch {
	case !open && !strings.Contains(text, "}"):
		return text, "", "", nil
	case !open || !closed || name == "" || strings.ContainsAny(name, "{") || strings.Contains(before, "}"):
		return "", "", "", fmt.Errorf("%q: a placeholder is written {name}", text)
	case strings.ContainsAny(after, "{}"):
		return "", "", "", fmt.Errorf("%q: one placeholder at most can stand in it", text)
	}
	return before, name, after, nil
}

// fill puts the value of the path into a rule's text. An empty value is none: it would be equal to an empty claim.
func fill(text string, value func(string) (string, bool)) (string, bool) {
	before, name, after, err := Placeholder(text)
	if err != nil {
		return "", false
	}
	if name == "" {
		return before, true
	}
	v, ok := value(name)
	return before + v + after, ok && v != ""
}
