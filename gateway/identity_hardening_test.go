package gateway_test

import (
	"encoding/base64"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"headgate/auth"
	"headgate/gateway"
	"headgate/internal/config"
)

// The rule of cookies: a browser adds them to whatever any page asks for.
func TestHardening_CookiesOfVisitorsAreNotForOtherSites(t *testing.T) {
	with, without := prices(), prices()
	with.CORS = config.CORS{AllowedOrigins: []string{"https://app.example"}, AllowCredentials: true}
	without.Name, without.Path = "without", "/v1/without/{symbol}"
	without.CORS = config.CORS{AllowedOrigins: []string{"https://app.example"}}
	entrance := notify()
	entrance.CORS = without.CORS
	open := notify()
	open.Name, open.Path, open.CORS = "open", "/v1/open/{user}", with.CORS
	for _, route := range []*config.Route{&with, &without, &entrance, &open} {
		route.AuthRequired = true
	}
	r := start(t, withIdentity(t, auth.Grants{}, with, without, entrance, open))
	good := token("ann", may("pub", "users.>"))
	for _, c := range []struct {
		name, origin, site               string
		stream, plain, publish, publicly bool // on the routes with, without, entrance, open
	}{
		{"no browser", "", "", true, true, true, true},
		{"own page", "", "same-origin", true, true, true, true},
		{"own page, by origin", "http://" + r.addr, "same-origin", true, true, true, true},
		{"own page, old browser", "http://" + r.addr, "", true, true, true, true},
		{"own host, other scheme", "https://" + r.addr, "cross-site", false, false, false, false},
		{"address bar", "", "none", true, true, true, true},
		{"image of another site", "", "cross-site", false, false, false, false},
		{"another subdomain", "", "same-site", false, false, false, false},
		{"evil page", "https://evil.example", "cross-site", false, false, false, false},
		{"evil page, old browser", "https://evil.example", "", false, false, false, false},
		{"evil page that claims to be ours", "https://evil.example", "same-origin", false, false, true, true}, // no browser lies so
		{"sandboxed page", "null", "cross-site", false, false, false, false},
		{"our name as a part", "http://" + r.addr + ".evil.example", "cross-site", false, false, false, false},
		{"our name behind another", "http://evil.example@" + r.addr, "cross-site", false, false, false, false},
		{"our name as user", "http://" + r.addr + "@evil.example", "cross-site", false, false, false, false},
		{"allowed page", "https://app.example", "cross-site", true, false, false, true},
		{"allowed name, other scheme", "http://app.example", "cross-site", false, false, false, false},
	} {
		if c.site == "same-origin" && c.origin == "https://evil.example" {
			c.publish, c.publicly = false, false
		}
		fields := []string{"Cookie", "session=" + good}
		if c.origin != "" {
			fields = append(fields, "Origin", c.origin)
		}
		if c.site != "" {
			fields = append(fields, "Sec-Fetch-Site", c.site)
		}
		for path, ok := range map[string]bool{"/v1/prices/A": c.stream, "/v1/without/A": c.plain} {
			resp := r.do(r.request(http.MethodHead, path, fields...))
			if want := map[bool]int{true: 200, false: 403}[ok]; resp.StatusCode != want {
				t.Errorf("%s: HEAD %s: %d, want %d", c.name, path, resp.StatusCode, want)
			}
		}
		for path, ok := range map[string]bool{"/v1/notify/ada": c.publish, "/v1/open/ada": c.publicly} {
			resp := r.post(path, "x", fields...)
			if want := map[bool]int{true: 202, false: 403}[ok]; resp.StatusCode != want {
				t.Errorf("%s: POST %s: %d %s, want %d", c.name, path, resp.StatusCode, resp.body, want)
			}
		}
		if c.stream {
			r.open("/v1/prices/A", fields...).want("$ready")
		}
		// A token in a field is no cookie: a page must know it to send it.
		explicit := append([]string{"Authorization", "Bearer " + good}, fields[2:]...)
		if resp := r.do(r.request(http.MethodHead, "/v1/prices/A", explicit...)); resp.StatusCode != 200 {
			t.Errorf("%s: with a token of its own: %d", c.name, resp.StatusCode)
		}
	}
	r.get("/v1/prices/A", "Cookie", "session="+good, "Origin", "https://evil.example").problem(t, http.StatusForbidden, "cookie-cross-origin")
	// Several origins are none that a browser sends.
	resp := r.do(r.request(http.MethodHead, "/v1/prices/A", "Cookie", "session="+good, "Origin", "http://"+r.addr, "Origin", "https://evil.example"))
	if resp.StatusCode != http.StatusForbidden {
		t.Errorf("two origins: %d", resp.StatusCode)
	}
}

