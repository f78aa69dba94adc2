package encode

import (
	"encoding/base64"
	"strings"
	"time"
	"unicode/utf8"
)

// envelope is {"subject","source","time","id","headers","data"}, of a bucket with key in place of subject: source only where the route
// has several, id only where the route has ids,
// headers only those the route allows, and only when the message has one of them, data null where there is no value. JSON is
// RFC 8259, time is RFC 3339.
func (f *Format) envelope(m *Message) []byte {
	b := make([]byte, 0, len(m.Subject)+len(m.Key)+len(m.Data)+len(m.Data)/3+128)
	if m.Key != "" {
		b = append(b, `{"key":`...)
		b = appendString(b, m.Key)
	} else {
		b = append(b, `{"subject":`...)
		b = appendString(b, m.Subject)
	}
	if f.Name != "" {
		b = append(b, `,"source":`...)
		b = appendString(b, f.Name)
	}
	b = append(b, `,"time":"`...)
	b = time.Unix(0, m.At).UTC().AppendFormat(b, time.RFC3339Nano)
	b = append(b, '"')
	if f.IDs && m.ID != "" {
		b = append(b, `,"id":`...)
		b = appendString(b, m.ID)
	}
	b = f.appendHeaders(b, m.Header)
	b = append(b, `,"data":`...)
	switch {
	case m.Gone:
		b = append(b, "null"...)
	case f.Data == "json":
		b = append(b, m.Data...) // checked before
	case f.Data == "base64":
		b = append(b, '"')
		b = base64.StdEncoding.AppendEncode(b, m.Data)
		b = append(b, '"')
	default:
		b = appendString(b, m.Data)
	}
	return append(b, '}')
}

// appendHeaders writes the allowed headers in the order of the route. Several values of one name are joined as in HTTP
// (RFC 9110, section 5.3).
func (f *Format) appendHeaders(b []byte, h map[string][]string) []byte {
	if len(h) == 0 {
		return b
	}
	open := false
	for _, name := range f.headers {
		values := header(h, name)
		if len(values) == 0 {
			continue
		}
		if open {
			b = append(b, ',')
		} else {
			b = append(b, `,"headers":{`...)
			open = true
		}
		b = appendString(b, name)
		b = append(b, ':')
		b = appendString(b, strings.Join(values, ", "))
	}
	if open {
		b = append(b, '}')
	}
	return b
}

const hex = "0123456789abcdef"

// appendString writes a JSON string (RFC 8259, section 7). Invalid UTF-8 becomes U+FFFD. encoding/json can do this only by way
// of an allocation for each string, on a path that every message takes.
func appendString[T string | []byte](b []byte, s T) []byte {
	b = append(b, '"')
	done := 0
	for i := 0; i < len(s); {
		c := s[i]
		if c < utf8.RuneSelf {
			if c >= ' ' && c != '"' && c != '\\' {
				i++
				continue
			}
			b = append(b, s[done:i]...)
			b = appendEscape(b, c)
			i++
			done = i
			continue
		}
		r, size := utf8.DecodeRuneInString(string(s[i:min(i+utf8.UTFMax, len(s))]))
		if r == utf8.RuneError && size == 1 {
			b = append(b, s[done:i]...)
			b = append(b, "\uFFFD"...)
			i++
			done = i
			continue
		}
		i += size
	}
	b = append(b, s[done:]...)
	return append(b, '"')
}

func appendEscape(b []byte, c byte) []byte {
	switch c {
	case '"', '\\':
		return append(b, '\\', c)
	case '\n':
		return append(b, '\\', 'n')
	case '\r':
		return append(b, '\\', 'r')
	case '\t':
		return append(b, '\\', 't')
	}
	return append(b, '\\', 'u', '0', '0', hex[c>>4], hex[c&15])
}
