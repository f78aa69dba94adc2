package auth

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"math"
)

// sum is what is kept of a value that can be revoked: the first half of its SHA-256. Zero stands for no value.
type sum [sha256.Size / 2]byte

func sumOf(value string) (s sum) {
	if value == "" {
		return s
	}
	full := sha256.Sum256([]byte(value))
	copy(s[:], full[:])
	return s
}

// Marks are what an identity can be revoked by. They hold no pointer and nothing of the token: gateway keeps them for every open stream.
type Marks struct {
	token, subject, session sum
	issuer                  issuerSum
	issued                  uint32 // iat in Unix seconds; 0 = the token does not say, and so counts as older than any revocation
}

// issuerSum is the beginning of the SHA-256 of an issuer's name; zero is whoever it was. It tells apart a few names, which nobody but operators
// chooses, so that four bytes are enough.
type issuerSum [4]byte

func issuerSumOf(name string) (s issuerSum) {
	full := sha256.Sum256([]byte(name))
	copy(s[:], full[:])
	return s
}

// None says whether there is nothing to revoke the identity by, as of callers without a token.
func (m *Marks) None() bool { return *m == Marks{} }

// MarksOfUser are those that all tokens with this sub share.
func MarksOfUser(subject string) Marks { return Marks{subject: sumOf(subject)} }

// SameUser says whether both are of tokens with the same sub.
func (m *Marks) SameUser(o *Marks) bool { return m.subject == o.subject && m.subject != sum{} }

// marksOf takes the marks out of verified claims. A session that is a number is named as JSON writes it; what is neither is no session.
func marksOf(id *Identity, from issuerSum, all map[string]any, sessionClaim string) Marks {
	m := Marks{issuer: from, token: sumOf(id.token), subject: sumOf(id.subject), issued: uint32(min(milliseconds(all["iat"])/1000, math.MaxUint32))}
	switch session, _ := lookup(all, sessionClaim); v := session.(type) {
	case string:
		m.session = sumOf(v)
	case json.Number:
		m.session = sumOf(v.String())
	}
	return m
}

// milliseconds is a time of a token, rounded down; 0 when there is none.
func milliseconds(claim any) int64 {
	number, ok := claim.(json.Number)
	if !ok {
		return 0
	}
	seconds, err := number.Float64()
	if err != nil || seconds < 0 || seconds > lastSec {
		return 0
	}
	return int64(math.Floor(seconds * 1000))
}

// RevocationKey is the key of a revocation in the bucket: the kind, a dot, and the SHA-256 of the value in hex; of a connection its id as
// it is. So every value has a key that NATS takes, of a known length, and the names of people are not among them.
func RevocationKey(k RevocationKind, value string) string {
	if k == ByConnection {
		return k.String() + "." + value
	}
	return k.String() + "." + hexSum(value)
}

// RevocationKeyOf is the key of one that is about tokens of that issuer alone: the SHA-256 of its name stands in the middle. Connections
// have none.
func RevocationKeyOf(k RevocationKind, issuer, value string) string {
	return k.String() + "." + hexSum(issuer) + "." + hexSum(value)
}

func hexSum(value string) string {
	full := sha256.Sum256([]byte(value))
	return hex.EncodeToString(full[:])
}

// sumFrom reads what hexSum has written, as much of it as there is room for.
func sumFrom(text string, into []byte) bool {
	full, err := hex.DecodeString(text)
	if err != nil || len(full) != sha256.Size {
		return false
	}
	copy(into, full)
	return true
}
