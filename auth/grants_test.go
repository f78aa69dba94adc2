package auth

import (
	"encoding/json"
	"errors"
	"testing"

	"github.com/golang-jwt/jwt/v5"
)

func TestGrants_Table(t *testing.T) {
	v := withFile(t, publicPEM(p256()))
	for _, c := range []struct {
		claim, ask            string
		named, fixed, publish bool
	}{
		{`{}`, "a.b", false, true, false},
		{`{"subs": {"deny": 1}, "resp": {"max": 1}, "sub": {}}`, "a.b", false, true, false}, // NATS has more beside sub and pub
		{`{"sub": {}, "pub": {}}`, "a.b", false, true, false},
		{`{"sub": {"allow": []}}`, "a.b", false, false, false},
		{`{"sub": {"allow": ["a.>"]}}`, "a.b", true, true, false},
		{`{"sub": {"allow": ["a.>"]}}`, "b.c", false, false, false},
		{`{"sub": {"allow": ["a.*"]}}`, "a.>", false, false, false},
		{`{"sub": {"deny": ["a.secret"]}}`, "a.b", false, true, false}, // a deny alone grants nothing
		{`{"sub": {"deny": ["a.secret"]}}`, "a.secret", false, false, false},
		{`{"sub": {"deny": ["a.secret"]}}`, "a.*", false, false, false}, // it would deliver what is denied
		{`{"sub": {"allow": ["a.>"], "deny": ["a.secret.>"]}}`, "a.>", false, false, false},
		{`{"sub": {"allow": ["a.>"], "deny": ["a.secret.>"]}}`, "a.secret", true, true, false},
		{`{"sub": {"allow": ["a.>"], "deny": ["*.*.x"]}}`, "a.b.*", false, false, false},
		{`{"sub": {"allow": [">"], "deny": [">"]}}`, "a.b", false, false, false},
		{`{"sub": {"allow": ["$KV.FLAGS.eu.>"]}}`, "$KV.FLAGS.eu.x", true, true, false},
		{`{"sub": {"allow": ["$KV.FLAGS.eu.>"]}}`, "$KV.FLAGS.us.x", false, false, false},
		{`{"pub": {"allow": ["a.b"]}}`, "a.b", false, true, true},
		{`{"pub": {"allow": ["a.>"], "deny": ["a.b"]}}`, "a.b", false, true, false},
		{`{"pub": {"deny": ["x"]}}`, "a.b", false, true, false},
	} {
		id := accepted(t, v, sign("ES256", p256(), good(jwt.MapClaims{"nats": json.RawMessage(c.claim)})))
		for what, got := range map[string][2]bool{"named": {id.MayRead(c.ask, Named) == nil, c.named}, "fixed": {id.MayRead(c.ask, Fixed) == nil, c.fixed},
			"publish": {id.MayPublish(c.ask) == nil, c.publish}} {
			if got[0] != got[1] {
				t.Errorf("%s asks for %s, %s: %v", c.claim, c.ask, what, got[0])
			}
		}
	}
}

// A deny must not get lost because it is written wrongly.
func TestGrants_WhatIsNotUnderstoodRefusesTheToken(t *testing.T) {
	v := withFile(t, publicPEM(p256()))
	for _, claim := range []string{`null`, `"x"`, `[]`, `true`, `0`, `{"sub": null}`, `{"pub": []}`, `{"sub": "a.>"}`, `{"sub": {"denied": ["a.>"]}}`,
		`{"sub": {"Deny": ["a.>"]}}`, `{"sub": {"deny ": ["a.>"]}}`, `{"sub": {"allow": ["a.>"], "denys": []}}`, `{"pub": {"": ["a"]}}`, `{"sub": {"deny": null}}`,
		`{"sub": {"allow": null}}`, `{"sub": {"deny": "a"}}`, `{"sub": {"deny": {}}}`, `{"sub": {"deny": [1]}}`, `{"sub": {"deny": [null]}}`, `{"sub": {"deny": [["a"]]}}`} {
		refused(t, v, sign("ES256", p256(), good(jwt.MapClaims{"nats": json.RawMessage(claim)})), errGrants)
	}
	// The claim may be one inside another.
	i := issuerOf()
	i.KeyFile = file(t, publicPEM(p256()))
	v = loaded(t, Options{Issuers: []Issuer{i}, PermissionsClaim: "app.nats"})
	refused(t, v, sign("ES256", p256(), good(jwt.MapClaims{"app": map[string]any{"nats": nil}})), errGrants)
	accepted(t, v, sign("ES256", p256(), good(jwt.MapClaims{"app": map[string]any{}})))
}

func TestGrants_AnonymousCallersHaveTheirOwn(t *testing.T) {
	i := issuerOf()
	i.KeyFile = file(t, publicPEM(p256()))
	v := loaded(t, Options{Issuers: []Issuer{i}, Anonymous: Grants{Sub: Permissions{Allow: []string{"public.>"}, Deny: []string{"public.not"}}}})
	a := v.Anonymous()
	if a.MayRead("public.a", Named) != nil || a.MayRead("public.not", Named) == nil || a.MayRead("other", Fixed) == nil || a.MayPublish("public.a") == nil {
		t.Errorf("%+v", a.may)
	}
	if err := a.Meets([]Rule{{Claim: "sub", Equals: "x"}}, nil); !errors.Is(err, ErrForbidden) {
		t.Error(err)
	}
	// Without permissions_claim, a token has none: anonymous ones are not inherited.
	id := accepted(t, v, sign("ES256", p256(), good(jwt.MapClaims{"nats": map[string]any{"sub": map[string]any{"allow": []string{">"}}}})))
	if id.MayRead("public.a", Named) == nil {
		t.Error("permissions came from nowhere")
	}
}
