package subject

import (
	"strings"

	"pgregory.net/rapid"
)

// The reference decides by looking at every subject there is, for a world in which tokens are a, b or c and subjects have up to five
// of them. Patterns of at most four tokens from {a, b, *, >} are drawn, so that there is always a token no pattern names and a
// subject longer than every pattern: then what holds in this world holds in general.
var world = enumerate(5)

func enumerate(longest int) []string {
	var all []string
	level := []string{""}
	for range longest {
		var next []string
		for _, prefix := range level {
			for _, token := range []string{"a", "b", "c"} {
				next = append(next, strings.TrimPrefix(prefix+"."+token, "."))
			}
		}
		all = append(all, next...)
		level = next
	}
	return all
}

// slowMatch is the definition, token by token.
func slowMatch(pattern, literal string) bool {
	p, l := strings.Split(pattern, "."), strings.Split(literal, ".")
	for i, token := range p {
		if token == ">" && i == len(p)-1 {
			return len(l) > i
		}
		if i >= len(l) || token != "*" && token != l[i] {
			return false
		}
	}
	return len(p) == len(l)
}

func slowCovers(wide, narrow string) bool {
	for _, s := range world {
		if slowMatch(narrow, s) && !slowMatch(wide, s) {
			return false
		}
	}
	return true
}

func slowIntersects(a, b string) bool {
	for _, s := range world {
		if slowMatch(a, s) && slowMatch(b, s) {
			return true
		}
	}
	return false
}

// smallPatterns are all valid patterns of the small world.
var smallPatterns = func() []string {
	var all []string
	level := []string{""}
	for range 4 {
		var next []string
		for _, prefix := range level {
			for _, token := range []string{"a", "b", "*"} {
				next = append(next, strings.TrimPrefix(prefix+"."+token, "."))
			}
			all = append(all, strings.TrimPrefix(prefix+".>", "."))
		}
		all = append(all, next...)
		level = next
	}
	return all
}()

func drawPattern(t *rapid.T, label string) string {
	return rapid.SampledFrom(smallPatterns).Draw(t, label)
}
