package exactjson

import (
	"encoding/json"
	"strings"
	"testing"
)

type inner struct {
	User string `json:"user"`
}

type request struct {
	inner
	For   string `json:"for,omitempty"`
	Limit *int   `json:"limit"`
}

func TestDecode_TakesOneObjectOfExpectedMembers(t *testing.T) {
	for text, want := range map[string]string{
		`{}`: "", `null`: "", ` {"user": "ann", "for": "1h", "limit": 3} `: "",
		`{"User": "ann"}`:                "unknown field",
		`{"user": "ann", "User": ""}`:    "unknown field",
		`{"user": "ann", "user": ""}`:    `"user" is there twice`,
		`{"u\u0073er": "a", "user": ""}`: `"user" is there twice`,
		`{"limit": 1, "limit": 1}`:       `"limit" is there twice`,
		`{"\u017fser": "x"}`:             "unknown field",
		`{"usr": "ann"}`:                 "unknown field",
		`{"inner": {"user": "x"}}`:       "unknown field",
		`{"user": "ann"} {}`:             "something follows",
		`{"user": "ann"`:                 "unexpected",
		`[]`:                             "cannot unmarshal",
		``:                               "EOF",
	} {
		err := Decode([]byte(text), &request{})
		if (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", text, err, want)
		}
	}
	var r request
	if err := Decode([]byte(`{"user": "ann", "limit": 3}`), &r); err != nil || r.User != "ann" || *r.Limit != 3 {
		t.Errorf("%+v, %v", r, err)
	}
}

// What is taken says the same to every reader: members of other cases and second ones, which some take and some do not, are not in it.
func FuzzDecode(f *testing.F) {
	for _, s := range []string{`{"user":"a","for":"b"}`, `{"user":"a","User":"b"}`, `{"user":{"user":1}}`, `nul`, `{"\ud800":1}`} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		var r request
		if Decode([]byte(text), &r) != nil {
			return
		}
		var all map[string]json.RawMessage
		if err := json.Unmarshal([]byte(text), &all); err != nil {
			t.Fatalf("%q is taken: %v", text, err)
		}
		for name := range all {
			if name != "user" && name != "for" && name != "limit" {
				t.Errorf("%q is taken with %q", text, name)
			}
		}
	})
}
