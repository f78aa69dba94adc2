package subject

import (
	"errors"
	"fmt"
	"strings"
)

// errKey says which characters the tokens of keys consist of. nats.go refuses any other, although the server would take them.
var errKey = errors.New("has a character that no key of a bucket has; letters, digits and - / _ = are possible")

// ValidKey says whether pattern is a key of a Key-Value bucket, or a pattern of keys (ADR-8 of
// https://github.com/nats-io/nats-architecture-and-design).
func ValidKey(pattern string) error {
	if err := Valid(pattern); err != nil {
		return errors.New(strings.Replace(err.Error(), "subject", "key", 1))
	}
	for token := range strings.SplitSeq(pattern, ".") {
		if token != "*" && token != ">" && strings.ContainsFunc(token, notOfKeys) {
			return fmt.Errorf("key %q: %q %w", pattern, token, errKey)
		}
	}
	return nil
}

func notOfKeys(c rune) bool {
	return !(c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || strings.ContainsRune("-/_=", c))
}

// ParseKey reads a template of keys. Its first token may be anything: nothing it can become leads out of the bucket.
func ParseKey(text string) (Template, error) {
	t, err := ParseTemplate(text)
	if err != nil {
		return t, errors.New(strings.Replace(err.Error(), "subject", "key", 1))
	}
	t.key = true
	return t, ValidKey(t.Pattern())
}
