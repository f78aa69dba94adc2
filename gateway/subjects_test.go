package gateway_test

import (
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"

	"headgate/gateway"
	"headgate/internal/cursor"
	"headgate/internal/subject"
)

func TestPathParameters_FollowTheRoutesPattern(t *testing.T) {
	route := prices()
	route.Params = map[string]string{"symbol": "[A-Z]{1,6}|x"}
	r := start(t, withRoutes(route))
	r.open("/v1/prices/ACME").want("$ready")
	for _, value := range []string{"acme", "TOOLONGX", "A1", "ACME%0A", "ACMEx"} {
		if detail := r.get("/v1/prices/"+value).problem(t, http.StatusBadRequest, "parameter-invalid"); !strings.HasPrefix(detail, "{symbol} must match [A-Z]{1,6}|x. ") {
			t.Errorf("%s: detail %q", value, detail)
		}
	}
}

func TestNamedSubjects_AreCheckedOneByOne(t *testing.T) {
	r := start(t, func(s *setup) { s.cfg.Limit.SubjectsPerStream = 3 })
	for _, c := range []struct {
		query, slug string
		status      int
	}{
		{"", "subject-missing", 400},
		{"other=1", "subject-missing", 400},
		{"Subject=feed.a", "subject-missing", 400},
		{"subject=", "subject-invalid", 400},
		{"subject=feed..a", "subject-invalid", 400},
		{"subject=feed.>.a", "subject-invalid", 400},
		{"subject=feed.a*", "subject-invalid", 400},
		{"subject=feed.a%20b", "subject-invalid", 400},
		{"subject=feed.%0D%0AUNSUB+1", "subject-invalid", 400},
		{"subject=feed.%FF", "subject-invalid", 400},
		{"subject=feed." + strings.Repeat("x", 1100), "subject-invalid", 400},
		{"subject=feed.a&subject=feed..", "subject-invalid", 400},
		{"subject=feed.%zz", "query-invalid", 400},
		{"subject=feed.a;subject=feed.b", "query-invalid", 400},
		{"subject=other.a", "subject-forbidden", 403},
		{"subject=feed", "subject-forbidden", 403},
		{"subject=news.a.b", "subject-forbidden", 403},
		{"subject=news.>", "subject-forbidden", 403},
		{"subject=feed.a&subject=other.a", "subject-forbidden", 403},
		{"subject=>", "subject-forbidden", 403},
		{"subject=*.a", "subject-forbidden", 403},
		{"subject=$JS.API.>", "subject-forbidden", 403},
		{"subject=$SYS.>", "subject-forbidden", 403},
		{"subject=_INBOX.>", "subject-forbidden", 403},
		{"subject=_R_.x", "subject-forbidden", 403},
		{"subject=feed.a&subject=feed.b&subject=feed.c&subject=feed.d", "subject-too-many", 400},
		{"subject=feed.a&subject=feed.a&subject=feed.a&subject=feed.a", "subject-too-many", 400},
	} {
		detail := r.get("/v1/feed?"+c.query).problem(t, c.status, c.slug)
		if own := strings.Contains(c.query, "=$") || strings.Contains(c.query, "=_"); own && !strings.Contains(detail, "reserved") {
			t.Errorf("%s: detail %q", c.query, detail)
		}
	}
	if n := len(r.bridge.opens()); n != 0 {
		t.Errorf("%d sources were opened", n)
	}
}

func TestNamedSubjects_AreReducedAndOrdered(t *testing.T) {
	r := start(t)
	for query, want := range map[string][]string{
		"subject=feed.eu.>&subject=feed.us.*":                {"feed.eu.>", "feed.us.*"},
		"subject=feed.us.*&subject=feed.eu.>":                {"feed.eu.>", "feed.us.*"},
		"subject=feed.eu.x&subject=feed.eu.>":                {"feed.eu.>"},
		"subject=feed.a&subject=feed.a&unknown=1":            {"feed.a"},
		"subject=feed.*.x&subject=feed.y.*":                  {"feed.*.x", "feed.y.*"}, // intersecting: bridge delivers once
		"subject=feed.%3E":                                   {"feed.>"},
		"subject=news.a&subject=feed.>&subject=feed.a.b.c.d": {"feed.>", "news.a"},
	} {
		r.open("/v1/feed?" + query).want("$ready")
		if got := r.bridge.subjects(); !slices.Equal(got, want) {
			t.Errorf("%s: subjects %q, want %q", query, got, want)
		}
	}
}

func TestNamedSubjects_AreIgnoredWhereTheRouteNamesThem(t *testing.T) {
	r := start(t)
	r.open("/v1/prices/ACME?subject=feed.a&subject=%zz").want("$ready")
	if got := r.bridge.subjects(); !slices.Equal(got, []string{"prices.ACME"}) {
		t.Errorf("subjects %q", got)
	}
}

func TestNamedSubjects_WithUnsafeFirstTokenStayWithinAllow(t *testing.T) {
	route := feed()
	route.UnsafeFirstToken, route.Sources[0].Allow = true, []string{"*.public.>"}
	r := start(t, withRoutes(route))
	r.open("/v1/feed?subject=*.public.a").want("$ready")
	r.get("/v1/feed?subject=*.secret.a").problem(t, http.StatusForbidden, "subject-forbidden")
	r.get("/v1/feed?subject=$JS.public.a").problem(t, http.StatusForbidden, "subject-forbidden")
	r.get("/v1/feed?subject=_x.public.a").problem(t, http.StatusForbidden, "subject-forbidden")
}

