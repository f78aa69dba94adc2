package config

import (
	"net/http"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// muxTakes says whether http.ServeMux takes all patterns.
func muxTakes(patterns ...string) (ok bool) {
	defer func() {
		if recover() != nil {
			ok = false
		}
	}()
	mux := http.NewServeMux()
	for _, p := range patterns {
		mux.HandleFunc(p, func(http.ResponseWriter, *http.Request) {})
	}
	return true
}

func genPath() *rapid.Generator[string] {
	part := rapid.SampledFrom([]string{"a", "b", "console", "{x}", "{y}", "{z}"})
	return rapid.Map(rapid.SliceOfN(part, 1, 4), func(parts []string) string { return "/" + strings.Join(parts, "/") })
}

func TestPath_ConflictsAreThoseOfServeMux(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a, b := genPath().Draw(t, "a"), genPath().Draw(t, "b")
		sa, pa := parsePath(a)
		sb, pb := parsePath(b)
		if (pa == "") != muxTakes(a) || (pb == "") != muxTakes(b) {
			t.Fatalf("parsePath(%s)=%q parsePath(%s)=%q", a, pa, b, pb)
		}
		if pa != "" || pb != "" {
			return
		}
		if conflicting(sa, sb) == muxTakes(a, b) {
			t.Errorf("%s and %s: conflicting is %v", a, b, conflicting(sa, sb))
		}
		if !onConsole(sa) && !muxTakes(a, consolePath) {
			t.Errorf("%s conflicts with the console", a)
		}
	})
}

func FuzzPath(f *testing.F) {
	for _, s := range []string{"/v1/{a}/b", "/{a}/{a}", "/a//b", "/%2e", "/{a...}", "/{$}", "/a/../b", "GET /a", "example.org/a"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, path string) {
		segments, problem := parsePath(path)
		if problem == "" && (len(segments) == 0 || !muxTakes(path)) {
			t.Errorf("%q is accepted and http.ServeMux refuses it", path)
		}
	})
}

func TestOrigin_IsAcceptedOnlyAsBrowsersWriteIt(t *testing.T) {
	for _, o := range []string{"*", "https://app.example", "http://localhost:5173", "http://127.0.0.1:8080", "https://[2001:db8::1]:8443", "https://xn--bcher-kva.example",
		"chrome-extension://abcdefghijklmnop", "capacitor://localhost", "https://a_b.example"} {
		if message, _ := checkOrigin(o); message != "" {
			t.Errorf("%s: %s", o, message)
		}
	}
	for o, hint := range map[string]string{
		"null": "everybody", "https://*.example": "name every origin", "https://app.example/": "did you mean https://app.example?",
		"app.example": "did you mean https://app.example?", "https://App.Example": "did you mean https://app.example?",
		"https://app.example:443": "did you mean https://app.example?", "http://a:80": "did you mean http://a?", "https://a.example/x?y": "https://a.example?",
		"https://user@a.example": "", "https://": "", "//a.example": "", "": "", "https://a b": "", "https://bücher.example": "", "https://a.example:": "",
	} {
		message, got := checkOrigin(o)
		if message == "" || !strings.Contains(got, hint) {
			t.Errorf("%q: %q %q", o, message, got)
		}
	}
}
