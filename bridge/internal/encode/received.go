package encode

import (
	"bytes"
	"encoding/json"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

// form says in which of the ways of the NATS protocol binding of CloudEvents a message is an event.
type form uint8

const (
	ordinary   form = iota // it is no event
	structured             // the payload is the event, in the JSON format
	binary                 // the attributes are headers, the payload is the data
	malformed              // it says that it is an event, and is not
)

// attribute is a context attribute of an event, as text (CloudEvents, section 3.1: type system).
type attribute struct{ name, value string }

// The attributes that every event has (section 3.1).
var required = []string{"specversion", "id", "source", "type"}

const specVersion = "1.0"

// receive finds out whether a message is an event. Version 1.0.2 of the binding is from before NATS had headers: the payload is
// the event, and nothing says so. The one after it has both modes, and Content-Type and ce-specversion say which.
func receive(m *Message) (form, []attribute) {
	contentType := header(m.Header, "Content-Type")
	switch {
	case len(contentType) > 0 && structuredType(contentType[0]):
		if isEvent(m.Data) {
			return structured, nil
		}
		return malformed, nil
	case len(header(m.Header, "ce-specversion")) > 0:
		return fromHeaders(m.Header)
	case len(contentType) == 0 && bytes.Contains(m.Data, []byte(`"specversion"`)) && isEvent(m.Data):
		return structured, nil
	}
	return ordinary, nil
}

// structuredType knows the JSON format only; a batch or another format is a payload like any other.
func structuredType(contentType string) bool {
	bare, _, _ := strings.Cut(contentType, ";")
	bare = strings.ToLower(strings.TrimSpace(bare))
	return bare == "application/cloudevents+json" || bare == "application/cloudevents"
}

// isEvent says whether a text is an event in the JSON format.
func isEvent(text []byte) bool {
	var members map[string]json.RawMessage
	if !utf8.Valid(text) || json.Unmarshal(text, &members) != nil {
		return false
	}
	for _, name := range required {
		var value string
		if json.Unmarshal(members[name], &value) != nil || value == "" || name == "specversion" && value != specVersion {
			return false
		}
	}
	_, data := members["data"]
	_, encoded := members["data_base64"]
	return !data || !encoded
}

// fromHeaders reads the attributes of an event in binary mode: the required ones first, then the others in the order of their names.
// Another version of the specification makes an ordinary message.
func fromHeaders(h map[string][]string) (form, []attribute) {
	attributes := make([]attribute, len(required), len(h)+len(required))
	for i, name := range required {
		attributes[i].name = name
	}
	names := make([]string, 0, len(h))
	for name := range h {
		if len(name) > 3 && strings.EqualFold(name[:3], "ce-") && len(h[name]) > 0 {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	for _, given := range names {
		name := strings.ToLower(given[3:])
		if name == "data" || strings.ContainsFunc(name, func(r rune) bool { return !attributeByte(r) }) {
			continue
		}
		value, ok := decodeValue(h[given][0])
		i := slices.IndexFunc(attributes, func(a attribute) bool { return a.name == name })
		switch {
		case !ok:
			return malformed, nil
		case i < 0:
			attributes = append(attributes, attribute{name, value})
		case attributes[i].value == "":
			attributes[i].value = value
		}
	}
	if attributes[0].value != specVersion {
		return ordinary, nil
	}
	for i := range required {
		if attributes[i].value == "" {
			return malformed, nil
		}
	}
	return binary, attributes
}

// decodeValue undoes what the binding does to values (section 3.1.3.2): double quotes, then percent-encoding. What is no UTF-8 then, or
// has characters that no attribute has, is refused.
func decodeValue(s string) (string, bool) {
	s = strings.Trim(s, " \t")
	if len(s) >= 2 && s[0] == '"' && s[len(s)-1] == '"' {
		s = unquote(s[1 : len(s)-1])
	}
	if strings.Contains(s, "%") {
		b := make([]byte, 0, len(s))
		for i := 0; i < len(s); i++ {
			if s[i] == '%' {
				high, ok1 := digit(s, i+1)
				low, ok2 := digit(s, i+2)
				if !ok1 || !ok2 {
					return "", false
				}
				b = append(b, high<<4|low)
				i += 2
				continue
			}
			b = append(b, s[i])
		}
		s = string(b)
	}
	return s, attributeText(s)
}

// unquote drops the backslashes of a quoted string (RFC 9110, section 5.6.4).
func unquote(s string) string {
	if !strings.Contains(s, `\`) {
		return s
	}
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '\\' && i+1 < len(s) {
			i++
		}
		b.WriteByte(s[i])
	}
	return b.String()
}

func digit(s string, i int) (byte, bool) {
	if i >= len(s) {
		return 0, false
	}
	switch c := s[i]; {
	case c >= '0' && c <= '9':
		return c - '0', true
	case c >= 'a' && c <= 'f':
		return c - 'a' + 10, true
	case c >= 'A' && c <= 'F':
		return c - 'A' + 10, true
	}
	return 0, false
}

// attributeText is what an attribute of type String may hold (CloudEvents, section 3.1, type system): no control characters.
func attributeText(s string) bool {
	return utf8.ValidString(s) && !strings.ContainsFunc(s, unicode.IsControl)
}
