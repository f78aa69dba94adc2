package encode

import (
	"encoding/base64"
	"encoding/json"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"headgate/internal/flow"
	"headgate/internal/gap"
)

func block(r Result) string {
	if r.Frame == nil {
		return ""
	}
	return string(r.Frame.AppendBlock(nil, nil))
}

func TestEncode_DataModes(t *testing.T) {
	for _, c := range []struct {
		name, mode, payload, want string
		refused                   bool
	}{
		{"text", "text", "a\r\nb\rc\n", "data: a\ndata: b\ndata: c\ndata: \n\n", false},
		{"text empty", "text", "", "data: \n\n", false},
		{"text with bad UTF-8", "text", "a\xffb", "data: a\uFFFDb\n\n", false},
		{"json", "json", `{"a": 1}`, "data: {\"a\": 1}\n\n", false},
		{"json over lines", "json", "[1,\n2]", "data: [1,\ndata: 2]\n\n", false},
		{"not json", "json", `{"a":`, "", true},
		{"json with bad UTF-8", "json", "\"\xff\"", "", true},
		{"json empty", "json", "", "", true},
		{"base64", "base64", "\x00\xff", "data: AP8=\n\n", false},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := Compile(flow.Format{Data: c.mode, Envelope: "none", Token: -1})
			r := f.Encode(&Message{Subject: "a.b", Data: []byte(c.payload)})
			if got := block(r); got != c.want || r.Refused != c.refused {
				t.Fatalf("got %q, refused %v", got, r.Refused)
			}
			if c.refused && r.Reason != gap.Invalid {
				t.Fatalf("reason %v", r.Reason)
			}
		})
	}
}

func TestEncode_TooLargeIsRefusedAndTheBoundItselfIsNot(t *testing.T) {
	f := Compile(flow.Format{Data: "text", Token: -1, MaxBytes: 4})
	if r := f.Encode(&Message{Data: []byte("12345")}); !r.Refused || r.Reason != gap.TooLarge {
		t.Fatalf("got %+v", r)
	}
	if r := f.Encode(&Message{Data: []byte("1234")}); r.Refused {
		t.Fatalf("got %+v", r)
	}
}

func TestEncode_EventTypeFromRouteSubjectOrHeader(t *testing.T) {
	header := map[string][]string{TypeHeader: {"fromheader"}}
	for _, c := range []struct {
		name   string
		format flow.Format
		header map[string][]string
		want   string
		bad    bool
	}{
		{"fixed wins over the header", flow.Format{Event: "price", Token: -1}, header, "price", false},
		{"token wins over the header", flow.Format{Token: 1}, header, "b", false},
		{"token beyond the subject", flow.Format{Token: 7}, nil, "", true},
		{"header", flow.Format{Token: -1}, header, "fromheader", false},
		{"nothing", flow.Format{Token: -1}, nil, "", false},
		{"reserved", flow.Format{Token: -1}, map[string][]string{TypeHeader: {"$end"}}, "", true},
		{"the page's own", flow.Format{Token: -1}, map[string][]string{TypeHeader: {"error"}}, "", true},
		{"with a line end", flow.Format{Token: -1}, map[string][]string{TypeHeader: {"a\nid: 7"}}, "", true},
		{"too long", flow.Format{Token: -1}, map[string][]string{TypeHeader: {strings.Repeat("x", 65)}}, "", true},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := Compile(c.format).Encode(&Message{Subject: "a.b.c", Data: []byte("x"), Header: c.header})
			want := "data: x\n\n"
			if c.want != "" {
				want = "event: " + c.want + "\n" + want
			}
			if got := block(r); got != want || r.BadType != c.bad {
				t.Fatalf("got %q, bad %v", got, r.BadType)
			}
		})
	}
}

