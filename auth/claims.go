package auth

import (
	"bytes"
	"encoding/json"
	"strings"
)

// claims are those of a verified token, written as JSON again: without spaces, and each name once. There may be tens of thousands of tokens
// in the cache, and the decoded claims of a usual one take four times as much memory. What is asked for is decoded each time, alone.
type claims string

func claimsOf(all map[string]any) claims {
	if len(all) == 0 {
		return ""
	}
	return claims(encode(all))
}

// encode writes what has been decoded of JSON, which cannot fail.
func encode(value any) string {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if e.Encode(value) != nil {
		return "null"
	}
	return strings.TrimSuffix(b.String(), "\n")
}

// find is what find says of the decoded claims.
func (c claims) find(path string) (any, bool) {
	if text, ok := c.member(path); ok {
		return decode(text), true
	}
	first, rest, more := strings.Cut(path, ".")
	if !more {
		return nil, false
	}
	text, _ := c.member(first)
	inner, ok := decode(text).(map[string]any)
	if !ok {
		return nil, false
	}
	return find(inner, rest)
}

// lookup is find for which a claim that is null is not there.
func (c claims) lookup(path string) (any, bool) {
	value, _ := c.find(path)
	return value, value != nil
}

// member is the text of a member's value.
func (c claims) member(name string) (string, bool) {
	text, wanted := string(c), encode(name)
	for i := 1; i < len(text); {
		colon := endOf(text, i)
		end := endOf(text, colon+1)
		if text[i:colon] == wanted {
			return text[colon+1 : end], true
		}
		i = end + 1 // behind the comma
	}
	return "", false
}

// endOf is the end of the value, or of the name, that begins at i in what encode has written.
func endOf(text string, i int) int {
	depth := 0
	for ; i < len(text); i++ {
		switch text[i] {
		case '"':
			for i++; text[i] != '"'; i++ {
				if text[i] == '\\' {
					i++
				}
			}
		case '{', '[':
			depth++
			continue
		case '}', ']':
			if depth == 0 {
				return i // of the object around it
			}
			depth--
		case ',', ':':
			if depth == 0 {
				return i
			}
			continue
		default:
			continue
		}
		if depth == 0 {
			return i + 1
		}
	}
	return i
}

// decode reads a value that encode has written.
func decode(text string) any {
	if len(text) > 1 && text[0] == '"' && !strings.Contains(text, `\`) {
		return text[1 : len(text)-1]
	}
	d := json.NewDecoder(strings.NewReader(text))
	d.UseNumber()
	var value any
	if d.Decode(&value) != nil {
		return nil
	}
	return value
}
