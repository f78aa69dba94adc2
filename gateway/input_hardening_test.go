package gateway_test

import (
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"

	"headgate/auth"
	"headgate/gateway"
	"headgate/internal/config"
	"headgate/internal/devnats"
	"headgate/internal/subject"
)

func TestHardening_PathParametersAreOneToken(t *testing.T) {
	r := start(t)
	for _, value := range []string{"a.b", "%2E%2E", ".", "%2E", "*", "%3E", ">", "a%2Eb", "a%20b", "a%09b", "a%00b", "%0D%0Adata:x", "%C0%AE", "%FF",
		"%E2%80%83", strings.Repeat("x", 129), "%EF%BF%BD"} {
		resp := r.get("/v1/prices/" + value)
		if value == "." { // a dot segment is no path at all
			resp.problem(t, http.StatusNotFound, "not-found")
			continue
		}
		detail := resp.problem(t, http.StatusBadRequest, "parameter-invalid")
		if !strings.Contains(detail, "{symbol}") || !strings.Contains(detail, "one subject token") {
			t.Errorf("%s: detail %q", value, detail)
		}
	}
	for value, want := range map[string]string{"ACME": "ACME", "a-b_c": "a-b_c", "%24JS": "$JS", "%C3%A9": "é", "a%2Fb": "a/b", "_INBOX": "_INBOX",
		strings.Repeat("x", 128): strings.Repeat("x", 128)} {
		r.open("/v1/prices/" + value).want("$ready")
		if got := r.bridge.subjects(); !slices.Equal(got, []string{"prices." + want}) {
			t.Errorf("%s: subjects %q", value, got)
		}
	}
}

func TestHardening_PathParametersNeverReachNATSsOwnSubjects(t *testing.T) {
	route := prices()
	route.UnsafeFirstToken, route.Sources[0].Subject = true, "{symbol}.>"
	r := start(t, withRoutes(route))
	for _, value := range []string{"%24JS", "$SYS", "_INBOX", "%5FINBOX"} {
		r.get("/v1/prices/"+value).problem(t, http.StatusBadRequest, "parameter-invalid")
	}
}

func FuzzPathParameter(f *testing.F) {
	for _, s := range []string{"ACME", "..", ">", "$JS", "\xc0\xae", "a b", "\u2028"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, value string) {
		req := &http.Request{Method: "GET", URL: &url.URL{Path: "/"}, Header: http.Header{}}
		req.SetPathValue("symbol", value)
		subjects, _, err := gateway.Specs(prices(), 8, req)
		if err != nil {
			if slug, ok := gateway.Refused(err); !ok || slug != "parameter-invalid" {
				t.Fatalf("%q: %v", value, err)
			}
			return
		}
		if want := fmt.Sprintf("prices.%s", value); len(subjects) != 1 || subjects[0] != want || subject.ValidLiteral(want) != nil ||
			strings.Count(want, ".") != 1 {
			t.Errorf("%q became %q", value, subjects)
		}
	})
}

// An id says where to go on, and nothing of what may be read: that of somebody else, or of before a right was taken away, gives what the
// caller may read now, from there on, and nothing else.
func TestHardening_AForeignIDGivesNothingOfOthers(t *testing.T) {
	ns, err := devnats.Start(devnats.Options{JetStream: true, StoreDir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(ns.Shutdown)
	store, err := ns.Store()
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	if err := store.Stream(t.Context(), "ORDERS", "orders.>"); err != nil {
		t.Fatal(err)
	}
	mine, named := prices(), prices()
	mine.Name, mine.Path, mine.AuthRequired, mine.Event = "mine", "/v1/mine", true, ""
	mine.Sources = []config.Source{{Name: "orders", Type: "stream", Stream: "ORDERS", Subject: "orders.{claims.sub}.>"}}
	named.Name, named.Path, named.AuthRequired, named.Event = "named", "/v1/named", true, ""
	named.Sources = []config.Source{{Name: "orders", Type: "stream", Stream: "ORDERS", Allow: []string{"orders.>"}}}
	w := startWholeOn(t, ns, nil, withIdentity(t, auth.Grants{}, mine, named))
	publish := func(who, text string) {
		t.Helper()
		if err := w.pub.Publish("orders."+who+".new", []byte(text)); err != nil {
			t.Fatal(err)
		}
	}
	for n := range 3 {
		publish("ann", fmt.Sprint("ann ", n))
		publish("bob", fmt.Sprint("bob ", n))
	}
	if err := w.pub.Flush(); err != nil {
		t.Fatal(err)
	}
	as := func(sub string, allow ...string) []string { return bearer(token(sub, may("sub", allow...))) }
	everything := func(query string, fields []string) (seen []string) {
		t.Helper()
		rd := w.open(query, fields...)
		for {
			switch e := rd.next(); e.Type {
			case "$ready":
			case "$live":
				return seen
			default:
				seen = append(seen, e.Data+"@"+e.ID)
			}
		}
	}
	annsID := ""
	for _, e := range everything("/v1/mine?since=1h", as("ann", "orders.ann.>")) {
		if annsID == "" {
			_, annsID, _ = strings.Cut(e, "@")
		}
	}
	for _, c := range []struct {
		name, path string
		fields     []string
		want       string
	}{
		{"her own", "/v1/mine", as("ann", "orders.ann.>"), "ann 1, ann 2"},
		{"of somebody else", "/v1/mine", as("bob", "orders.bob.>"), "bob 0, bob 1, bob 2"},
		{"of somebody else, subjects named", "/v1/named?subject=orders.bob.*", as("bob", "orders.bob.>"), "bob 0, bob 1, bob 2"},
	} {
		var got []string
		for _, e := range everything(c.path, append(c.fields, "Last-Event-ID", annsID)) {
			text, _, _ := strings.Cut(e, "@")
			got = append(got, text)
		}
		if strings.Join(got, ", ") != c.want {
			t.Errorf("%s: %q, want %s", c.name, got, c.want)
		}
	}
	for path, fields := range map[string][]string{
		"/v1/named?subject=orders.ann.*": as("bob", "orders.bob.>"), // hers, by her id
		"/v1/named?subject=orders.*.*":   as("bob", "orders.bob.>"),
		"/v1/mine":                       as("ann", "other.>"), // a right of before
	} {
		w.get(path, append(fields, "Last-Event-ID", annsID)...).problem(t, http.StatusForbidden, "not-readable")
	}
}