func TestEnvelope_HasItsFieldsInOrder(t *testing.T) {
	at := time.Date(2026, 1, 2, 3, 4, 5, 6000, time.UTC)
	m := &Message{Subject: "o.eu", Data: []byte(`{"n":1}`), At: at.UnixNano(), ID: ID("1~abcdef.", 36),
		Header: map[string][]string{"Trace": {"a", "b"}, "Secret": {"s"}}}
	f := Compile(flow.Format{Data: "json", Envelope: "headgate", Token: -1, IDs: true, Headers: "Absent, Trace"})
	want := `data: {"subject":"o.eu","time":"2026-01-02T03:04:05.000006Z","id":"1~abcdef.10","headers":{"Trace":"a, b"},"data":{"n":1}}` + "\n\n"
	if got := block(f.Encode(m)); got != want {
		t.Fatalf("got %s", got)
	}
	f = Compile(flow.Format{Data: "text", Envelope: "headgate", Token: -1})
	want = `data: {"subject":"o.eu","time":"2026-01-02T03:04:05.000006Z","data":"{\"n\":1}"}` + "\n\n"
	if got := block(f.Encode(m)); got != want {
		t.Fatalf("got %s", got)
	}
	f = Compile(flow.Format{Data: "base64", Envelope: "headgate", Token: -1})
	if got := block(f.Encode(m)); !strings.Contains(got, `"data":"`+base64.StdEncoding.EncodeToString(m.Data)+`"`) {
		t.Fatalf("got %s", got)
	}
}

func TestBucket_KeyAndTypeStandWhereSubjectAndHeaderWould(t *testing.T) {
	at := time.Date(2026, 1, 2, 3, 4, 5, 6000, time.UTC)
	const head = `data: {"key":"eu.flag","time":"2026-01-02T03:04:05.000006Z","id":"1~abcdef.7","headers":{"Trace":"a"},"data":`
	put := Message{Subject: "$KV.FLAGS.eu.flag", Key: "eu.flag", Type: "put", Data: []byte(`{"on":true}`), At: at.UnixNano(), ID: ID("1~abcdef.", 7),
		Header: map[string][]string{"Trace": {"a"}, TypeHeader: {"theirs"}}}
	gone := put
	gone.Type, gone.Gone, gone.Data = "delete", true, nil
	rest := gone
	rest.Data = []byte("not JSON, and of no meaning")
	for _, c := range []struct {
		name   string
		format flow.Format
		m      Message
		want   string
	}{
		{"put", flow.Format{Data: "json", Envelope: "headgate", Token: -1, IDs: true, Headers: "Trace"}, put, "event: put\n" + head + `{"on":true}}` + "\n\n"},
		{"put as text", flow.Format{Data: "text", Envelope: "headgate", Token: -1, IDs: true, Headers: "Trace"}, put, "event: put\n" + head + `"{\"on\":true}"}` + "\n\n"},
		{"delete", flow.Format{Data: "json", Envelope: "headgate", Token: -1, IDs: true, Headers: "Trace"}, gone, "event: delete\n" + head + "null}\n\n"},
		{"delete as text", flow.Format{Data: "text", Envelope: "headgate", Token: -1, IDs: true, Headers: "Trace"}, gone, "event: delete\n" + head + "null}\n\n"},
		{"delete with a payload", flow.Format{Data: "base64", Envelope: "headgate", Token: -1, IDs: true, Headers: "Trace"}, rest, "event: delete\n" + head + "null}\n\n"},
		{"a type of the route", flow.Format{Data: "text", Event: "flag", Token: -1}, put, "event: flag\ndata: {\"on\":true}\n\n"},
		{"a token of the key", flow.Format{Data: "text", Token: 1}, put, "event: flag\ndata: {\"on\":true}\n\n"},
		{"no value without an envelope", flow.Format{Data: "text", Token: -1}, rest, "event: delete\ndata: \n\n"},
		{"no value where JSON is promised", flow.Format{Data: "json", Token: -1}, rest, "event: delete\ndata: null\n\n"},
		{"no value is never too large", flow.Format{Data: "base64", Token: -1, MaxBytes: 1}, rest, "event: delete\ndata: \n\n"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if r := Compile(c.format).Encode(&c.m); block(r) != c.want || r.Refused || r.BadType {
				t.Errorf("%+v\ngot  %q\nwant %q", r, block(r), c.want)
			}
		})
	}
}

