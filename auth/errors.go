package auth

import (
	"errors"
	"fmt"
)

// ErrUnavailable says that the keys of the token's issuer are not there, or are older than the token's key, and could not be fetched:
// the same token may be good later.
var ErrUnavailable = errors.New("the keys of the token's issuer are not available")

// errNewKey is of a token whose key may be newer than ours.
var errNewKey = fmt.Errorf("its key is not known, and may be newer than those that were last read: %w", ErrUnavailable)

// ErrOutdated says that an identity was made by rules that are no longer in force: whoever showed its token is to be asked again.
var ErrOutdated = errors.New("the rules by which the caller was identified have changed")

// TokenError says why a token is refused. It never holds a part of the token.
type TokenError struct {
	Word   string // for logs and metrics, of a small set
	Reason string // a sentence for the caller, without quotes
}

// Error is the reason.
func (e *TokenError) Error() string { return e.Reason }

// Why tokens are refused. A caller who forges learns no more from them than from this file.
var (
	errTooLong   = &TokenError{"too-long", "The token is too long."}
	errMalformed = &TokenError{"malformed", "The token is not a signed JWT."}
	errAlgorithm = &TokenError{"algorithm", "The algorithm of the token is not accepted from its issuer."}
	errIssuer    = &TokenError{"issuer", "The issuer of the token is not accepted."}
	errKey       = &TokenError{"key", "The key of the token is not known."}
	errSignature = &TokenError{"signature", "The signature of the token is wrong."}
	errExpired   = &TokenError{"expired", "The token has expired."}
	errEarly     = &TokenError{"early", "The token is not valid yet."}
	errAudience  = &TokenError{"audience", "The token is for another audience."}
	errType      = &TokenError{"type", "The token is of another type than is accepted from its issuer."}
	errClaims    = &TokenError{"claims", "A registered claim of the token is missing or malformed."}
	errRevoked   = &TokenError{"revoked", "The token has been revoked."}
	errGrants    = &TokenError{"permissions", "The permissions in the token are malformed."}
)

// allTokenErrors are the words of the metric.
var allTokenErrors = []*TokenError{errTooLong, errMalformed, errAlgorithm, errIssuer, errKey, errSignature, errExpired, errEarly, errAudience,
	errType, errClaims, errGrants, errRevoked}
