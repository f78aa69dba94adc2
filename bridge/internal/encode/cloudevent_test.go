package encode

import (
	"encoding/base64"
	"encoding/json"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"pgregory.net/rapid"

	"headgate/internal/flow"
	"headgate/internal/gap"
)

const trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"

func events(dataMode, headers string) *Format {
	return Compile(flow.Format{Data: dataMode, Envelope: "cloudevents", Source: "urn:headgate:route:orders", Token: -1, Headers: headers})
}

// eventOf is the data of the event that a format makes of a message.
func eventOf(t interface{ Fatalf(string, ...any) }, f *Format, m *Message) string {
	r := f.Encode(m)
	if r.Frame == nil {
		t.Fatalf("refused: %v", r.Reason)
	}
	var lines []string
	for line := range strings.SplitSeq(string(r.Frame.AppendBlock(nil, nil)), "\n") {
		if data, ok := strings.CutPrefix(line, "data: "); ok {
			lines = append(lines, data)
		}
	}
	return strings.Join(lines, "\n")
}

func message(payload string, header map[string][]string) *Message {
	return &Message{Subject: "orders.eu", Data: []byte(payload), Header: header, ID: ID("1~abcdef.", 36), At: time.Date(2026, 1, 2, 3, 4, 5, 6000, time.UTC).UnixNano()}
}

func TestCloudEvent_IsMadeOfAMessageByTheDataMode(t *testing.T) {
	const head = `{"specversion":"1.0","id":"1~abcdef.10","source":"urn:headgate:route:orders","type":"message","subject":"orders.eu","time":"2026-01-02T03:04:05.000006Z"`
	const order = `,"sequence":"00000000000000000036"`
	for _, c := range []struct {
		name, mode, headers, payload string
		header                       map[string][]string
		want                         string
	}{
		{"json", "json", "", " {\"n\":1}\n", nil, `,"datacontenttype":"application/json"` + order + `,"data":{"n":1}}`},
		{"text", "text", "", "a\nb", nil, `,"datacontenttype":"text/plain"` + order + `,"data":"a\nb"}`},
		{"text that is none", "text", "", "a\xff", nil, `,"datacontenttype":"application/octet-stream"` + order + `,"data_base64":"Yf8="}`},
		{"base64", "base64", "", "a", nil, `,"datacontenttype":"application/octet-stream"` + order + `,"data_base64":"YQ=="}`},
		{"content type that the route does not let through", "text", "", "a", map[string][]string{"Content-Type": {"text/css"}},
			`,"datacontenttype":"text/plain"` + order + `,"data":"a"}`},
		{"content type", "base64", "content-type", "a", map[string][]string{"Content-Type": {"image/png"}},
			`,"datacontenttype":"image/png"` + order + `,"data_base64":"YQ=="}`},
		{"JSON by its content type", "text", "Content-Type", "[1]", map[string][]string{"content-type": {"application/vnd.x+json; charset=utf-8"}},
			`,"datacontenttype":"application/vnd.x+json; charset=utf-8"` + order + `,"data":[1]}`},
		{"JSON by its content type that is none", "text", "Content-Type", "[1", map[string][]string{"content-type": {"application/json"}},
			`,"datacontenttype":"application/json"` + order + `,"data_base64":"WzE="}`},
		{"trace and headers", "text", "X-Tenant_Id, Id, Tracestate, Absent", "a",
			map[string][]string{"Traceparent": {trace}, "tracestate": {"a=1"}, "x-tenant_id": {"t1", "t2"}, "Id": {"mine"}, "Secret": {"s"}},
			`,"datacontenttype":"text/plain"` + order + `,"traceparent":"` + trace + `","xtenantid":"t1, t2","tracestate":"a=1","data":"a"}`},
		{"a trace that is none", "text", "", "a", map[string][]string{"traceparent": {"00-0-0-01"}}, `,"datacontenttype":"text/plain"` + order + `,"data":"a"}`},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := eventOf(t, events(c.mode, c.headers), message(c.payload, c.header)); got != head+c.want {
				t.Errorf("got  %s\nwant %s", got, head+c.want)
			}
		})
	}
}