func TestEnd_IsTheMessageWhoseFieldHasOneOfTheValues(t *testing.T) {
	const in = "\"done\"\n\"fail\\u0065d\"\n3\nfalse\nnull\n9007199254740993"
	for _, c := range []struct {
		field, payload string
		last           bool
	}{
		{"status", `{"status":"done"}`, true},
		{"status", ` { "other": [1, {}], "st\u0061tus" : "failed" } `, true},
		{"status", `{"status":"Done"}`, false},
		{"status", `{"status":3}`, true},
		{"status", `{"status":3.0}`, true},
		{"status", `{"status":30e-1}`, true},
		{"status", `{"status":"3"}`, false},
		{"status", `{"status":9007199254740993}`, true},
		{"status", `{"status":9007199254740992}`, false},
		{"status", `{"status":1e999}`, false},
		{"status", `{"status":false}`, true},
		{"status", `{"status":true}`, false},
		{"status", `{"status":null}`, true},
		{"status", `{}`, false},
		{"status", `{"status":["done"]}`, false},
		{"status", `{"status":{"status":"done"}}`, false},
		{"status", `{"job":{"status":"done"}}`, false},
		{"status", `{"status":"done"`, false},
		{"status", `{"status":"done"} and more`, false},
		{"status", `["status"]`, false},
		{"status", `null`, false},
		{"status", ``, false},
		{"job.status", `{"job":{"status":"done"}}`, true},
		{"job.status", `{"job.status":"done"}`, false},
		{"job.status", `{"job":"done"}`, false},
		{"job.status", `{"job":null}`, false},
		{"", `{"status":"done"}`, false},
	} {
		f := Compile(flow.Format{Data: "text", Token: -1, EndField: c.field, EndIn: in})
		if r := f.Encode(&Message{Subject: "a", Data: []byte(c.payload)}); r.Last != c.last || r.Frame == nil {
			t.Errorf("%s of %s: %+v", c.field, c.payload, r)
		}
	}
}

func TestEnd_IsTheEndAlsoWhenTheMessageItselfIsRefused(t *testing.T) {
	m := &Message{Subject: "a", Data: []byte(`{"status":"done"}`)}
	f := Compile(flow.Format{Data: "text", Token: -1, MaxBytes: 3, EndField: "status", EndIn: `"done"`})
	if r := f.Encode(m); !r.Refused || !r.Last {
		t.Errorf("%+v", r)
	}
	m.Gone = true
	if r := f.Encode(m); r.Refused || r.Last {
		t.Errorf("a value that is gone: %+v", r)
	}
}

func FuzzEnd(f *testing.F) {
	for _, s := range []string{`{"a":{"b":1}}`, `{"a":null}`, `{"a":{"b":"x"}}`, "", "[", `{"a":{"b":1e400}}`} {
		f.Add([]byte(s))
	}
	format := Compile(flow.Format{Data: "text", Token: -1, EndField: "a.b", EndIn: "1\n\"x\"\nnull"})
	f.Fuzz(func(t *testing.T, data []byte) {
		if format.Encode(&Message{Data: data}).Last && !json.Valid(data) {
			t.Errorf("%q ends a stream and is no JSON", data)
		}
	})
}

func FuzzEnvelope(f *testing.F) {
	for _, s := range []string{"", "a", "\x00\r\n\t\"\\", "\xff\xc0\xaf", "\u2028é😀", "\xed\xa0\x80"} {
		f.Add("a."+s, []byte(s), s)
	}
	text := Compile(flow.Format{Data: "text", Envelope: "headgate", Token: -1, Headers: "X"})
	f.Fuzz(func(t *testing.T, subj string, data []byte, header string) {
		b := text.envelope(&Message{Subject: subj, Data: data, Header: map[string][]string{"X": {header}}})
		var got struct {
			Subject, Data string
			Headers       map[string]string
		}
		if err := json.Unmarshal(b, &got); err != nil || !utf8.Valid(b) {
			t.Fatalf("%q: %v", b, err)
		}
		// encoding/json replaces invalid UTF-8 in the same way, so both must agree on every string.
		for _, p := range [][2]string{{subj, got.Subject}, {string(data), got.Data}, {header, got.Headers["X"]}} {
			var want string
			ref, _ := json.Marshal(p[0])
			json.Unmarshal(ref, &want)
			if p[1] != want {
				t.Fatalf("got %q, want %q", p[1], want)
			}
		}
	})
}
