package auth

import (
	"encoding/json"
	"strings"
	"testing"
)

func TestMeets_Table(t *testing.T) {
	id := &Identity{claims: claimsOf(map[string]any{"role": "admin", "level": json.Number("3"), "beta": true, "org": map[string]any{"id": "o7"},
		"https://a.example/groups": []any{"red", json.Number("5")}})}
	value := func(name string) (string, bool) {
		v, ok := map[string]string{"org": "o7", "group": "red", "empty": ""}[name]
		return v, ok
	}
	for _, c := range []struct {
		rule Rule
		ok   bool
	}{
		{Rule{Claim: "role", Equals: "admin"}, true}, {Rule{Claim: "role", Equals: "user"}, false}, {Rule{Claim: "role", In: []string{"user", "admin"}}, true},
		{Rule{Claim: "role", In: []string{}}, false}, {Rule{Claim: "level", Equals: "3"}, true}, {Rule{Claim: "beta", Equals: "true"}, true},
		{Rule{Claim: "org.id", Equals: "{org}"}, true}, {Rule{Claim: "org.id", Equals: "{group}"}, false}, {Rule{Claim: "org.id", Equals: "{none}"}, false},
		{Rule{Claim: "https://a.example/groups", Contains: "{group}"}, true}, {Rule{Claim: "https://a.example/groups", Contains: "5"}, true},
		{Rule{Claim: "https://a.example/groups", Contains: "re"}, false}, {Rule{Claim: "org.id", In: []string{"x", "{org}"}}, true},
		{Rule{Claim: "role", Equals: "{empty}"}, false}, {Rule{Claim: "org", Equals: "o7"}, false}, {Rule{Claim: "none", Equals: "x"}, false},
	} {
		if err := id.Meets([]Rule{c.rule}, value); (err == nil) != c.ok {
			t.Errorf("%+v: %v", c.rule, err)
		}
	}
	all := []Rule{{Claim: "role", Equals: "admin"}, {Claim: "level", Equals: "4"}}
	if err := id.Meets(all, value); err == nil || !strings.Contains(err.Error(), "level") || strings.Contains(err.Error(), "4") {
		t.Errorf("all rules count: %v", err)
	}
}

func TestPlaceholder_OneAtMost(t *testing.T) {
	for text, want := range map[string][3]string{"a": {"a", "", ""}, "{x}": {"", "x", ""}, "a:{x}:b": {"a:", "x", ":b"}} {
		if before, name, after, err := Placeholder(text); err != nil || [3]string{before, name, after} != want {
			t.Errorf("%q: %q %q %q %v", text, before, name, after, err)
		}
	}
	for _, bad := range []string{"{", "}", "{}", "{a", "a}", "{a}{b}", "{a}:{b}", "{{a}}", "}{a}"} {
		if _, _, _, err := Placeholder(bad); err == nil {
			t.Errorf("%q is taken", bad)
		}
	}
}
