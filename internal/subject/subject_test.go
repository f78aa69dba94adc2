package subject

import (
	"net/url"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"
)

func TestValid_Table(t *testing.T) {
	for _, ok := range []string{"a", "a.b", "a.*", "*", ">", "a.>", "*.*.>", "A-1_b", "größe.ß", "$JS.API.>", "_INBOX.x", "a{b}", "a.b:c/d",
		strings.Repeat("x", MaxLen)} {
		if err := Valid(ok); err != nil {
			t.Errorf("Valid(%q): %v", ok, err)
		}
	}
	bad := map[string]string{
		"": "empty", ".": "token 1 is empty", "a.": "token 2 is empty", ".a": "token 1", "a..b": "token 2 is empty", "a.>.b": "last token",
		">.>": "last token", "a*": "wildcard", "*a": "wildcard", "a.b>": "wildcard", "**": "wildcard", ">>": "wildcard", "a b": "white space",
		"a.\t": "white space", "a\n": "white space", "a\r": "white space", "a.\x00": "control", "a.\x7f": "control", "a\u00a0b": "white space",
		"a\u2028b": "white space", "a\u0085": "white space", "a.\xff": "UTF-8", "a.\xc0\xae.b": "UTF-8", "a\uFFFD": "UTF-8",
		strings.Repeat("x", MaxLen+1): "1024",
	}
	for s, want := range bad {
		if err := Valid(s); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("Valid(%.20q) = %v, want something with %q", s, err, want)
		}
	}
}

func TestValidLiteral_RefusesWildcards(t *testing.T) {
	for s, ok := range map[string]bool{"a.b": true, "a.*": false, ">": false, "a.>": false, "": false, "a..b": false} {
		if err := ValidLiteral(s); (err == nil) != ok {
			t.Errorf("ValidLiteral(%q) = %v", s, err)
		}
	}
}

func TestValidToken_AcceptsExactlyOneToken(t *testing.T) {
	for _, ok := range []string{"a", "AAPL", "größe", "日本", "a-b_c", "a:b@c/d", "$JS", "_INBOX", "a%2Eb", "{x}", "\U0001F600",
		strings.Repeat("x", MaxToken), strings.Repeat("é", MaxToken/2)} {
		if err := ValidToken(ok); err != nil {
			t.Errorf("ValidToken(%q): %v", ok, err)
		}
	}
	for _, bad := range []string{"", ".", "..", "a.b", "a.", "*", ">", "a*", ">b", " ", "a b", "\t", "a\n", "\r\n", "\v", "\f", "\x00", "\x1f",
		"\x7f", "\u0080", "\u0085", "\u009f", "\u00a0", "\u1680", "\u2000", "\u2003", "\u2028", "\u2029", "\u202f", "\u205f", "\u3000",
		"\xC0\xAE", "\xC0\xAE\xC0\xAE", "\xff", "a\xE2\x82", "\xED\xA0\x80", "\xF4\x90\x80\x80", "\uFFFD", strings.Repeat("x", MaxToken+1),
		strings.Repeat("é", MaxToken/2) + "x"} {
		err := ValidToken(bad)
		if err == nil {
			t.Errorf("ValidToken(%q) is accepted", bad)
		} else if len(bad) > 1 && strings.Contains(err.Error(), bad) {
			t.Errorf("ValidToken(%q) repeats the value: %v", bad, err)
		}
	}
}

// What the multiplexer of net/http makes of a request's path arrives decoded, so these pass it.
func TestValidToken_RefusesDecodedPathTricks(t *testing.T) {
	for _, raw := range []string{"%2E%2E", "a%2Eb", "%C0%AE", "%2A", "%3E", "%20", "%00", "%0D%0A", "%E2%80%A8", "a%C2%A0b"} {
		value, err := url.PathUnescape(raw)
		if err != nil {
			t.Fatal(err)
		}
		if ValidToken(value) == nil {
			t.Errorf("%s, decoded %q, is accepted", raw, value)
		}
	}
}

func TestInternal_IsTheFirstByte(t *testing.T) {
	for s, want := range map[string]bool{"$JS.API.>": true, "$": true, "_INBOX.x": true, "_x": true, "a.$JS": false, "a._b": false, "": false,
		">": false, "*.x": false} {
		if Internal(s) != want {
			t.Errorf("Internal(%q) = %v", s, !want)
		}
	}
}

func TestToken_CountsFromZero(t *testing.T) {
	tests := []struct {
		s    string
		n    int
		want string
		ok   bool
	}{
		{"a.bb.c", 0, "a", true}, {"a.bb.c", 1, "bb", true}, {"a.bb.c", 2, "c", true}, {"a.bb.c", 3, "", false}, {"a", 0, "a", true},
		{"a", 1, "", false}, {"a", -1, "", false}, {"", 0, "", false},
	}
	for _, tt := range tests {
		if got, ok := Token(tt.s, tt.n); got != tt.want || ok != tt.ok {
			t.Errorf("Token(%q, %d) = %q, %v", tt.s, tt.n, got, ok)
		}
	}
}

// FuzzValidToken states the border a second time, in other words.
func FuzzValidToken(f *testing.F) {
	for _, s := range []string{"a", "..", "\xC0\xAE", "a b", "\u2028", "*", "$JS", "\uFFFD"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		bad := s == "" || len(s) > MaxToken || !utf8.ValidString(s) || strings.ContainsFunc(s, func(r rune) bool {
			return strings.ContainsRune(".*>\uFFFD", r) || unicode.IsSpace(r) || unicode.IsControl(r)
		})
		if got := ValidToken(s) != nil; got != bad {
			t.Fatalf("ValidToken(%q): refused %v, want %v", s, got, bad)
		}
		if !bad && (ValidLiteral(s) != nil || ValidLiteral("a."+s+".b") != nil || strings.Count("a."+s, ".") != 1) {
			t.Fatalf("%q is a token and no subject", s)
		}
	})
}

func FuzzValid(f *testing.F) {
	f.Add("a.*.>")
	f.Add("a.>.b")
	f.Fuzz(func(t *testing.T, s string) {
		err := Valid(s)
		tokens := strings.Split(s, ".")
		ok := s != "" && len(s) <= MaxLen
		for i, token := range tokens {
			last := i == len(tokens)-1
			ok = ok && (token == "*" || token == ">" && last || checkText(token) == nil)
		}
		if (err == nil) != ok {
			t.Fatalf("Valid(%q) = %v", s, err)
		}
		if ok && HasWildcard(s) == (ValidLiteral(s) == nil) {
			t.Fatalf("%q: wildcard and literal at once", s)
		}
		for i, token := range tokens {
			if got, found := Token(s, i); s != "" && (!found || got != token) {
				t.Fatalf("Token(%q, %d) = %q", s, i, got)
			}
		}
	})
}
