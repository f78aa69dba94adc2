package config

import (
	"cmp"
	"errors"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"unicode"

	"github.com/caarlos0/env/v11"
)

// parsers replace those of the library where an operator writes more than Go does, and where its words would not be his.
var parsers = map[reflect.Type]env.ParserFunc{
	reflect.TypeFor[Duration](): func(s string) (any, error) { return ParseDuration(s) },
	reflect.TypeFor[Bytes]():    func(s string) (any, error) { return ParseBytes(s) },
	reflect.TypeFor[[]string](): func(s string) (any, error) {
		if list := splitList(s); list != nil {
			return list, nil
		}
		return nil, errors.New("a list without entries")
	},
	reflect.TypeFor[bool](): func(s string) (any, error) {
		if b, err := strconv.ParseBool(s); err == nil {
			return b, nil
		}
		return nil, errors.New("neither true nor false")
	},
	reflect.TypeFor[int](): func(s string) (any, error) {
		n, err := strconv.ParseInt(s, 10, 32)
		return int(n), numberError(err, "not a whole number")
	},
	reflect.TypeFor[float64](): func(s string) (any, error) {
		n, err := strconv.ParseFloat(s, 64)
		if err == nil && n-n != 0 { // NaN and the infinities
			err = strconv.ErrSyntax
		}
		return n, numberError(err, "not a number")
	},
}

func numberError(err error, what string) error {
	if errors.Is(err, strconv.ErrRange) {
		return errors.New("too large")
	}
	if err != nil {
		return errors.New(what)
	}
	return nil
}

// environ turns KEY=value lines into a map. The last one of a name wins, as in a shell.
func environ(lines []string) map[string]string {
	vars := make(map[string]string, len(lines))
	for _, line := range lines {
		if name, value, ok := strings.Cut(line, "="); ok {
			vars[name] = value
		}
	}
	return vars
}

// readEnv puts the variables into c and reports every one that cannot be read, or whose number is out of bounds.
func readEnv(c *Config, vars map[string]string, r *report) {
	defaults := DefaultConfig()
	for _, f := range fields() {
		text := vars[f.name]
		if !f.secret {
			text = strings.TrimSpace(text)
		}
		if text == "" {
			continue
		}
		if strings.ContainsFunc(text, unicode.IsControl) {
			r.fail(f.problem(text, "holds a line break or another control character", &defaults))
			continue
		}
		// One variable at a time: the library names the Go field in its errors, so this is what tells whose error it is.
		one := env.Options{Environment: map[string]string{f.name: text}, FuncMap: parsers}
		if err := env.ParseWithOptions(c, one); err != nil {
			message := err.Error()
			var parse env.ParseError
			if errors.As(err, &parse) {
				message = parse.Err.Error()
			}
			r.fail(f.problem(text, message, &defaults))
			continue
		}
		if message, ok := f.check(c); !ok {
			r.fail(f.problem(text, message, &defaults))
		}
	}
}

// problem says what is wrong with the field's value in the environment.
func (f field) problem(value, message string, defaults *Config) Problem {
	switch {
	case f.secret:
		value = "***"
	case f.name == "NATS_URL":
		value = maskURLs(value)
	case f.name == "AUTH_JWKS_URL":
		value = maskQuery(value)
	case strings.HasSuffix(f.name, "_FILE"):
		value = shownFile(f.name, value)
	}
	p := Problem{Variable: f.name, Value: value, Message: message, Expected: f.expected(),
		Example: f.name + "=" + f.sample(defaults)}
	if len(f.oneOf) > 0 {
		p.Hint = nearestHint(value, f.oneOf)
	}
	return p
}

// check holds the value that c has against the tags.
func (f field) check(c *Config) (string, bool) {
	v := f.value(c)
	if len(f.oneOf) > 0 {
		return checkOneOf(v.String(), f.oneOf, f.later)
	}
	if f.form == "addr" {
		return checkAddr(v.String())
	}
	return checkBounds(v, f.min, f.max)
}

// checkOneOf says whether text is one of the values, or one that a later version will have.
func checkOneOf(text string, oneOf, later []string) (string, bool) {
	switch {
	case slices.Contains(oneOf, text):
		return "", true
	case slices.Contains(later, text):
		return notYet(text), false
	}
	return "no such value", false
}

// notYet is the message for what later versions will do.
func notYet(what string) string { return what + " is not supported yet by this version of headgate" }

// checkBounds says whether a number is within the bounds of the tags. Durations and sizes are never negative by their parsers.
func checkBounds(v reflect.Value, least, most string) (string, bool) {
	outside := func(bound string, sign int) bool {
		if bound == "" {
			return false
		}
		b, _ := strconv.ParseInt(bound, 10, 64)
		if v.CanFloat() {
			return cmp.Compare(v.Float(), float64(b)) == sign
		}
		return v.CanInt() && cmp.Compare(v.Int(), b) == sign
	}
	switch {
	case outside(least, -1):
		return "too small", false
	case outside(most, +1):
		return "too large", false
	}
	return "", true
}