func TestPosition_FirstPresentWins(t *testing.T) {
	const a, b = "1~aaaaaa.5", "1~bbbbbb.7"
	r := start(t)
	for _, c := range []struct{ header, query, want string }{
		{"", "", ""}, {a, "", a}, {"", "?last-event-id=" + b, b}, {a, "?last-event-id=" + b, a}, {a, "?since=1h", a},
		{"", "?last-event-id=" + b + "&since=1h", b}, {"rubbish \u2603", "", "rubbish \u2603"}, {"", "?last-event-id=%FF%00", "\xff\x00"},
	} {
		var fields []string
		if c.header != "" {
			fields = []string{"Last-Event-ID", c.header}
		}
		r.open("/v1/prices/ACME"+c.query, fields...).want("$ready")
		if opens := r.bridge.opens(); opens[len(opens)-1].Cursor != c.want {
			t.Errorf("%+v: cursor %q", c, opens[len(opens)-1].Cursor)
		}
	}
	r.get("/v1/prices/ACME?since=1h").problem(t, http.StatusBadRequest, "since-unsupported")
	r.get("/v1/prices/ACME?since=").problem(t, http.StatusBadRequest, "since-unsupported")
}

// A position that is there and cannot be read is not the same as none: whoever takes it for none begins live, and misses what was asked for.
func TestPosition_IsNotHiddenInABrokenQuery(t *testing.T) {
	const a = "1~aaaaaa.5"
	many := strings.Repeat("&", 10_000) // net/url reads none of so many
	without := prices()
	without.Name, without.Path, without.Resume.Enabled = "without", "/v1/without/{symbol}", false
	r := start(t, withRoutes(prices(), without))
	for _, query := range []string{"last-event-id=%zz", "last%2Devent-id=%", "x=1;last-event-id=" + a, "last-event-id=" + a + ";x=1", "last-event-id=" + a + "&last-event-id=%",
		"since=%zz", "%73ince=%zz", "x;since=1h", "%zz=1", many + "since=1h", many + "last-event-id=" + a, "last%2Devent-id=" + a + many} {
		r.get("/v1/prices/ACME?"+query).problem(t, http.StatusBadRequest, "query-invalid")
	}
	for _, query := range []string{"utm=100%", "x=%zz&last-event-id=" + a, "last-event-id=" + a + "&x=1;y=2", many + "x=1"} {
		r.open("/v1/prices/ACME?" + query).want("$ready")
	}
	if opens := r.bridge.opens(); opens[1].Cursor != a || opens[2].Cursor != a {
		t.Errorf("cursors %q, %q", opens[1].Cursor, opens[2].Cursor)
	}
	r.open("/v1/prices/ACME?last-event-id=%zz", "Last-Event-ID", a).want("$ready") // it is not even read
	r.open("/v1/without/ACME?last-event-id=%zz").want("$ready")
}

func TestPosition_NeverRefuses(t *testing.T) {
	r := start(t)
	long := strings.Repeat("x", 20_000)
	r.open("/v1/prices/ACME", "Last-Event-ID", long).want("$ready")
	if got := r.bridge.opens()[0].Cursor; len(got) != cursor.MaxLen+1 {
		t.Errorf("%d bytes of a huge id were kept", len(got))
	}
	for _, id := range []string{"0", "1~", "2~aaaaaa.1", "1~aaaaaa.1~", "~", "null"} {
		r.open("/v1/prices/ACME", "Last-Event-ID", id).want("$ready")
	}
}

func FuzzQuery(f *testing.F) {
	for _, s := range []string{"subject=feed.a", "subject=feed.>&subject=feed.a", "subject=%24JS.API.>", "subject=feed.%C0%AE", "subject=*.>", "since=1h",
		"last-event-id=1~aaaaaa.5", "subject=feed.a;b", "&&&=&"} {
		f.Add(s, "1~aaaaaa.5")
	}
	f.Fuzz(func(t *testing.T, raw, id string) {
		req := &http.Request{Method: "GET", URL: &url.URL{Path: "/v1/feed", RawQuery: raw}, Header: http.Header{"Last-Event-Id": {id}}}
		subjects, position, err := gateway.Specs(feed(), 8, req)
		if err != nil {
			if _, ok := gateway.Refused(err); !ok {
				t.Fatalf("%q: an error that is no refusal: %v", raw, err)
			}
			return
		}
		if len(position) > cursor.MaxLen+1 {
			t.Errorf("position of %d bytes", len(position))
		}
		if len(subjects) == 0 || len(subjects) > 8 {
			t.Fatalf("%q: %d subjects", raw, len(subjects))
		}
		for _, s := range subjects {
			if subject.Valid(s) != nil || subject.Internal(s) || !subject.Covers("feed.>", s) && !subject.Covers("news.*", s) {
				t.Errorf("%q: subject %q got through", raw, s)
			}
		}
	})
}
