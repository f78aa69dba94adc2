// Package subject is the syntax of NATS subjects: what is valid, what a wildcard matches, covers and intersects, and the templates
// that turn a request's values into a subject (https://docs.nats.io/nats-concepts/subjects).
//
// It is the border between what a client says and what NATS hears, so it is stricter than the server: a server takes "a.b*" for a
// literal subject and control characters for letters, and here both are refused.
package subject

import (
	"errors"
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
)

const (
	// MaxLen is the longest subject or pattern, in bytes. A server's control line, 4096 bytes by default, must hold a subject
	// together with a reply subject and numbers.
	MaxLen = 1024
	// MaxToken is the longest value that may become a token, in bytes.
	MaxToken = 128
)

// Why a token is refused. The texts never hold the value, which may be a claim.
var (
	errEmpty    = errors.New("is empty")
	errTooLong  = fmt.Errorf("is longer than %d bytes", MaxToken)
	errEncoding = errors.New("is not valid UTF-8")
	errDot      = errors.New("contains a dot")
	errWildcard = errors.New("contains a wildcard (* or >)")
	errSpace    = errors.New("contains white space or a control character")
)

// Valid says whether NATS and headgate take pattern for a subject or a pattern: tokens between dots, none empty, * only as a
// whole token, > only as the last one, and no white space, control characters or invalid UTF-8 anywhere.
func Valid(pattern string) error {
	if pattern == "" {
		return errors.New("subject is empty; expected tokens between dots, as in orders.eu.new")
	}
	if len(pattern) > MaxLen {
		return fmt.Errorf("subject has %d bytes; at most %d are allowed", len(pattern), MaxLen)
	}
	rest, more := pattern, true
	for n := 1; more; n++ {
		var token string
		token, rest, more = strings.Cut(rest, ".")
		switch {
		case token == "*":
		case token == ">" && more:
			return fmt.Errorf("subject %q: > is only allowed as the last token", pattern)
		case token == ">":
		default:
			if err := checkText(token); err != nil {
				return fmt.Errorf("subject %q: token %d %w", pattern, n, err)
			}
		}
	}
	return nil
}

// ValidLiteral says whether s is a valid subject without wildcards.
func ValidLiteral(s string) error {
	if err := Valid(s); err != nil {
		return err
	}
	if HasWildcard(s) {
		return fmt.Errorf("subject %q: wildcards are not allowed here", s)
	}
	return nil
}

// ValidToken says whether value may stand for exactly one token of a subject. Whatever enters a subject from outside passes
// here, decoded: path parameters, claims. A leading $ or _ is fine inside a subject; Internal tells where it is not. The error
// completes a sentence about the value and does not repeat it.
func ValidToken(value string) error {
	if len(value) > MaxToken {
		return errTooLong
	}
	return checkText(value)
}

// checkText checks a literal token but for its length.
func checkText(token string) error {
	if token == "" {
		return errEmpty
	}
	for i := 0; i < len(token); {
		c := token[i]
		if c < utf8.RuneSelf {
			switch {
			case c <= ' ' || c == 0x7f:
				return errSpace
			case c == '.':
				return errDot
			case c == '*' || c == '>':
				return errWildcard
			}
			i++
			continue
		}
		r, size := utf8.DecodeRuneInString(token[i:])
		// U+FFFD is what a decoder leaves of broken bytes, so different broken values would become the same one.
		if r == utf8.RuneError {
			return errEncoding
		}
		if unicode.IsSpace(r) || unicode.IsControl(r) {
			return errSpace
		}
		i += size
	}
	return nil
}

// Internal says whether the first token starts with $ or _: NATS's own subjects and inboxes. They are refused wherever a
// subject is named, and not relayed when a wildcard delivers them.
func Internal(s string) bool { return s != "" && (s[0] == '$' || s[0] == '_') }

// HasWildcard says whether a valid pattern has a wildcard.
func HasWildcard(pattern string) bool { return strings.ContainsAny(pattern, "*>") }

// Token is the token at place n, counted from 0, and whether there is one.
func Token(s string, n int) (string, bool) {
	if n < 0 || s == "" {
		return "", false
	}
	for ; n > 0; n-- {
		dot := strings.IndexByte(s, '.')
		if dot < 0 {
			return "", false
		}
		s = s[dot+1:]
	}
	if dot := strings.IndexByte(s, '.'); dot >= 0 {
		s = s[:dot]
	}
	return s, true
}
