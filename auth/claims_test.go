package auth

import (
	"encoding/json"
	"reflect"
	"strings"
	"testing"
)

// decoded reads claims as a token's are read.
func decoded(text string) (map[string]any, bool) {
	d := json.NewDecoder(strings.NewReader(text))
	d.UseNumber()
	var all map[string]any
	return all, d.Decode(&all) == nil
}

func TestClaims_AreFoundWhereverTheyStand(t *testing.T) {
	all, ok := decoded(`{"a": "x", "b": [1, {"c": "}"}, "]"], "c": {"d": {"e": 1.50}, "f.g": true}, "h.i": null, "": 2, "q\"\\": "\\\"", "é<\u2028": "<&>", "n": -1e9, "z": {}}`)
	if !ok {
		t.Fatal("no JSON")
	}
	c := claimsOf(all)
	for path, want := range map[string]any{"a": "x", "b": all["b"], "c.d.e": json.Number("1.50"), "c.f.g": true, "": json.Number("2"), `q"\`: `\"`,
		"é<\u2028": "<&>", "n": json.Number("-1e9"), "z": map[string]any{}, "c.d": map[string]any{"e": json.Number("1.50")}} {
		if got, ok := c.find(path); !ok || !reflect.DeepEqual(got, want) {
			t.Errorf("%q: %v, want %v", path, got, want)
		}
	}
	if v, ok := c.find("h.i"); v != nil || !ok {
		t.Error("null is not found")
	}
	if _, ok := c.lookup("h.i"); ok {
		t.Error("null is taken for a value")
	}
	for _, path := range []string{"x", "d", "a.b", "c.d.x", "b.c", "A", "a\"", `a":"x`, "1", "e"} {
		if v, ok := c.find(path); ok {
			t.Errorf("%q: %v", path, v)
		}
	}
	if _, ok := claims("").find("a"); ok {
		t.Error("found in nothing")
	}
}

// What is found in packed claims is what is found in decoded ones, whatever they are.
func FuzzClaims(f *testing.F) {
	for _, s := range []string{`{"a":{"b":[1,"x"]},"a.b":null}`, `{"\"":"\\"}`, `{"a":"b\"c:,}","c":1}`, `{"\ud800":"\ud800","":{"":{}}}`, `{"a":[[],{}],"b":{}}`} {
		f.Add(s, "a.b")
		f.Add(s, `"`)
	}
	f.Fuzz(func(t *testing.T, text, path string) {
		all, ok := decoded(text)
		if !ok {
			return
		}
		c := claimsOf(all)
		paths := []string{path}
		for name, value := range all {
			paths = append(paths, name)
			if inner, ok := value.(map[string]any); ok {
				for n := range inner {
					paths = append(paths, name+"."+n)
				}
			}
		}
		for _, p := range paths {
			want, there := find(all, p)
			if got, ok := c.find(p); ok != there || !reflect.DeepEqual(got, want) {
				t.Fatalf("%q in %s: %v %v, want %v %v", p, c, got, ok, want, there)
			}
		}
	})
}

func BenchmarkClaims(b *testing.B) {
	c := claimsOf(map[string]any{"iss": "https://issuer.example", "aud": "headgate", "sub": "user-00000001", "jti": "token-00000001", "iat": json.Number("1767225600"),
		"exp": json.Number("1767232800"), "scope": "openid profile feed:read", "tenant": "acme"})
	for b.Loop() {
		if _, ok := c.lookup("tenant"); !ok {
			b.Fatal("not found")
		}
	}
}
