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

func TestHardening_ScopeIsWordsAndNotSubstrings(t *testing.T) {
	rules := []Rule{{Claim: "scope", Contains: "orders:read"}}
	for _, c := range []struct {
		scope any
		ok    bool
	}{
		{"orders:read", true}, {"a orders:read b", true}, {[]any{"orders:read"}, true}, {[]any{"a", "orders:read"}, true},
		{"orders:readwrite", false}, {"my-orders:read", false}, {"orders:read,b", false}, {"orders:read\tb", false}, {"orders:read\n", false}, {"ORDERS:READ", false},
		{"", false}, {" ", false}, {nil, false}, {[]any{"a orders:read"}, false}, {[]any{[]any{"orders:read"}}, false}, {map[string]any{"orders:read": true}, false},
		{true, false}, {[]any{}, false}, {"orders :read", false},
	} {
		id := &Identity{claims: claimsOf(map[string]any{"scope": c.scope})}
		if err := id.Meets(rules, nil); (err == nil) != c.ok || err != nil && !errors.Is(err, ErrForbidden) {
			t.Errorf("%v: %v", c.scope, err)
		}
	}
}

func TestHardening_RulesAgainstValuesOfThePath(t *testing.T) {
	rules := []Rule{{Claim: "tenant", Equals: "{tenant}"}}
	path := func(v string) func(string) (string, bool) {
		return func(name string) (string, bool) { return v, name == "tenant" }
	}
	for _, c := range []struct {
		claim any
		path  string
		ok    bool
	}{
		{"acme", "acme", true}, {json.Number("7"), "7", true}, {"acme", "other", false}, {"acme", "ACME", false}, {"acme", "acme ", false}, {"", "", false},
		{[]any{"acme"}, "acme", false}, {nil, "", false}, {"{tenant}", "acme", false}, {"*", "acme", false}, {"acme", "{tenant}", false},
	} {
		id := &Identity{claims: claimsOf(map[string]any{"tenant": c.claim})}
		if err := id.Meets(rules, path(c.path)); (err == nil) != c.ok {
			t.Errorf("%v and %q: %v", c.claim, c.path, err)
		}
		if err := (&Identity{}).Meets(rules, path(c.path)); err == nil {
			t.Error("a claim that is not there meets it")
		}
	}
	if err := (&Identity{claims: claimsOf(map[string]any{"a": "x"})}).Meets([]Rule{{Claim: "a"}}, nil); err == nil {
		t.Error("a rule that says nothing is met")
	}
}

func TestHardening_MalformedPermissionsRefuseTheToken(t *testing.T) {
	v := withFile(t, publicPEM(p256()))
	for _, claim := range []string{`"all"`, `[]`, `true`, `{"sub": []}`, `{"sub": "a.>"}`, `{"sub": {"allow": "a.>"}}`, `{"sub": {"deny": "a.>"}}`,
		`{"sub": {"allow": ["a.>"], "deny": [1]}}`, `{"sub": {"deny": ["a..b"]}}`, `{"sub": {"allow": ["a.> queue"]}}`, `{"pub": {"deny": {"a": 1}}}`,
		`{"sub": {"deny": [null]}}`, `{"sub": {"allow": [""]}}`, `{"sub": {"allow": ["a.>"]}, "Sub": {"deny": ["a.b"]}}`, `{"SUB": {"allow": ["a.>"]}}`,
		`{"pub": {}, "Pub": {}}`, `{"\u017fub": {"deny": ["a.b"]}}`, `{"sub": {"Deny": ["a.b"]}}`, `{"sub": {"deny": ["a"], "Deny": ["b"]}}`} {
		refused(t, v, sign("ES256", p256(), good(jwt.MapClaims{"nats": json.RawMessage(claim)})), errGrants)
	}
	long := make([]string, maxPatterns+1)
	for i := range long {
		long[i] = "a.b"
	}
	refused(t, v, sign("ES256", p256(), good(jwt.MapClaims{"nats": map[string]any{"sub": map[string]any{"allow": long}}})), errGrants)
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

func TestHardening_DenyAndAllowEqualTheSlowReference(t *testing.T) {
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
