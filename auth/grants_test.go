package auth

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"headgate/internal/subject"

	"github.com/golang-jwt/jwt/v5"
	"pgregory.net/rapid"
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

// slowCheck decides by enumeration: every subject that would be delivered must be allowed by one and the same pattern, and be denied
// by none.
func slowCheck(p Permissions, ask string) bool {
	covered := false
	for _, wide := range p.Allow {
		all := true
		for _, s := range delivered(ask) {
			all = all && subject.Match(wide, s)
		}
		covered = covered || all
	}
	for _, s := range delivered(ask) {
		for _, d := range p.Deny {
			if subject.Match(d, s) {
				return false
			}
		}
	}
	return covered
}

var anyPattern = rapid.Custom(func(t *rapid.T) string {
	tokens := rapid.SliceOfN(rapid.SampledFrom([]string{"a", "b", "*"}), 0, 3).Draw(t, "tokens")
	if len(tokens) == 0 || len(tokens) < 3 && rapid.Bool().Draw(t, "tail") {
		tokens = append(tokens, ">")
	}
	return strings.Join(tokens, ".")
})

func TestPermissions_DenyAndAllowEqualTheSlowReference(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p := Permissions{Allow: rapid.SliceOfN(anyPattern, 0, 3).Draw(t, "allow"), Deny: rapid.SliceOfN(anyPattern, 0, 2).Draw(t, "deny")}
		ask := anyPattern.Draw(t, "ask")
		if got, want := p.Check(ask) == nil, slowCheck(p, ask); got != want {
			t.Fatalf("%+v asks for %q: %v, want %v", p, ask, got, want)
		}
	})
}

func FuzzPermissions(f *testing.F) {
	f.Add([]byte{0, 3}, []byte{0, 1}, []byte{0, 2})
	f.Add([]byte{3}, []byte{2, 1}, []byte{0, 3})
	make := func(from []byte) string {
		tokens := []string{}
		for _, c := range from[:min(len(from), 3)] {
			tokens = append(tokens, []string{"a", "b", "*", ">"}[c%4])
			if c%4 == 3 {
				break
			}
		}
		if len(tokens) == 0 {
			return "a"
		}
		return strings.Join(tokens, ".")
	}
	f.Fuzz(func(t *testing.T, allow, deny, ask []byte) {
		p := Permissions{Allow: []string{make(allow)}}
		if len(deny) > 0 {
			p.Deny = []string{make(deny)}
		}
		if got, want := p.Check(make(ask)) == nil, slowCheck(p, make(ask)); got != want {
			t.Fatalf("%+v asks for %q: %v, want %v", p, make(ask), got, want)
		}
	})
}
