package auth

import (
	"context"
	"encoding/json"
	"errors"
	"math"
	"strings"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

const (
	maxName = 1 << 10      // bytes of sub and jti, which are kept for every stream
	maxKid  = 256          // bytes
	lastSec = 253402300799 // the end of the year 9999: behind it, conversions of time overflow
)

// verify checks everything about a token but whether it has been revoked. The order matters: the issuer that the token names decides
// which keys and algorithms are tried, and nothing of the claims is believed before the signature.
func (v *Verifier) verify(ctx context.Context, text string) (*Identity, error) {
	if strings.ContainsAny(text, "\r\n") { // which decoders of base64 skip
		return nil, errMalformed
	}
	var from *issuer
	var refused error
	claims := jwt.MapClaims{}
	token, err := v.parser.ParseWithClaims(text, claims, func(t *jwt.Token) (any, error) {
		var keys jwt.VerificationKeySet
		from, keys, refused = v.keysFor(ctx, t, claims)
		return keys, refused
	})
	switch {
	case refused != nil:
		return nil, refused
	case err == nil:
	case errors.Is(err, jwt.ErrTokenMalformed):
		return nil, errMalformed
	case from == nil: // no method, or one that no issuer has: none, for example
		return nil, errAlgorithm
	default:
		return nil, errSignature
	}
	if !typeFits(from.typ, token.Header["typ"]) {
		return nil, errType
	}
	if err := from.checkClaims(claims); err != nil {
		return nil, err
	}
	return v.identity(from, claims)
}

// keysFor finds the issuer of an unverified token, and those of its keys that may have signed it.
func (v *Verifier) keysFor(ctx context.Context, t *jwt.Token, claims jwt.MapClaims) (*issuer, jwt.VerificationKeySet, error) {
	var none jwt.VerificationKeySet
	name, _ := claims["iss"].(string)
	var from *issuer
	for _, i := range v.issuers {
		if i.name == name {
			from = i
		}
	}
	if from == nil {
		return nil, none, errIssuer
	}
	// We understand no extension (RFC 7515, section 4.1.11).
	if _, critical := t.Header["crit"]; critical {
		return from, none, errMalformed
	}
	if !from.accepts(t.Method.Alg()) {
		return from, none, errAlgorithm
	}
	kid, ok := "", true
	if field, there := t.Header["kid"]; there {
		kid, ok = field.(string)
	}
	if !ok || len(kid) > maxKid {
		return from, none, errMalformed
	}
	keys, err := from.find(ctx, t.Method.Alg(), kid, milliseconds(claims["iat"]))
	for _, k := range keys {
		none.Keys = append(none.Keys, k)
	}
	return from, none, err
}

// checkClaims checks the registered claims (RFC 7519, section 4.1), after the signature.
func (i *issuer) checkClaims(claims jwt.MapClaims) error {
	for _, name := range []string{"exp", "nbf", "iat"} {
		if _, ok := claims[name]; ok && !plainTime(claims[name]) {
			return errClaims
		}
	}
	err := i.validator.Validate(claims)
	switch {
	case err == nil:
		return nil
	case errors.Is(err, jwt.ErrTokenExpired):
		return errExpired
	case errors.Is(err, jwt.ErrTokenNotValidYet):
		return errEarly
	case errors.Is(err, jwt.ErrTokenInvalidAudience):
		return errAudience
	}
	return errClaims
}

// plainTime says whether a claim is a time that survives being computed with.
func plainTime(claim any) bool {
	number, ok := claim.(json.Number)
	if !ok {
		return false
	}
	seconds, err := number.Float64()
	return err == nil && seconds >= 0 && seconds <= lastSec && !math.IsNaN(seconds)
}

// typeFits compares media types as RFC 7515, section 4.1.9, wants: without regard to case, application/ being left out by most.
func typeFits(want string, header any) bool {
	if want == "" {
		return true
	}
	typ, _ := header.(string)
	short := func(s string) string { return strings.TrimPrefix(strings.ToLower(s), "application/") }
	return short(typ) == short(want)
}

// identity is what a verified token says.
func (v *Verifier) identity(from *issuer, claims jwt.MapClaims) (*Identity, error) {
	exp, err := claims.GetExpirationTime()
	if err != nil || exp == nil {
		return nil, errClaims
	}
	id := &Identity{issuer: from.name, deadline: exp.Add(v.leeway), claims: claimsOf(claims), ground: v.groundOf(from)}
	for name, into := range map[string]*string{"sub": &id.subject, "jti": &id.token} {
		value, there := claims[name]
		text, ok := value.(string)
		if there && (!ok || len(text) > maxName) {
			return nil, errClaims
		}
		*into = text
	}
	id.marks = marksOf(id, from.sum, claims, v.session)
	granted, there := find(claims, v.claim)
	if v.claim == "" || !there {
		return id, nil
	}
	may, err := grantsOf(granted)
	if err != nil {
		return nil, errGrants
	}
	id.may = &may
	return id, nil
}

// validator holds the rules of one issuer for registered claims. The deadline is the same for accepting and for ending: exp + leeway.
func newValidator(i Issuer, leeway time.Duration) *jwt.Validator {
	return jwt.NewValidator(jwt.WithIssuer(i.Name), jwt.WithAudience(i.Audience...), jwt.WithExpirationRequired(), jwt.WithLeeway(leeway),
		jwt.WithTimeFunc(time.Now))
}
