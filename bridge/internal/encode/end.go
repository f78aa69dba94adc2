package encode

import (
	"bytes"
	"encoding/json"
	"strconv"
	"strings"
)

// end is the condition by which a message is the last of its stream: a field of its JSON payload has one of some values.
type end struct {
	path   []string // names of members, from the outside in
	values []any    // scalars as decodeScalar gives them
}

// compileEnd reads a dotted path and JSON values, one per line. It is nil where there is no condition; config has checked the rest.
func compileEnd(field, in string) *end {
	if field == "" {
		return nil
	}
	e := &end{path: strings.Split(field, ".")}
	for line := range strings.SplitSeq(in, "\n") {
		if v, ok := decodeScalar([]byte(line)); ok {
			e.values = append(e.values, v)
		}
	}
	return e
}

// metBy says whether the payload meets the condition. One that is no JSON, or does not have the field, does not.
func (e *end) metBy(payload []byte) bool {
	rest := json.RawMessage(payload)
	for _, name := range e.path {
		var members map[string]json.RawMessage
		if json.Unmarshal(rest, &members) != nil {
			return false
		}
		var ok bool
		if rest, ok = members[name]; !ok {
			return false
		}
	}
	v, ok := decodeScalar(rest)
	if !ok {
		return false
	}
	for _, want := range e.values {
		if sameScalar(v, want) {
			return true
		}
	}
	return false
}

// decodeScalar reads a string, a json.Number, a boolean or null; ok is false for anything else.
func decodeScalar(text []byte) (v any, ok bool) {
	d := json.NewDecoder(bytes.NewReader(text))
	d.UseNumber()
	if err := d.Decode(&v); err != nil {
		return nil, false
	}
	switch v.(type) {
	case nil, string, bool, json.Number:
		return v, true
	}
	return nil, false
}

// sameScalar compares by value: 1, 1.0 and 1e0 are one number. Whole numbers are not put through a float, which would make large
// ones equal to their neighbours.
func sameScalar(a, b any) bool {
	x, isNumber := a.(json.Number)
	y, both := b.(json.Number)
	if !isNumber || !both {
		return a == b
	}
	i, err1 := strconv.ParseInt(x.String(), 10, 64)
	j, err2 := strconv.ParseInt(y.String(), 10, 64)
	if err1 == nil && err2 == nil {
		return i == j
	}
	f, err1 := x.Float64()
	g, err2 := y.Float64()
	return err1 == nil && err2 == nil && f == g
}
