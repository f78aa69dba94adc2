package encode

import "strings"

// header finds the values of a message header. NATS keeps the spelling of the publisher, while names are the same in any (ADR-4 of
// nats-architecture-and-design). The spelling of the route counts first, then the first in the alphabet, so that every replica
// makes the same of a message that has several.
func header(h map[string][]string, name string) []string {
	if values := h[name]; len(values) > 0 {
		return values
	}
	found := ""
	for other := range h {
		if len(other) == len(name) && strings.EqualFold(other, name) && (found == "" || other < found) {
			found = other
		}
	}
	return h[found]
}

// Traceparent is the trace that a message belongs to (W3C Trace Context, section 3.2), "" where its header names none that is valid.
func Traceparent(h map[string][]string) string {
	if len(h) == 0 {
		return ""
	}
	values := header(h, "traceparent")
	if len(values) != 1 || !validTrace(values[0]) {
		return ""
	}
	return values[0]
}

// validTrace looks at version-traceid-parentid-flags, in lower case hexadecimal digits. Versions to come may have more behind it.
func validTrace(s string) bool {
	const length, most = 55, 128
	if len(s) < length || len(s) > most || s[:2] == "ff" || s[:2] == "00" && len(s) > length || len(s) > length && s[length] != '-' {
		return false
	}
	for i := range len(s) {
		switch c := s[i]; {
		case i == 2 || i == 35 || i == 52:
			if c != '-' {
				return false
			}
		case i < length && !(c >= '0' && c <= '9' || c >= 'a' && c <= 'f'), c <= ' ' || c > '~':
			return false
		}
	}
	return strings.Trim(s[3:35], "0") != "" && strings.Trim(s[36:52], "0") != ""
}
