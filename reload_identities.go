package main

import (
	"context"
	"reflect"
	"slices"

	"headgate/auth"
	"headgate/gateway"
	"headgate/internal/config"
	"headgate/internal/delivery"
)

// callers is who is asking, after a reload.
type callers struct {
	verifier *auth.Verifier             // nil with AUTH_MODE=none
	fresh    bool                       // it is not the one before
	outdated map[uint32]delivery.Reason // what identities rested on that do not hold any more
	leaving  map[uint32]string          // of those, whose streams have time: the issuer by ground
}

// identities is nil where nobody has one: an interface that holds nothing is not.
func (c callers) identities() gateway.Identities {
	if c.verifier == nil {
		return nil
	}
	return c.verifier
}

// callers makes what verifies tokens by the new file, and reads the keys of issuers that are new in it. Nothing has changed then.
func (r *reloading) callers(ctx context.Context, now config.Auth) (callers, error) {
	c := callers{verifier: r.auth}
	trust := trustOf(now)
	if r.auth == nil || reflect.DeepEqual(trust, trustOf(r.cfg.Auth)) {
		return c, nil
	}
	next, err := r.auth.Next(ctx, trust)
	if err != nil {
		return c, err
	}
	c.verifier, c.fresh, c.outdated, c.leaving = next, true, map[uint32]delivery.Reason{}, map[uint32]string{}
	over := next.Over(r.auth)
	for ground, issuer := range r.leaving {
		gone := !slices.ContainsFunc(trust.Issuers, func(i auth.Issuer) bool { return i.Name == issuer })
		over = append(over, auth.Over{Ground: ground, Issuer: issuer, Gone: gone})
	}
	for _, o := range over {
		_, has := r.leaving[o.Ground] // then its time runs already
		switch {
		case o.Gone:
			c.outdated[o.Ground] = delivery.Revoked
			continue
		case !has:
			c.outdated[o.Ground] = delivery.RouteChanged
		}
		if o.Issuer != "" {
			c.leaving[o.Ground] = o.Issuer
		}
	}
	return c, nil
}

// use notes whose keys are to be looked after.
func (r *reloading) use(c callers) {
	if !c.fresh {
		return
	}
	c.verifier.Use()
	r.auth, r.leaving = c.verifier, c.leaving
	r.log.Info("the block auth has been read again", "issuers", len(r.cfg.Auth.Issuers))
}
