package subject

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func TestParseTemplate_Table(t *testing.T) {
	tests := []struct {
		text, pattern string
		names         []string
		literalFirst  bool
	}{
		{"prices.{symbol}", "prices.*", []string{"symbol"}, true},
		{"users.{user}.notify.>", "users.*.notify.>", []string{"user"}, true},
		{"orders.{claims.tenant}.*", "orders.*.*", []string{"claims.tenant"}, true},
		{"o.{claims.org.id-1}.{b}.{claims.org.id-1}", "o.*.*.*", []string{"claims.org.id-1", "b"}, true},
		{"{tenant}.x", "*.x", []string{"tenant"}, false},
		{"{claims.sub}", "*", []string{"claims.sub"}, false},
		{"*.x", "*.x", nil, false},
		{">", ">", nil, false},
		{"a.b", "a.b", nil, true},
		{"a.{claims}", "a.*", []string{"claims"}, true},
		{"a.{_x9}", "a.*", []string{"_x9"}, true},
	}
	for _, tt := range tests {
		tpl, err := ParseTemplate(tt.text)
		if err != nil {
			t.Errorf("%q: %v", tt.text, err)
			continue
		}
		if tpl.Pattern() != tt.pattern || !slices.Equal(tpl.Placeholders(), tt.names) || tpl.LiteralFirst() != tt.literalFirst ||
			tpl.String() != tt.text {
			t.Errorf("%q: pattern %q, names %q, literal first %v, text %q", tt.text, tpl.Pattern(), tpl.Placeholders(), tpl.LiteralFirst(), tpl)
		}
	}
}

func TestParseTemplate_RefusesWhatIsNoWholeToken(t *testing.T) {
	for _, text := range []string{"", "a.{", "a.}", "a.{}", "a.x{b}", "a.{b}x", "a.{b}{c}", "a.{{b}}", "a.{b c}", "a.{9b}", "a.{b.c}", "a.{b...}",
		"a.{claims.}", "a.{claims..x}", "a.{claims.x.}", "a.{claims.x y}", "a.{claims.*}", "a.{größe}", "a..{b}", "a.>.{b}", "a.{b", "a.b}",
		"a.{b*}", "a b.{c}", "{a}.", "a.{\n}", "a.{-b}", strings.Repeat("{a}.", MaxLen) + "b"} {
		if tpl, err := ParseTemplate(text); err == nil {
			t.Errorf("%.40q is accepted: pattern %.40q", text, tpl.Pattern())
		}
	}
}

func TestExpand_FillsEveryPlaceholder(t *testing.T) {
	tpl, err := ParseTemplate("t.{a}.*.{claims.b}.{a}.>")
	if err != nil {
		t.Fatal(err)
	}
	got, err := tpl.Expand(func(name string) (string, bool) { return map[string]string{"a": "1", "claims.b": "x-y"}[name], true })
	if err != nil || got != "t.1.*.x-y.1.>" {
		t.Fatalf("got %q, %v", got, err)
	}
}

func TestExpand_NamesThePlaceholderAndNeverTheValue(t *testing.T) {
	tpl, err := ParseTemplate("t.{claims.b}")
	if err != nil {
		t.Fatal(err)
	}
	_, err = tpl.Expand(func(string) (string, bool) { return "secret.value", true })
	var pe *PlaceholderError
	if !errors.As(err, &pe) || pe.Name != "claims.b" || strings.Contains(err.Error(), "secret") {
		t.Errorf("err = %v", err)
	}
	_, err = tpl.Expand(func(string) (string, bool) { return "x", false })
	if !errors.Is(err, ErrMissing) {
		t.Errorf("err = %v, want ErrMissing", err)
	}
}

