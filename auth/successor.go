package auth

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

// Trust is what a reload can change: whose tokens are accepted, where those have their permissions, and what callers without one may use.
type Trust struct {
	Issuers          []Issuer
	PermissionsClaim string
	Anonymous        Grants
}

// line is what a verifier and its successors share.
type line struct {
	// fixed after New
	options Options // Issuers, PermissionsClaim and Anonymous are those of the first verifier
	metrics *metrics
	began   time.Time
	changed chan struct{} // another verifier is the current one

	// atomic
	current atomic.Pointer[Verifier] // the one that is in force
	grounds atomic.Uint32            // the last one that was given away
}

// Over is a ground whose identities are no longer good as they are.
type Over struct {
	Ground uint32
	Issuer string // empty: the ground of anonymous callers
	Gone   bool   // the issuer is not accepted any more. Otherwise its rules are others, and its tokens may be good all the same
}

// age is how long ago keys were read, of the issuer where that is longest ago.
func (l *line) age(now time.Time) (oldest time.Duration) {
	v := l.current.Load()
	if v == nil {
		return 0
	}
	for _, i := range v.issuers {
		read := i.lastRead()
		if read.IsZero() {
			read = l.began
		}
		oldest = max(oldest, now.Sub(read))
	}
	return oldest
}

// KeysState says in words how it is with the keys of the issuers in force: whose could not be read at the last attempt, and why.
func (v *Verifier) KeysState() string {
	issuers := v.line.current.Load().issuers
	var problems []string
	for _, i := range issuers {
		if text := i.problem(); text != "" {
			problems = append(problems, text)
		}
	}
	if len(problems) > 0 {
		return strings.Join(problems, "; ")
	}
	return fmt.Sprintf("in use, issuers: %d", len(issuers))
}

// Next makes a verifier of another Trust, and changes nothing yet: Use does. An issuer that says what it said before keeps its keys. Those
// of the others are read now, also from URLs: one whose keys cannot be had is an error, for its tokens would all be refused.
func (v *Verifier) Next(ctx context.Context, t Trust) (*Verifier, error) {
	next, err := v.line.verifier(t, v)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, 2*fetchTimeout)
	defer cancel()
	var errs []error
	for _, i := range next.issuers {
		if !slices.Contains(v.issuers, i) {
			errs = append(errs, i.attempt(ctx))
		}
	}
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	return next, nil
}

// Use puts the verifier's trust in force: from now on Run looks after the keys of its issuers, and no others. It must not be called at the
// same time as itself.
func (v *Verifier) Use() {
	v.line.current.Store(v)
	v.cache.clear() // keys may have changed since somebody asked it for the first time
	select {
	case v.line.changed <- struct{}{}:
	default: // Run has not seen the one before yet
	}
}

// Over lists what does not hold any more when v follows old.
func (v *Verifier) Over(old *Verifier) []Over {
	var over []Over
	for n, ground := range old.grounds {
		if !v.has(ground) {
			name := old.issuers[n].name
			over = append(over, Over{ground, name, v.issuer(name) < 0})
		}
	}
	if old.anonymous.ground != v.anonymous.ground {
		over = append(over, Over{Ground: old.anonymous.ground})
	}
	return over
}

// has says whether identities with this ground are good as they are.
func (v *Verifier) has(ground uint32) bool {
	return ground == v.anonymous.ground || slices.Contains(v.grounds, ground)
}

// rests says what is wrong with the ground of an identity, which may be another verifier's.
func (v *Verifier) rests(id *Identity) error {
	switch {
	case v.has(id.ground):
		return nil
	case !id.anonymous && v.issuer(id.issuer) < 0:
		return errIssuer
	}
	return ErrOutdated
}

// issuer is the place of an issuer, -1 without one of that name.
func (v *Verifier) issuer(name string) int {
	return slices.IndexFunc(v.issuers, func(i *issuer) bool { return i.name == name })
}

func (v *Verifier) groundOf(i *issuer) uint32 { return v.grounds[slices.Index(v.issuers, i)] }

// verifier makes one. What they have in common with those of the one before is taken over from it: issuers with their keys, and
// grounds. It reads nothing.
func (l *line) verifier(t Trust, before *Verifier) (*Verifier, error) {
	o := l.options
	v := &Verifier{trust: t, claim: t.PermissionsClaim, leeway: o.Leeway, metrics: l.metrics, revoked: o.Revocations, session: o.SessionClaim, line: l}
	var methods []string
	for _, wanted := range t.Issuers {
		if v.issuer(wanted.Name) >= 0 {
			return nil, fmt.Errorf("auth: the issuer %q is there twice", wanted.Name)
		}
		i, ground, err := l.issuer(wanted, t.PermissionsClaim, before)
		if err != nil {
			return nil, fmt.Errorf("auth: issuer %q: %w", wanted.Name, err)
		}
		v.issuers, v.grounds = append(v.issuers, i), append(v.grounds, ground)
		methods = append(methods, i.algorithms...)
	}
	if len(v.issuers) == 0 {
		return nil, errors.New("auth: there is no issuer")
	}
	// Claims are validated behind the signature, and by the rules of the issuer that signed.
	v.parser = jwt.NewParser(jwt.WithValidMethods(methods), jwt.WithoutClaimsValidation(), jwt.WithJSONNumber(), jwt.WithStrictDecoding())
	may, err := t.Anonymous.compile()
	if err != nil {
		return nil, fmt.Errorf("auth: permissions of anonymous callers: %w", err)
	}
	v.anonymous = &Identity{anonymous: true, may: &may}
	// What they may publish is asked for each time; what they read has been decided when their streams began.
	if before != nil && reflect.DeepEqual(before.trust.Anonymous.Sub, t.Anonymous.Sub) {
		v.anonymous.ground = before.anonymous.ground
	} else {
		v.anonymous.ground = l.grounds.Add(1)
	}
	return v, nil
}

// issuer makes an issuer, or takes that of the verifier before, which says the same.
func (l *line) issuer(wanted Issuer, claim string, before *Verifier) (*issuer, uint32, error) {
	if before != nil {
		n := slices.IndexFunc(before.trust.Issuers, func(i Issuer) bool { return reflect.DeepEqual(i, wanted) })
		switch {
		case n >= 0 && before.claim == claim:
			return before.issuers[n], before.grounds[n], nil
		case n >= 0:
			return before.issuers[n], l.grounds.Add(1), nil
		}
	}
	i, err := newIssuer(wanted, l.options)
	if err != nil {
		return nil, 0, err
	}
	i.changed = func() { l.current.Load().cache.clear() }
	i.metrics = l.metrics
	return i, l.grounds.Add(1), nil
}
