package encode

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"headgate/internal/flow"
)

// cloudEvent is the format's part for the envelope cloudevents: CloudEvents 1.0 in the JSON event format, structured mode.
// A message that is an event already (received.go) keeps its attributes; of any other headgate is the producer.
type cloudEvent struct {
	source     string
	name       string      // of the route's source, where the events say it; else ""
	extensions []extension // of the route's headers
	typed      bool        // the route lets Content-Type through
}

// nameAttribute says which source of a route an event is from. Nobody else's attribute or header has that name on such a route: whoever
// reads it relies on it.
const nameAttribute = "headgatesource"

// extension is a message header that becomes an attribute.
type extension struct{ header, name string }

// coreAttributes are those of the specification (section 3.1), and the members of the JSON format (section 3): no header becomes one.
var coreAttributes = []string{"specversion", "id", "source", "type", "subject", "time", "datacontenttype", "dataschema", "data"}

func compileCloudEvent(f flow.Format, headers []string) *cloudEvent {
	if f.Envelope != "cloudevents" {
		return nil
	}
	c := &cloudEvent{source: f.Source, name: f.Name}
	for _, h := range headers {
		name := strings.Map(func(r rune) rune { // section 3.1, attribute naming convention
			if attributeByte(r) {
				return r
			}
			return -1
		}, strings.ToLower(h))
		switch {
		case strings.EqualFold(h, "Content-Type"):
			c.typed = true
		case name == "traceparent", name == "sequence", name == "", name == nameAttribute && c.name != "", slices.Contains(coreAttributes, name):
		case !slices.ContainsFunc(c.extensions, func(e extension) bool { return e.name == name }):
			c.extensions = append(c.extensions, extension{h, name})
		}
	}
	return c
}

func attributeByte(r rune) bool { return r >= 'a' && r <= 'z' || r >= '0' && r <= '9' }

// encode makes the event. ok is false for a message that says it is one, and is not.
func (c *cloudEvent) encode(m *Message, dataMode, eventType string) (event []byte, ok bool) {
	if m.Gone {
		return c.produce(m, dataMode, eventType), true
	}
	switch form, attributes := receive(m); form {
	case structured:
		return m.Data, true // byte for byte, as it may be signed
	case binary:
		return c.relay(m, dataMode, attributes), true
	case malformed:
		return nil, false
	}
	return c.produce(m, dataMode, eventType), true
}

// produce makes an event of a message that was none.
func (c *cloudEvent) produce(m *Message, dataMode, eventType string) []byte {
	b := make([]byte, 0, len(m.Data)+len(m.Data)/3+len(m.Subject)+len(c.source)+320)
	b = append(b, `{"specversion":"1.0"`...)
	b = appendMember(b, "id", m.ID)
	b = appendMember(b, "source", c.source)
	b = appendMember(b, "type", eventType)
	if m.Key != "" {
		b = appendMember(b, "subject", m.Key)
	} else {
		b = appendMember(b, "subject", m.Subject)
	}
	b = append(b, `,"time":"`...)
	b = time.Unix(0, m.At).UTC().AppendFormat(b, time.RFC3339Nano)
	b = append(b, '"')
	contentType := defaultTypes[dataMode]
	if given := header(m.Header, "Content-Type"); c.typed && len(given) == 1 && mediaType(given[0]) {
		contentType = given[0]
	}
	var data []byte
	if !m.Gone {
		data, contentType = appendData(nil, m.Data, dataMode, contentType)
		b = appendMember(b, "datacontenttype", contentType)
	}
	if number, ok := numberOf(m.ID); ok {
		b = append(b, `,"sequence":"`...) // extension Sequence: such that the order of the texts is that of the numbers
		b = appendPadded(b, number)
		b = append(b, '"')
	}
	b = c.appendName(b)
	b = c.appendExtensions(b, m, nil)
	return append(append(b, data...), '}')
}

