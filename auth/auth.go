// Package auth is who is asking and which subjects they may use: it verifies tokens, and keeps what they say as an Identity.
//
// It knows no requests: gateway finds the token and turns the errors into answers.
package auth

import (
	"context"
	"log/slog"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/prometheus/client_golang/prometheus"
)

// MaxToken is the longest token that is looked at, in bytes.
const MaxToken = 16 << 10

// Issuer is someone whose tokens are accepted. Exactly one of JWKSURL, KeyFile and SecretFile says where its keys are.
type Issuer struct {
	Name       string   // the iss claim, exactly
	Audience   []string // one of these must be in the aud claim; at least one
	JWKSURL    string
	KeyFile    string   // public keys: PEM, a JWK, or a JWK set; read again when it changes
	SecretFile string   // a secret shared with the issuer, for HS algorithms; read again when it changes
	Algorithms []string // none: all that are not HS, or with a secret HS256
	Type       string   // the typ header, such as at+jwt; empty: whatever it is
}

// Options are what a Verifier needs.
type Options struct {
	Issuers          []Issuer
	PermissionsClaim string // where a token's permissions are; empty: tokens carry none
	Anonymous        Grants // of callers without a token
	Leeway           time.Duration
	Revocations      *Revocations // nil: nobody can be revoked
	SessionClaim     string       // names the session of a token, for Revocations
	// Fetch gets a JWK set, at most max bytes of it. It ends with the context.
	Fetch   func(ctx context.Context, url string, max int64) ([]byte, error)
	Log     *slog.Logger
	Metrics prometheus.Registerer // nil: none
}

// Verifier turns tokens into identities, by a trust that never changes: another trust is for its successor (see Next). It is
// safe for concurrent use.
type Verifier struct {
	// fixed after New or Next
	trust     Trust
	issuers   []*issuer
	grounds   []uint32 // beside issuers: what identities from them rest on
	parser    *jwt.Parser
	claim     string
	leeway    time.Duration
	anonymous *Identity
	metrics   *metrics
	revoked   *Revocations // nil: nobody can be
	session   string       // the claim
	line      *line

	cache cache
}

// New checks the options. It reads nothing: Load does, and Run.
func New(o Options) (*Verifier, error) {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	l := &line{options: o, began: time.Now(), changed: make(chan struct{}, 1)}
	l.metrics = newMetrics(o.Metrics, l)
	v, err := l.verifier(Trust{o.Issuers, o.PermissionsClaim, o.Anonymous}, nil)
	if err != nil {
		return nil, err
	}
	l.current.Store(v)
	return v, nil
}

// Identify verifies a token. A *TokenError says that the token is no good, ErrUnavailable that it cannot be told now, ErrKicked that its
// user is not wanted for a while.
func (v *Verifier) Identify(ctx context.Context, token string) (*Identity, error) {
	id, err := v.identify(ctx, token)
	v.metrics.judged(err)
	return id, err
}

func (v *Verifier) identify(ctx context.Context, token string) (*Identity, error) {
	if len(token) > MaxToken {
		return nil, errTooLong
	}
	key := digest(token)
	id, generation := v.cache.get(key)
	if id == nil {
		var err error
		if id, err = v.verify(ctx, token); err != nil {
			return nil, err
		}
		v.cache.put(key, id, generation)
		if v.revoked != nil {
			v.revoked.watchLife(id)
		}
	}
	if err := v.Check(id); err != nil {
		return nil, err
	}
	return id, nil
}

// Check says whether an identity still holds. It fails as Identify does. What was found a moment ago is not believed: the identity may
// have expired, or been revoked, since; or it may be of other rules: ErrOutdated says that its token must be looked at again.
func (v *Verifier) Check(id *Identity) error {
	if err := v.rests(id); err != nil {
		return err
	}
	if id.anonymous {
		return nil
	}
	if !time.Now().Before(id.deadline) {
		return errExpired
	}
	if v.revoked == nil {
		return nil
	}
	switch v.revoked.Find(&id.marks) {
	case Good:
		return nil
	case Revoked:
		return errRevoked
	case Kicked:
		return ErrKicked
	}
	return errUnknown
}

// Accepts says whether tokens of that issuer are accepted, by the trust that is in force now.
func (v *Verifier) Accepts(name string) bool {
	return v.line.current.Load().issuer(name) >= 0
}

// Anonymous is the identity of a caller without a token.
func (v *Verifier) Anonymous() *Identity { return v.anonymous }
