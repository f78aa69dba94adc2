package config

import (
	"fmt"
	"regexp"
	"strings"
)

// segment is one part of a path between slashes: literal text, or a placeholder.
type segment struct {
	text string // literal text, "" for a placeholder
	name string // of the placeholder
}

func (s segment) wild() bool { return s.name != "" }

var (
	paramName = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)
	// RFC 3986, section 3.3: unreserved characters, sub-delims, ":" and "@"; without percent-encoding, since routes are
	// matched against the decoded path.
	pathText = regexp.MustCompile(`^[A-Za-z0-9._~!$&'()*+,;=:@-]+$`)
)

// parsePath splits a path into segments. The problem is "" when it is one that http.ServeMux takes too.
func parsePath(path string) (segments []segment, problem string) {
	if !strings.HasPrefix(path, "/") {
		return nil, "a path begins with /"
	}
	if strings.HasSuffix(path, "/") {
		return nil, "a path does not end with /: it would stand for everything below"
	}
	if strings.ContainsAny(path, "?#") {
		return nil, "a path holds no query and no fragment"
	}
	for text := range strings.SplitSeq(path[1:], "/") {
		s := segment{text: text}
		switch {
		case text == "":
			return nil, "two slashes in a row"
		case text == "." || text == "..":
			return nil, text + " is not a path segment that a request can have"
		case strings.ContainsAny(text, "{}"):
			s = segment{name: strings.TrimSuffix(strings.TrimPrefix(text, "{"), "}")}
			if !paramName.MatchString(s.name) || "{"+s.name+"}" != text {
				return nil, fmt.Sprintf("%q is not a placeholder: it is a whole segment, {name}, of letters, digits and _", text)
			}
			for _, other := range segments {
				if other.name == s.name {
					return nil, fmt.Sprintf("two placeholders are called {%s}", s.name)
				}
			}
		case !pathText.MatchString(text):
			return nil, fmt.Sprintf("%q has characters that do not stand in a path", text)
		}
		segments = append(segments, s)
	}
	return segments, ""
}

// conflicting says whether http.ServeMux would refuse to have both paths: some request matches both, and neither is the more
// special one. Equal paths conflict as well.
func conflicting(a, b []segment) bool {
	if len(a) != len(b) {
		return false
	}
	aWider, bWider := false, false
	for i := range a {
		switch {
		case a[i].wild() && !b[i].wild():
			aWider = true
		case !a[i].wild() && b[i].wild():
			bWider = true
		case !a[i].wild() && a[i].text != b[i].text:
			return false
		}
	}
	return aWider == bWider
}

// consolePath is where the console page stands, with everything below it.
const consolePath = "/console/"

// onConsole says whether http.ServeMux could not tell the path from the console's: it is below it, or a placeholder in its first
// segment could be "console". One segment alone is told apart, unless it is the console's own.
func onConsole(segments []segment) bool {
	first := segments[0]
	return first.text == "console" || first.wild() && len(segments) > 1
}
