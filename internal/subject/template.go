package subject

import (
	"errors"
	"fmt"
	"slices"
	"strings"
)

// Template is a subject or pattern in which some tokens are placeholders: users.{user}.notify.>, orders.{claims.tenant}.*.
// A placeholder is always a whole token and always becomes exactly one. The zero Template is of no use.
type Template struct {
	text   string
	tokens []part
	key    bool // of keys: see ParseKey
}

// part is one token: literal or wildcard text, or the name of a placeholder.
type part struct {
	text string
	name string
}

// ParseTemplate reads a template. A placeholder is named like a path parameter, {user}, a Go identifier in ASCII, or like a claim,
// {claims.tenant}, whose names between dots also take hyphens.
func ParseTemplate(text string) (Template, error) {
	t := Template{text: text}
	rest, more := text, true
	for more {
		var token string
		token, rest, more = cutPart(rest)
		p := part{text: token}
		if strings.ContainsAny(token, "{}") {
			name, ok := placeholder(token)
			if !ok {
				return Template{}, fmt.Errorf("subject %q: %q is not a placeholder; one stands for a whole token and is "+
					"written {name} or {claims.name}", text, token)
			}
			p = part{text: "*", name: name}
		}
		t.tokens = append(t.tokens, p)
	}
	if err := Valid(t.Pattern()); err != nil {
		return Template{}, err
	}
	return t, nil
}

// cutPart is strings.Cut at the first dot outside braces.
func cutPart(s string) (token, rest string, more bool) {
	inside := false
	for i := range len(s) {
		switch s[i] {
		case '{':
			inside = true
		case '}':
			inside = false
		case '.':
			if !inside {
				return s[:i], s[i+1:], true
			}
		}
	}
	return s, "", false
}

func placeholder(token string) (name string, ok bool) {
	if len(token) < 3 || token[0] != '{' || token[len(token)-1] != '}' {
		return "", false
	}
	name = token[1 : len(token)-1]
	path, claim := strings.CutPrefix(name, "claims.")
	if !claim {
		return name, identifier(name)
	}
	for step := range strings.SplitSeq(path, ".") {
		if !claimName(step) {
			return "", false
		}
	}
	return name, true
}

func identifier(s string) bool {
	for i := range len(s) {
		if !letter(s[i]) && (i == 0 || !digit(s[i])) {
			return false
		}
	}
	return s != ""
}

func claimName(s string) bool {
	for i := range len(s) {
		if !letter(s[i]) && !digit(s[i]) && s[i] != '-' {
			return false
		}
	}
	return s != ""
}

func letter(c byte) bool { return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c == '_' }
func digit(c byte) bool  { return c >= '0' && c <= '9' }

// String is the text that was parsed.
func (t Template) String() string { return t.text }

// Pattern is the template with * for every placeholder: it matches whatever Expand can return.
func (t Template) Pattern() string {
	var b strings.Builder
	for i, p := range t.tokens {
		if i > 0 {
			b.WriteByte('.')
		}
		b.WriteString(p.text)
	}
	return b.String()
}

// Placeholders are the names in the template, each once, in the order they stand there.
func (t Template) Placeholders() []string {
	var names []string
	for _, p := range t.tokens {
		if p.name != "" && !slices.Contains(names, p.name) {
			names = append(names, p.name)
		}
	}
	return names
}

// LiteralFirst says whether the first token is neither a placeholder nor a wildcard.
func (t Template) LiteralFirst() bool {
	return len(t.tokens) > 0 && t.tokens[0].text != "*" && t.tokens[0].text != ">"
}

// What Expand fails with, besides what ValidToken says.
var (
	// ErrMissing says that a placeholder has no value.
	ErrMissing = errors.New("has no value")
	// ErrInternal says that a subject would be one of NATS's own.
	ErrInternal = errors.New("the subject would start with $ or _, which is reserved")
)

// PlaceholderError says which value Expand refused, not what it was.
type PlaceholderError struct {
	Name string
	Err  error
}

// Error names the placeholder and the reason.
func (e *PlaceholderError) Error() string { return "{" + e.Name + "} " + e.Err.Error() }

// Unwrap is the reason alone.
func (e *PlaceholderError) Unwrap() error { return e.Err }

// Expand puts a value for every placeholder. The result has the same number of tokens as the template, is valid, is matched by
// Pattern, and is not Internal, unless it is a key, which then has only characters of keys; otherwise there is an error, a
// *PlaceholderError when a value is at fault. It never holds the value.
func (t Template) Expand(value func(name string) (string, bool)) (string, error) {
	var b strings.Builder
	for i, p := range t.tokens {
		if i > 0 {
			b.WriteByte('.')
		}
		if p.name == "" {
			b.WriteString(p.text)
			continue
		}
		v, ok := value(p.name)
		if !ok {
			return "", &PlaceholderError{p.name, ErrMissing}
		}
		if err := ValidToken(v); err != nil {
			return "", &PlaceholderError{p.name, err}
		}
		if t.key && strings.ContainsFunc(v, notOfKeys) {
			return "", &PlaceholderError{p.name, errKey}
		}
		b.WriteString(v)
	}
	s := b.String()
	if Internal(s) && !t.key {
		return "", ErrInternal
	}
	if len(s) > MaxLen {
		return "", fmt.Errorf("the subject would be longer than %d bytes", MaxLen)
	}
	return s, nil
}
