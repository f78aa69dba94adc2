package main

import (
	"context"
	"reflect"

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
	c.verifier, c.fresh, c.outdated = next, true, map[uint32]delivery.Reason{}
	for _, o := range next.Over(r.auth) {
		c.outdated[o.Ground] = delivery.RouteChanged
		if o.Gone {
			c.outdated[o.Ground] = delivery.Revoked
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
	r.auth = c.verifier
	r.log.Info("the block auth has been read again", "issuers", len(r.cfg.Auth.Issuers))
}