func TestCloudEvent_OfAKeyThatIsGoneHasNoData(t *testing.T) {
	m := message("ignored", nil)
	m.Key, m.Type, m.Gone = "eu.flag", "delete", true
	want := `{"specversion":"1.0","id":"1~abcdef.10","source":"urn:headgate:route:orders","type":"delete","subject":"eu.flag",` +
		`"time":"2026-01-02T03:04:05.000006Z","sequence":"00000000000000000036"}`
	if got := eventOf(t, events("json", ""), m); got != want {
		t.Errorf("got %s", got)
	}
}

func TestCloudEvent_InBinaryModeKeepsItsAttributes(t *testing.T) {
	full := map[string][]string{"ce-specversion": {"1.0"}, "Ce-Id": {"A%20%E2%82%AC"}, "CE-SOURCE": {"/shop"}, "ce-type": {`"com.example.\"x\""`}, "ce-time": {"2018-04-05T03:56:24Z"},
		"ce-datacontenttype": {"application/json"}, "ce-zone": {"eu"}, "ce-data": {"no"}, "ce-b_d": {"no"}, "traceparent": {trace}, "X-Zone": {"other"}, "Other": {"x"}}
	with := func(name string, value ...string) map[string][]string {
		h := maps.Clone(full)
		h[name] = value
		return h
	}
	const head = `{"specversion":"1.0","id":"A €","source":"/shop","type":"com.example.\"x\"","time":"2018-04-05T03:56:24Z","zone":"eu",`
	const tail = `"traceparent":"` + trace + `","xzone":"other",`
	for _, c := range []struct {
		name, mode string
		header     map[string][]string
		want       string
	}{
		{"JSON on a text route", "text", full, head + `"datacontenttype":"application/json",` + tail + `"data":{"n":1}}`},
		{"base64", "base64", full, head + `"datacontenttype":"application/json",` + tail + `"data_base64":"eyJuIjoxfQ=="}`},
		{"text", "json", with("ce-datacontenttype", "text/x"), head + `"datacontenttype":"text/x",` + tail + `"data":"{\"n\":1}"}`},
		{"no content type", "json", with("ce-datacontenttype"), head + `"datacontenttype":"application/json",` + tail + `"data":{"n":1}}`},
		{"a trace of its own", "json", with("ce-traceparent", "00-x"),
			strings.Replace(head, `"zone"`, `"traceparent":"00-x","zone"`, 1) + `"datacontenttype":"application/json","xzone":"other","data":{"n":1}}`},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := eventOf(t, events(c.mode, "X-Zone"), message(`{"n":1}`, c.header)); got != c.want {
				t.Errorf("got  %s\nwant %s", got, c.want)
			}
		})
	}
	for _, wrong := range []map[string][]string{with("ce-type", ""), with("Ce-Id"), with("CE-SOURCE", "%C0%A0"), with("ce-zone", "a%zz"), with("ce-zone", "a%0A")} {
		if r := events("text", "").Encode(message("x", wrong)); !r.Refused || r.Reason != gap.Invalid {
			t.Errorf("%v: %+v", wrong, r)
		}
	}
	if got := eventOf(t, events("text", ""), message("x", with("ce-specversion", "0.3"))); !strings.Contains(got, `"source":"urn:headgate:route:orders"`) {
		t.Errorf("of another version of the specification: %s", got)
	}
}

func TestCloudEvent_InStructuredModeStaysAsItIs(t *testing.T) {
	const event = "{\n \"specversion\": \"1.0\", \"type\": \"t\", \"source\": \"/s\", \"id\": \"1\", \"data\": {\"a\": 1}\n}"
	typed := map[string][]string{"content-type": {"Application/CloudEvents+json; charset=utf-8"}}
	for name, m := range map[string]*Message{"with a content type": message(event, typed), "with nothing but itself": message(event, nil)} {
		if got := eventOf(t, events("text", ""), m); got != event {
			t.Errorf("%s: %s", name, got)
		}
	}
	for _, other := range []string{"", "[]", "x", strings.Replace(event, "1.0", "0.3", 1), strings.Replace(event, `"id"`, `"ID"`, 1),
		strings.Replace(event, `"1"`, `1`, 1), strings.Replace(event, `"/s"`, `""`, 1), strings.Replace(event, `"data"`, `"data_base64": "", "data"`, 1)} {
		if r := events("text", "").Encode(message(other, typed)); !r.Refused || r.Reason != gap.Invalid {
			t.Errorf("%s: %+v", other, r)
		}
		if got := eventOf(t, events("text", ""), message(other, nil)); !strings.Contains(got, `"source":"urn:headgate:route:orders"`) {
			t.Errorf("%s: %s", other, got)
		}
	}
	for _, contentType := range []string{"application/json", "application/cloudevents-batch+json"} {
		if got := eventOf(t, events("json", ""), message(event, map[string][]string{"Content-Type": {contentType}})); !strings.Contains(got, `"data":{`) || !strings.HasPrefix(got, `{"specversion":"1.0","id":"1~abcdef.10"`) {
			t.Errorf("%s: %s", contentType, got)
		}
	}
}

