package auth

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"regexp"
	"slices"
	"strings"
	"time"

	"headgate/internal/exactjson"
)

// RevocationKind is what a revocation names.
type RevocationKind uint8

// The kinds. A Kick bars a user for a while, whatever token he shows.
const (
	ByToken RevocationKind = iota
	ByUser
	BySession
	ByConnection
	Kick
	revocationKinds
)

var kindNames = [revocationKinds]string{"jti", "sub", "sid", "conn", "kick"}

// String is the first part of its keys.
func (k RevocationKind) String() string { return kindNames[k] }

// RevocationEntry is a key of the bucket and what it holds.
type RevocationEntry struct {
	Key    string
	Value  []byte
	Gone   bool      // the key is there no more
	Stored time.Time // when the bucket took it
}

// Revocation is the value of a revocation.
type Revocation struct {
	// Before: tokens are revoked whose iat is not later, or that have none. Zero: of a user, when the bucket took it; else all of them.
	Before time.Time
	Until  time.Time // revoked so long; zero = as long as the bucket keeps it
	Reason string    // for operators
}

// MarshalJSON writes it as the bucket holds it.
func (r Revocation) MarshalJSON() ([]byte, error) {
	v := map[string]string{}
	for name, t := range map[string]time.Time{"before": r.Before, "until": r.Until} {
		if !t.IsZero() {
			v[name] = t.UTC().Format(time.RFC3339Nano)
		}
	}
	if r.Reason != "" {
		v["reason"] = r.Reason
	}
	return json.Marshal(v)
}

// forever is a moment that no token comes from.
const forever = math.MaxInt64

// rule is a revocation in memory. Times are Unix milliseconds.
type rule struct {
	before int64 // tokens with an iat up to it
	until  int64
}

// name is whom a rule is about. A connection is found by the sum of its id.
type name struct {
	kind   RevocationKind
	issuer issuerSum // zero: whoever issued the token
	sum    sum
}

var errNoKey = errors.New("not the key of a revocation: expected jti., sub., sid. or kick. and the SHA-256 of the value in hex, with that of the issuer and a dot " +
	"before it where only its tokens are meant; or conn. and the id of a connection")

var connectionID = regexp.MustCompile(`^[0-9a-z]{1,32}-[0-9a-z]{1,32}$`)

// nameOf reads a key.
func nameOf(key string) (name, error) {
	word, rest, _ := strings.Cut(key, ".")
	n := name{kind: RevocationKind(slices.Index(kindNames[:], word))} // of an unknown one the largest
	switch {
	case n.kind >= revocationKinds:
		return name{}, errNoKey
	case n.kind == ByConnection && !connectionID.MatchString(rest):
		return name{}, errNoKey
	case n.kind == ByConnection:
		n.sum = sumOf(rest)
		return n, nil
	}
	if issuer, value, of := strings.Cut(rest, "."); of {
		if !sumFrom(issuer, n.issuer[:]) {
			return name{}, errNoKey
		}
		rest = value
	}
	if !sumFrom(rest, n.sum[:]) {
		return name{}, errNoKey
	}
	return n, nil
}

// ruleOf reads a value. One that cannot be read revokes whatever its key names: somebody has meant to. An empty one says nothing beyond
// its key.
func ruleOf(k RevocationKind, e RevocationEntry) (rule, error) {
	all := rule{before: forever, until: forever}
	r := all
	if k == ByUser {
		r.before = e.Stored.UnixMilli()
	}
	if len(bytes.TrimSpace(e.Value)) == 0 {
		return r, nil
	}
	var v struct {
		Before *moment         `json:"before"`
		Until  *moment         `json:"until"`
		Reason json.RawMessage `json:"reason"`
	}
	if err := exactjson.Decode(e.Value, &v); err != nil {
		return all, fmt.Errorf("the value cannot be read, so it counts without exception: %w", err)
	}
	if v.Before != nil {
		r.before = int64(*v.Before)
	}
	if v.Until != nil {
		r.until = int64(*v.Until)
	}
	return r, nil
}

// moment is a time as operators write it: RFC 3339, or Unix seconds.
type moment int64

// UnmarshalJSON reads either.
func (m *moment) UnmarshalJSON(text []byte) error {
	if n := json.Number(text); len(text) > 0 && text[0] != '"' {
		seconds, err := n.Float64()
		if err != nil || seconds < 0 || seconds > lastSec {
			return errors.New("expected a time: RFC 3339, or Unix seconds")
		}
		*m = moment(math.Floor(seconds * 1000))
		return nil
	}
	var t time.Time
	if err := json.Unmarshal(text, &t); err != nil {
		return errors.New("expected a time: RFC 3339, or Unix seconds")
	}
	*m = moment(t.UnixMilli())
	return nil
}
