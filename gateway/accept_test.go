package gateway_test

import (
	"testing"

	"headgate/gateway"
)

func TestAccept_IsWeighedAsRFC9110Says(t *testing.T) {
	for _, c := range []struct {
		name            string
		fields          []string
		accepted, named bool
	}{
		{"missing", nil, true, false},
		{"empty", []string{""}, true, false},
		{"only commas", []string{" , ,"}, true, false},
		{"anything", []string{"*/*"}, true, false},
		{"any text", []string{"text/*"}, true, false},
		{"by name", []string{"text/event-stream"}, true, true},
		{"by name in capitals", []string{"Text/Event-Stream"}, true, true},
		{"by name with a charset", []string{"text/event-stream; charset=utf-8"}, true, true},
		{"in a list", []string{"application/json, text/event-stream"}, true, true},
		{"in a second field", []string{"application/json", "text/event-stream"}, true, true},
		{"another type", []string{"application/json"}, false, false},
		{"another text", []string{"text/html"}, false, false},
		{"another text with a fallback", []string{"text/html, */*;q=0.1"}, true, false},
		{"refused by name", []string{"text/event-stream;q=0"}, false, false},
		{"refused by name, whatever else", []string{"*/*, text/event-stream;q=0"}, false, false},
		{"refused by name, zero written out", []string{"text/*, text/event-stream;q=0.000"}, false, false},
		{"all refused", []string{"*/*;q=0"}, false, false},
		{"all refused but this", []string{"*/*;q=0, text/event-stream"}, true, true},
		{"text refused, the rest welcome", []string{"text/*;q=0, */*"}, false, false},
		{"a weight that is none", []string{"text/event-stream;q=lots"}, true, true},
		{"a weight that is not a number", []string{"text/event-stream;q=NaN"}, true, true},
		{"a comma inside quotes", []string{`application/x;a="b, text/event-stream"`}, false, false},
		{"rubbish alone", []string{";;;"}, true, false},
		{"rubbish beside", []string{";;;, text/event-stream"}, true, true},
	} {
		accepted, named := gateway.WeighAccept(c.fields)
		if accepted != c.accepted || named != c.named {
			t.Errorf("%s: %q: accepted %v, named %v", c.name, c.fields, accepted, named)
		}
	}
}

func FuzzAccept(f *testing.F) {
	for _, s := range []string{"", "*/*", "text/event-stream;q=0.5, */*", `a/b;c="\`, `"`, ",;="} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, field string) {
		accepted, named := gateway.WeighAccept([]string{field})
		if named && !accepted {
			t.Errorf("%q: named and not accepted", field)
		}
	})
}