func TestEnvelope_FindsHeadersInAnySpelling(t *testing.T) {
	f := Compile(flow.Format{Data: "text", Envelope: "headgate", Token: -1, Headers: "Traceparent,B"})
	got := block(f.Encode(&Message{Subject: "a", Data: []byte("x"), Header: map[string][]string{"traceparent": {trace}, "b": {"small"}, "B": {"large"}}}))
	if !strings.Contains(got, `"headers":{"Traceparent":"`+trace+`","B":"large"}`) {
		t.Error(got)
	}
}

func TestTraceparent_IsThatOfTheSpecification(t *testing.T) {
	for text, want := range map[string]bool{
		trace: true, strings.ToUpper(trace): false, trace[:54]: false, trace + "0": false, trace + "-x": false, "": false,
		"01" + trace[2:] + "-what.ever": true, "01" + trace[2:] + "x": false, "ff" + trace[2:]: false, "0x" + trace[2:]: false,
		"01" + trace[2:] + "-\r\nid: 7": false, "01" + trace[2:] + "-" + strings.Repeat("a", 100): false,
		"00-00000000000000000000000000000000-00f067aa0ba902b7-01": false, "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01": false,
		"00-4bf92f3577b34da6a3ce929d0e0e4736+00f067aa0ba902b7-01": false,
	} {
		if got := Traceparent(map[string][]string{"TraceParent": {text}}); (got == text && text != "") != want {
			t.Errorf("%q: %q", text, got)
		}
	}
	if got := Traceparent(map[string][]string{"traceparent": {trace, trace}}); got != "" {
		t.Errorf("two of them: %q", got)
	}
}

// members reads an event strictly: JSON in UTF-8, each member once.
func membersOf(t interface{ Fatalf(string, ...any) }, text string) map[string]json.RawMessage {
	d := json.NewDecoder(strings.NewReader(text))
	got := map[string]json.RawMessage{}
	if _, err := d.Token(); err != nil || !utf8.ValidString(text) || !json.Valid([]byte(text)) {
		t.Fatalf("%q is no JSON in UTF-8", text)
	}
	for d.More() {
		name, _ := d.Token()
		var value json.RawMessage
		if err := d.Decode(&value); err != nil {
			t.Fatalf("%v in %s", err, text)
		}
		if _, twice := got[name.(string)]; twice {
			t.Fatalf("%s twice in %s", name, text)
		}
		got[name.(string)] = value
	}
	return got
}

// checkEvent wants what CloudEvents 1.0 wants of every event.
func checkEvent(t interface{ Fatalf(string, ...any) }, text string) map[string]json.RawMessage {
	got := membersOf(t, text)
	for name, raw := range got {
		var value string
		switch err := json.Unmarshal(raw, &value); {
		case name == "data":
		case strings.ContainsFunc(name, func(r rune) bool { return !attributeByte(r) }) && name != "data_base64":
			t.Fatalf("%q is no name of an attribute: %s", name, text)
		case err != nil || value == "" && slices.Contains(required, name):
			t.Fatalf("%s is %s", name, raw)
		}
	}
	if _, err := json.Marshal(got); err != nil || string(got["specversion"]) != `"1.0"` || got["id"] == nil || got["source"] == nil || got["type"] == nil {
		t.Fatalf("%s", text)
	}
	return got
}

