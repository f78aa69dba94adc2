package subject

import (
	"errors"
	"strings"
	"testing"
)

func TestValidKey_TakesWhatClientsOfBucketsTake(t *testing.T) {
	for _, good := range []string{"a", "eu.flag", "_a", "a/b=c-D_9", "*", ">", "a.*.b", "a.>", "*.a"} {
		if err := ValidKey(good); err != nil {
			t.Errorf("%q: %v", good, err)
		}
	}
	for _, bad := range []string{"", ".a", "a.", "a..b", "a b", "$a", "é", "a*", "a.>.b", "a\x00", "a{b}", "a:b", strings.Repeat("a", MaxLen+1)} {
		err := ValidKey(bad)
		if err == nil {
			t.Errorf("%q is taken", bad)
		} else if strings.HasPrefix(err.Error(), "subject") {
			t.Errorf("%q: %v", bad, err)
		}
	}
}

func TestParseKey_ValuesStayKeysOfOneToken(t *testing.T) {
	k, err := ParseKey("{env}.>")
	if err != nil || k.Pattern() != "*.>" {
		t.Fatal(err, k.Pattern())
	}
	for value, want := range map[string]string{"eu": "eu.>", "_x": "_x.>", "a/b": "a/b.>", "-": "-.>"} {
		if got, err := k.Expand(func(string) (string, bool) { return value, true }); err != nil || got != want {
			t.Errorf("%q: %q, %v", value, got, err)
		}
	}
	for _, value := range []string{"", "a.b", "*", ">", "$KV", "é", "a b", "\xff", strings.Repeat("a", MaxToken+1)} {
		var wrong *PlaceholderError
		if got, err := k.Expand(func(string) (string, bool) { return value, true }); !errors.As(err, &wrong) {
			t.Errorf("%q: %q, %v", value, got, err)
		}
	}
	for _, bad := range []string{"", "$KV.a", "a{x}", "{x", "a..b", "é.{x}"} {
		if _, err := ParseKey(bad); err == nil {
			t.Errorf("%q is taken", bad)
		}
	}
}
