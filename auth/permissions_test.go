package auth

import (
	"errors"
	"strings"
	"testing"

	"headgate/internal/subject"

	"pgregory.net/rapid"
)

func TestCheck_Table(t *testing.T) {
	tests := []struct {
		allow []string
		ask   string
		ok    bool
	}{
		{[]string{"a.>"}, "a.b", true}, {[]string{"a.>"}, "a.*", true}, {[]string{"a.>"}, "a.>", true}, {[]string{"a.>"}, "a.b.>", true},
		{[]string{"a.>"}, "a", false}, {[]string{"a.>"}, "ab.c", false}, {[]string{"a.>"}, ">", false}, {[]string{"a.>"}, "*.b", false},
		{[]string{"a.*"}, "a.b", true}, {[]string{"a.*"}, "a.*", true}, {[]string{"a.*"}, "a.>", false}, {[]string{"a.*"}, "a.b.c", false},
		{[]string{"a.b"}, "a.*", false}, {[]string{"a.b"}, "a.b", true}, {[]string{"x", "a.b"}, "a.b", true},
		{[]string{"a.*", "a.*.>"}, "a.>", false},
		{[]string{">"}, "a", true}, {[]string{">"}, ">", true}, {[]string{">"}, "$JS.API.>", false}, {[]string{">"}, "_INBOX.>", false},
		{[]string{"$JS.>", "_INBOX.>"}, "$JS.API.INFO", false}, {[]string{"_INBOX.>"}, "_INBOX.x", false},
		{nil, "a", false}, {[]string{}, "a", false}, {[]string{""}, "", false}, {[]string{">"}, "", false}, {[]string{">"}, "a..b", false},
		{[]string{">"}, "a b", false}, {[]string{">"}, "a\r\nPUB b 1", false}, {[]string{">"}, "a.>.b", false}, {[]string{">"}, "a\xff", false},
		{[]string{"a*"}, "ab", false}, {[]string{"a.>.c"}, "a.b.c", false},
	}
	for _, tt := range tests {
		err := Permissions{Allow: tt.allow}.Check(tt.ask)
		if (err == nil) != tt.ok || err != nil && !errors.Is(err, ErrForbidden) {
			t.Errorf("%q asks for %q: %v", tt.allow, tt.ask, err)
		}
	}
}

func TestCheck_DoesNotTellWhatIsAllowed(t *testing.T) {
	err := Permissions{Allow: []string{"secret.tenant.>"}}.Check("a.b")
	if err == nil || strings.Contains(err.Error(), "secret") {
		t.Errorf("err = %v", err)
	}
}

// delivered is what NATS would deliver for a subscription to ask: every subject of up to four tokens that it matches.
func delivered(ask string) []string {
	var all []string
	level := []string{""}
	for range 4 {
		var next []string
		for _, prefix := range level {
			for _, token := range []string{"a", "b", "c"} {
				s := strings.TrimPrefix(prefix+"."+token, ".")
				next = append(next, s)
				if subject.Match(ask, s) {
					all = append(all, s)
				}
			}
		}
		level = next
	}
	return all
}

// Whatever is allowed, nothing that one of the patterns does not match may be delivered; and a refusal has a subject to show for it,
// or only the union of several patterns would have covered it.
func TestCheck_LetsNothingElseThrough(t *testing.T) {
	pattern := rapid.Custom(func(t *rapid.T) string {
		tokens := rapid.SliceOfN(rapid.SampledFrom([]string{"a", "b", "*"}), 0, 3).Draw(t, "tokens")
		if len(tokens) == 0 || len(tokens) < 3 && rapid.Bool().Draw(t, "tail") {
			tokens = append(tokens, ">")
		}
		return strings.Join(tokens, ".")
	})
	rapid.Check(t, func(t *rapid.T) {
		p := Permissions{Allow: rapid.SliceOfN(pattern, 0, 3).Draw(t, "allow")}
		ask := pattern.Draw(t, "ask")
		covered := false
		for _, wide := range p.Allow {
			all := true
			for _, s := range delivered(ask) {
				all = all && subject.Match(wide, s)
			}
			covered = covered || all
		}
		if err := p.Check(ask); (err == nil) != covered {
			t.Fatalf("%q asks for %q: %v, want allowed %v", p.Allow, ask, err, covered)
		}
	})
}

func FuzzCheck(f *testing.F) {
	f.Add("a.>", "a.b", "a.b")
	f.Add(">", "$JS.API.>", "$JS.API.x")
	f.Fuzz(func(t *testing.T, allow, ask, literal string) {
		if (Permissions{Allow: []string{allow}}).Check(ask) != nil {
			return
		}
		if subject.Valid(ask) != nil || subject.Internal(ask) {
			t.Fatalf("%q allows %q", allow, ask)
		}
		if subject.ValidLiteral(literal) == nil && subject.Match(ask, literal) && !subject.Match(allow, literal) {
			t.Fatalf("%q allows %q, which delivers %q", allow, ask, literal)
		}
	})
}