func FuzzCloudEvent(f *testing.F) {
	f.Add("a.b", []byte(`{"specversion":"1.0","id":"1","source":"s","type":"t"}`), "Content-Type", "application/cloudevents+json", "ce-x", "", uint8(0))
	f.Add("a.b", []byte("\xff"), "ce-id", "%E2%82%AC", "ce-source", `"a\"b"`, uint8(1))
	f.Add("a.b", []byte("[1]"), "X-A", "\x00", "x_a", "y", uint8(2))
	modes := []string{"json", "text", "base64"}
	f.Fuzz(func(t *testing.T, subject string, data []byte, name1, value1, name2, value2 string, mode uint8) {
		h := map[string][]string{"ce-specversion": {"1.0"}, "ce-id": {"1"}, "ce-source": {"s"}, "ce-type": {"t"}}
		if mode&4 != 0 {
			h = map[string][]string{}
		}
		h[name1], h[name2] = []string{value1}, []string{value2}
		format := events(modes[mode%3], name1+","+name2)
		m := message(string(data), h)
		m.Subject = subject
		r := format.Encode(m)
		if r.Frame == nil {
			return
		}
		text := eventOf(t, format, m)
		if kind, _ := receive(m); kind != structured {
			checkEvent(t, text)
		} else if !isEvent([]byte(text)) {
			t.Fatalf("%q", text)
		}
	})
}

// Whatever the publisher says of it, the payload can be had back from the event, and so can the attributes.
func TestCloudEvent_RoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		mode := rapid.SampledFrom([]string{"json", "text", "base64"}).Draw(t, "mode")
		payload := rapid.SampledFrom([]string{`{"a":[1,"é"]}`, `"x"`, "12", "", "no JSON", "\x00\xff", "a\u2028\r\nb"}).Draw(t, "payload")
		contentType := rapid.SampledFrom([]string{"", "application/json", "text/html", "image/png", "application/x+json;a=b"}).Draw(t, "type")
		value := rapid.StringOf(rapid.RuneFrom([]rune(`aé€😀 "%\=`))).Draw(t, "value")
		h := map[string][]string{}
		if rapid.Bool().Draw(t, "binary") {
			h = map[string][]string{"ce-specversion": {"1.0"}, "ce-id": {"i"}, "ce-source": {"s"}, "ce-type": {"t"}, "ce-x": {encodeValue(value)}}
			if contentType != "" {
				h["ce-datacontenttype"] = []string{contentType}
			}
		} else if contentType != "" {
			h["Content-Type"] = []string{contentType}
		}
		m := message(payload, h)
		f := events(mode, "Content-Type")
		if f.Encode(m).Refused {
			if mode != "json" || json.Valid([]byte(payload)) && utf8.ValidString(payload) {
				t.Fatalf("refused: %q", payload)
			}
			return
		}
		got := checkEvent(t, eventOf(t, f, m))
		if back := payloadOf(t, got); back != payload {
			t.Fatalf("%q became %q", payload, back)
		}
		var x string
		if json.Unmarshal(got["x"], &x); h["ce-x"] != nil && x != value {
			t.Fatalf("%q became %q", value, x)
		}
	})
}

// payloadOf is how a consumer reads the data (JSON format, section 3.1).
func payloadOf(t interface{ Fatalf(string, ...any) }, event map[string]json.RawMessage) string {
	var contentType, text string
	json.Unmarshal(event["datacontenttype"], &contentType)
	if raw, ok := event["data_base64"]; ok {
		json.Unmarshal(raw, &text)
		b, err := base64.StdEncoding.DecodeString(text)
		if err != nil {
			t.Fatalf("%v", err)
		}
		return string(b)
	}
	if strings.Contains(contentType, "json") {
		return string(event["data"])
	}
	if err := json.Unmarshal(event["data"], &text); err != nil {
		t.Fatalf("%v of %s", err, event["data"])
	}
	return text
}

// encodeValue is what a publisher does to a value (NATS protocol binding, section 3.1.3.2).
func encodeValue(s string) string {
	var b strings.Builder
	for i := range len(s) {
		if c := s[i]; c <= ' ' || c == '"' || c == '%' || c > '~' {
			b.WriteString("%" + string("0123456789ABCDEF"[c>>4]) + string("0123456789abcdef"[c&15]))
		} else {
			b.WriteByte(c)
		}
	}
	return b.String()
}

func BenchmarkCloudEvent(b *testing.B) {
	f := events("json", "")
	m := message(`{"order":4711,"state":"shipped","lines":[{"sku":"a","n":1},{"sku":"b","n":2}]}`, map[string][]string{"traceparent": {trace}})
	b.ReportAllocs()
	for b.Loop() {
		f.Encode(m)
	}
}
