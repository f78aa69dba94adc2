package auth

import (
	"encoding/json"
	"strings"
	"time"
)

// Identity is who is asking. It does not change, and is shared by all requests with the same token.
type Identity struct {
	subject   string
	token     string
	issuer    string
	deadline  time.Time
	claims    claims
	may       *grants // nil: nothing
	marks     Marks
	ground    uint32
	anonymous bool
}

// Subject is the sub claim; empty for anonymous callers and tokens without one.
func (id *Identity) Subject() string { return id.subject }

// TokenID is the jti claim, or empty.
func (id *Identity) TokenID() string { return id.token }

// Issuer is the iss claim; empty for anonymous callers.
func (id *Identity) Issuer() string { return id.issuer }

// Deadline is exp + leeway, from which on the identity is no more; zero for anonymous callers, who have none.
func (id *Identity) Deadline() time.Time { return id.deadline }

// Marks are what the identity can be revoked by; none of anonymous callers, who can only be told apart by their connections.
func (id *Identity) Marks() Marks { return id.marks }

// Ground is a number for the rules that the identity rests on: its issuer's, or those of anonymous callers. Identities with the same number
// are good or no good together when the rules change (see Over). No two rules of a process ever have the same number, and none has 0.
func (id *Identity) Ground() uint32 { return id.ground }

// Anonymous says whether the caller has shown no token.
func (id *Identity) Anonymous() bool { return id.anonymous }

// Claim is the value of a claim that may become part of a subject: a string or a whole number. Nested ones are named with dots.
// Whether it is one token is for the template to say.
func (id *Identity) Claim(path string) (string, bool) {
	value, ok := id.claims.lookup(path)
	if !ok {
		return "", false
	}
	switch v := value.(type) {
	case string:
		return v, true
	case json.Number:
		return v.String(), !strings.ContainsAny(v.String(), ".eE-+")
	}
	return "", false
}

// lookup finds a claim by its whole name, as in https://app.example/roles, or else by a path of names with dots between. One that is null
// is not there.
func lookup(claims map[string]any, path string) (any, bool) {
	value, _ := find(claims, path)
	return value, value != nil
}

// find is lookup that tells a claim that is null from one that is not there.
func find(claims map[string]any, path string) (any, bool) {
	if value, ok := claims[path]; ok {
		return value, true
	}
	first, rest, more := strings.Cut(path, ".")
	inner, ok := claims[first].(map[string]any)
	if !more || !ok {
		return nil, false
	}
	return find(inner, rest)
}
