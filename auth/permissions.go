package auth

import (
	"errors"
	"fmt"

	"headgate/internal/subject"
)

// ErrForbidden says that a subject is not within the permissions, or a claim not as required. Wrapped errors name what the caller
// asked for, never what would have been allowed.
var ErrForbidden = errors.New("forbidden")

// Permissions are the subjects that a principal may use. The zero value allows nothing.
type Permissions struct {
	Allow []string // subjects and patterns
	Deny  []string // stronger than Allow
}

// Check says whether everything that s matches may be used: s is a valid subject or pattern, none of NATS's own, one of the allowed
// patterns covers it all by itself, and nothing that it matches is denied. So a.> is not allowed by a.*, nor by a.* and a.*.> together,
// although nothing would be missing: one pattern to point at is worth more than the last corner case.
func (p Permissions) Check(s string) error {
	if err := subject.Valid(s); err != nil {
		return fmt.Errorf("%w: %w", ErrForbidden, err)
	}
	if subject.Internal(s) {
		return fmt.Errorf("%w: subject %q starts with $ or _, which is reserved", ErrForbidden, s)
	}
	return p.check(s)
}

// check is Check for a valid subject, which may be one of NATS's own: that of a key in a bucket.
func (p Permissions) check(s string) error {
	if p.denies(s) {
		return fmt.Errorf("%w: subject %q", ErrForbidden, s)
	}
	for _, wide := range p.Allow {
		if subject.Covers(wide, s) {
			return nil
		}
	}
	return fmt.Errorf("%w: subject %q", ErrForbidden, s)
}

func (p Permissions) denies(s string) bool {
	for _, d := range p.Deny {
		if subject.Intersects(d, s) {
			return true
		}
	}
	return false
}