func TestHardening_ForgedAndHugeTokens(t *testing.T) {
	r := start(t, withIdentity(t, auth.Grants{}))
	e := base64.RawURLEncoding.EncodeToString
	payload := e([]byte(`{"iss":"i","aud":"headgate","sub":"ann","exp":4102444800}`))
	whole := token("ann")
	for name, forged := range map[string]string{
		"none":           e([]byte(`{"alg":"none"}`)) + "." + payload + ".",
		"HS256":          e([]byte(`{"alg":"HS256"}`)) + "." + payload + "." + e([]byte("signature")),
		"other payload":  strings.Split(whole, ".")[0] + "." + payload + "." + strings.Split(whole, ".")[2],
		"no signature":   whole[:strings.LastIndex(whole, ".")+1],
		"cut":            whole[:len(whole)-2],
		"huge":           whole + strings.Repeat("A", auth.MaxToken),
		"dots":           strings.Repeat(".", 1000),
		"other text":     "null",
		"injection":      `x", error="none`,
		"another issuer": e([]byte(`{"alg":"ES256"}`)) + "." + e([]byte(`{"iss":"evil"}`)) + ".AAAA",
	} {
		resp := r.get("/v1/prices/A", bearer(forged)...)
		resp.problem(t, http.StatusUnauthorized, "token-invalid")
		if got := resp.Header.Get("WWW-Authenticate"); strings.Count(got, `"`) != 6 || strings.Count(got, "error=") != 1 {
			t.Errorf("%s: challenge %q", name, got)
		}
	}
	if n := len(r.bridge.opens()); n != 0 {
		t.Errorf("%d sources were opened", n)
	}
}

func TestHardening_TokensAreInNoAnswerAndNoLog(t *testing.T) {
	r := start(t, withIdentity(t, auth.Grants{}), func(s *setup) { s.cfg.Auth.QueryParameter = "access_token" })
	good := token("somebody-secret")
	bad := good[:len(good)-8] + "AAAAAAAA"
	signature := func(s string) string { return s[strings.LastIndex(s, ".")+1:][:20] }
	rd := r.open("/v1/prices/A?access_token=" + good)
	rd.want("$ready")
	rd.stop()
	bodies := ""
	for _, resp := range []response{
		r.get("/v1/prices/A?access_token=" + bad), r.get("/v1/prices/A", bearer(bad)...), r.get("/v1/prices/A", "Cookie", "session="+bad),
		r.get("/v1/prices/A?access_token="+good, bearer(bad)...), r.get("/v1/feed?subject=feed.a&access_token=" + good), r.get("/nowhere?access_token=" + good),
		r.post("/v1/notify/ada?access_token="+good, "x"), r.get("/v1/feed?%zz&access_token=" + good),
	} {
		bodies += resp.body
		for _, values := range resp.Header {
			bodies += strings.Join(values, "\n")
		}
	}
	eventually(t, "the line of the ended stream", func() bool { return strings.Contains(r.logs.String(), "client-gone") })
	for _, text := range []string{bodies, r.logs.String()} {
		for _, secret := range []string{signature(good), signature(bad), "somebody-secret", good[:40]} {
			if strings.Contains(text, secret) {
				t.Errorf("%q is in %s", secret, text)
			}
		}
	}
}

// Whatever is in the request, the token that is judged is one that was shown, and a cookie counts for no origin but our own.
func FuzzTokenPlaces(f *testing.F) {
	f.Add("Bearer a.b.c", "session=a.b.c", "access_token=a.b.c", "https://h")
	f.Add("", "", "%61ccess_token=%zz&a;access_token=x", "")
	f.Add("bearer  x", "session=; session=y", "access_token=%zz&access_token=x", "null")
	f.Fuzz(func(t *testing.T, authorization, cookie, query, origin string) {
		r := &http.Request{Method: http.MethodGet, Host: "h", URL: &url.URL{Path: "/", RawQuery: query},
			Header: http.Header{"Authorization": {authorization}, "Cookie": {cookie}, "Origin": {origin}}}
		token, cookieOnly, counts, err := gateway.Shown(prices(), r)
		if err != nil {
			if slug, ok := gateway.Refused(err); !ok || slug != "token-ambiguous" && slug != "token-invalid" && slug != "query-invalid" {
				t.Fatal(err)
			}
			return
		}
		for _, part := range strings.FieldsFunc(query, func(r rune) bool { return r == '&' || r == ';' }) {
			name, value, _ := strings.Cut(part, "=")
			if read, err := url.QueryUnescape(name); err != nil || read != "access_token" || value == "" {
				continue
			}
			if value, err := url.QueryUnescape(value); err != nil || value != token {
				t.Errorf("%q is taken for %q: %q is overlooked", query, token, part)
			}
		}
		if cookieOnly && (token == "" || !strings.Contains(cookie, token)) {
			t.Errorf("%q is not in the cookie %q", token, cookie)
		}
		if counts && !strings.EqualFold(origin, "http://h") && !strings.EqualFold(origin, "https://h") {
			t.Errorf("the origin %q counts", origin)
		}
	})
}
