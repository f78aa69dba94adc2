// Package auth is who is asking and which subjects they may use.
package auth

import (
	"errors"
	"fmt"

	"headgate/internal/subject"
)

// ErrForbidden says that a subject is not within the permissions. Wrapped errors name the subject the caller asked for, never what
// would have been allowed.
var ErrForbidden = errors.New("forbidden")

// Permissions are the subjects that a principal may use. The zero value allows nothing.
type Permissions struct {
	Allow []string // subjects and patterns
}

// Check says whether everything that s matches may be used: s is a valid subject or pattern, none of NATS's own, and one of the
// allowed patterns covers it all by itself. So a.> is not allowed by a.*, nor by a.* and a.*.> together, although nothing would be
// missing: one pattern to point at is worth more than the last corner case.
func (p Permissions) Check(s string) error {
	if err := subject.Valid(s); err != nil {
		return fmt.Errorf("%w: %w", ErrForbidden, err)
	}
	if subject.Internal(s) {
		return fmt.Errorf("%w: subject %q starts with $ or _, which is reserved", ErrForbidden, s)
	}
	for _, wide := range p.Allow {
		if subject.Covers(wide, s) {
			return nil
		}
	}
	return fmt.Errorf("%w: subject %q", ErrForbidden, s)
}