func TestExpand_RefusesInternalSubjects(t *testing.T) {
	tpl, err := ParseTemplate("{first}.API.>")
	if err != nil {
		t.Fatal(err)
	}
	for _, v := range []string{"$JS", "$SYS", "_INBOX", "_"} {
		if s, err := tpl.Expand(func(string) (string, bool) { return v, true }); !errors.Is(err, ErrInternal) {
			t.Errorf("%q gives %q, %v", v, s, err)
		}
	}
}

func TestExpand_RefusesWhatGrowsTooLong(t *testing.T) {
	tpl, err := ParseTemplate("a" + strings.Repeat(".{x}", 9))
	if err != nil {
		t.Fatal(err)
	}
	if s, err := tpl.Expand(func(string) (string, bool) { return strings.Repeat("x", MaxToken), true }); err == nil {
		t.Errorf("%d bytes are accepted", len(s))
	}
}

// checkExpanded is the security border: whatever is put in, the result is a subject of the shape the operator wrote.
func checkExpanded(t interface{ Fatalf(string, ...any) }, tpl Template, value func(string) (string, bool)) {
	s, err := tpl.Expand(value)
	if err != nil {
		if s != "" {
			t.Fatalf("%q: a subject %q beside the error %v", tpl, s, err)
		}
		return
	}
	pattern := tpl.Pattern()
	if err := Valid(s); err != nil {
		t.Fatalf("%q gives %q: %v", tpl, s, err)
	}
	if strings.Count(s, ".") != strings.Count(pattern, ".") {
		t.Fatalf("%q gives %q with another number of tokens", tpl, s)
	}
	if strings.Count(s, "*") > strings.Count(tpl.String(), "*") || strings.Count(s, ">") != strings.Count(tpl.String(), ">") {
		t.Fatalf("%q gives %q with other wildcards", tpl, s)
	}
	if !Covers(pattern, s) || !HasWildcard(s) && !Match(pattern, s) {
		t.Fatalf("%q gives %q, which %q does not match", tpl, s, pattern)
	}
	if Internal(s) {
		t.Fatalf("%q gives the internal %q", tpl, s)
	}
}

func TestExpand_KeepsTheShapeOfTheTemplate(t *testing.T) {
	token := rapid.SampledFrom([]string{"a", "{x}", "{claims.y}", "{z}", "*", "b1"})
	value := rapid.OneOf(rapid.String(), rapid.SampledFrom([]string{"", ".", "..", "*", ">", "a.b", "$JS", "_INBOX", "\xC0\xAE", "ok", "a b", "é"}))
	rapid.Check(t, func(t *rapid.T) {
		text := strings.Join(rapid.SliceOfN(token, 1, 8).Draw(t, "tokens"), ".")
		if rapid.Bool().Draw(t, "tail") {
			text += ".>"
		}
		tpl, err := ParseTemplate(text)
		if err != nil {
			t.Fatalf("%q: %v", text, err)
		}
		checkExpanded(t, tpl, func(name string) (string, bool) { return value.Draw(t, name), true })
	})
}

func FuzzTemplate(f *testing.F) {
	f.Add("users.{user}.notify.>", "x", "y")
	f.Add("{a}.{claims.b}.*", "$JS", "a.b")
	f.Add("a.{b}.{c}", "..", "\xC0\xAE")
	f.Fuzz(func(t *testing.T, text, v, w string) {
		tpl, err := ParseTemplate(text)
		if err != nil {
			return
		}
		if err := Valid(tpl.Pattern()); err != nil {
			t.Fatalf("pattern of %q: %v", text, err)
		}
		if tpl.String() != text {
			t.Fatalf("%q became %q", text, tpl)
		}
		names := tpl.Placeholders()
		if (len(names) == 0) != (tpl.Pattern() == text) {
			t.Fatalf("%q: placeholders %q, pattern %q", text, names, tpl.Pattern())
		}
		checkExpanded(t, tpl, func(name string) (string, bool) {
			if len(names) > 0 && name == names[0] {
				return v, true
			}
			return w, true
		})
	})
}
