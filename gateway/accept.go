package gateway

import (
	"mime"
	"strconv"
	"strings"
)

// eventStream is the media type of a stream (HTML Living Standard, section 9.2; registered there in section 16.7).
const eventStream = "text/event-stream"

// weighAccept holds the Accept fields of a request against text/event-stream (RFC 9110, section 12.5.1): whether the client takes it,
// and whether it asked for it by name. The most specific range decides; one that cannot be read is left out; no range at all means
// anything.
func weighAccept(fields []string) (accepted, named bool) {
	const (
		nothing = iota
		all
		text
		exact
	)
	best, quality, ranges := nothing, 0.0, 0
	for _, field := range fields {
		for element := range splitList(field) {
			mediaType, params, err := mime.ParseMediaType(element)
			if err != nil && mediaType == "" {
				continue
			}
			ranges++
			var specific int
			switch mediaType {
			case eventStream:
				specific = exact
			case "text/*":
				specific = text
			case "*/*":
				specific = all
			default:
				continue
			}
			q := weight(params)
			if specific > best || specific == best && q > quality {
				best, quality = specific, q
			}
		}
	}
	if ranges == 0 {
		return true, false
	}
	return quality > 0, best == exact && quality > 0
}

// weight reads q (RFC 9110, section 12.4.2). What cannot be read counts as 1, as if it were absent.
func weight(params map[string]string) float64 {
	text, ok := params["q"]
	if !ok {
		return 1
	}
	q, err := strconv.ParseFloat(text, 64)
	if err != nil || !(q >= 0 && q <= 1) {
		return 1
	}
	return q
}

// splitList yields the elements of a comma list (RFC 9110, section 5.6.1). Commas in quoted strings do not separate.
func splitList(field string) func(yield func(string) bool) {
	return func(yield func(string) bool) {
		start, quoted := 0, false
		for i := 0; i <= len(field); i++ {
			switch {
			case i < len(field) && quoted && field[i] == '\\':
				i++
			case i < len(field) && field[i] == '"':
				quoted = !quoted
			case i >= len(field) || field[i] == ',' && !quoted:
				if element := strings.TrimSpace(field[start:min(i, len(field))]); element != "" && !yield(element) {
					return
				}
				start = i + 1
			}
		}
	}
}