// relay makes an event of the attributes that a message in binary mode came with.
func (c *cloudEvent) relay(m *Message, dataMode string, attributes []attribute) []byte {
	b := append(make([]byte, 0, len(m.Data)+len(m.Data)/3+320), '{')
	contentType := ""
	for _, a := range attributes {
		switch {
		case a.name == "datacontenttype":
			contentType = a.value
			continue
		case a.name == nameAttribute && c.name != "":
			continue
		}
		b = appendMember(b, a.name, a.value)
	}
	if contentType == "" {
		contentType = defaultTypes[dataMode]
	}
	data, contentType := appendData(nil, m.Data, dataMode, contentType)
	b = appendMember(b, "datacontenttype", contentType)
	b = c.appendName(b)
	b = c.appendExtensions(b, m, attributes)
	return append(append(b, data...), '}')
}

func (c *cloudEvent) appendName(b []byte) []byte {
	if c.name == "" {
		return b
	}
	return appendMember(b, nameAttribute, c.name)
}

// appendExtensions writes the trace (extension Distributed Tracing), and the headers that the route lets through, but for what the event
// has already.
func (c *cloudEvent) appendExtensions(b []byte, m *Message, have []attribute) []byte {
	has := func(name string) bool {
		return slices.ContainsFunc(have, func(a attribute) bool { return a.name == name })
	}
	if trace := Traceparent(m.Header); trace != "" && !has("traceparent") {
		b = appendMember(b, "traceparent", trace)
	}
	for _, e := range c.extensions {
		values := header(m.Header, e.header)
		if text := strings.Join(values, ", "); text != "" && attributeText(text) && !has(e.name) {
			b = appendMember(b, e.name, text)
		}
	}
	return b
}

func appendMember(b []byte, name, value string) []byte {
	if b[len(b)-1] != '{' {
		b = append(b, ',')
	}
	b = appendString(b, name)
	b = append(b, ':')
	return appendString(b, value)
}

// defaultTypes are what a payload is, by the route's data mode, where nothing says it.
var defaultTypes = map[string]string{"json": "application/json", "text": "text/plain", "base64": "application/octet-stream"}

// appendData writes the member data or data_base64 (JSON format, section 3.1): JSON as it is where the content type says JSON, text as a
// string, and in base64 what is neither, or where the route says so. Nothing of a payload is lost.
func appendData(b, payload []byte, dataMode, contentType string) (member []byte, is string) {
	switch {
	case dataMode == "base64":
	case jsonType(contentType):
		if dataMode == "json" || utf8.Valid(payload) && json.Valid(payload) {
			return append(append(b, `,"data":`...), bytes.TrimSpace(payload)...), contentType
		}
	case utf8.Valid(payload):
		return appendString(append(b, `,"data":`...), payload), contentType
	case contentType == defaultTypes["text"]:
		contentType = defaultTypes["base64"]
	}
	b = append(b, `,"data_base64":"`...)
	return append(base64.StdEncoding.AppendEncode(b, payload), '"'), contentType
}

// mediaType says whether a text looks like one (RFC 2046): headgate passes it on, others understand it.
func mediaType(s string) bool {
	major, minor, ok := strings.Cut(s, "/")
	return ok && major != "" && minor != "" && len(s) <= 256 && !strings.ContainsFunc(s, func(r rune) bool { return r < ' ' || r > '~' })
}

// jsonType is the rule of the JSON format, section 3.1: the subtype is json, or ends in +json.
func jsonType(contentType string) bool {
	bare, _, _ := strings.Cut(contentType, ";")
	bare = strings.ToLower(strings.TrimSpace(bare))
	return strings.HasSuffix(bare, "/json") || strings.HasSuffix(bare, "+json")
}

// numberOf is the number at the end of what ID makes.
func numberOf(id string) (uint64, bool) {
	n, err := strconv.ParseUint(id[strings.LastIndexByte(id, '.')+1:], 36, 64)
	return n, err == nil
}

// appendPadded writes a number with as many digits as the largest has.
func appendPadded(b []byte, n uint64) []byte {
	var digits [20]byte
	for i := len(digits) - 1; i >= 0; i-- {
		digits[i] = '0' + byte(n%10)
		n /= 10
	}
	return append(b, digits[:]...)
}
