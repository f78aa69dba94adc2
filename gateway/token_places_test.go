package gateway_test

import (
	"net/http"
	"strings"
	"testing"

	"headgate/auth"
)

func TestIdentity_TokensFromTheirPlaces(t *testing.T) {
	good, other := token("ann"), token("bob")
	for _, on := range []bool{false, true} {
		r := start(t, withIdentity(t, auth.Grants{}), func(s *setup) {
			if on {
				s.cfg.Auth.QueryParameter = "access_token"
			}
		})
		r.open("/v1/prices/A", "Cookie", "a=b; session="+good+"; c=d").want("$ready")
		r.open("/v1/prices/A", "Cookie", "session="+good, "Authorization", "Bearer "+good).want("$ready")
		r.get("/v1/prices/A", "Cookie", "other="+good).problem(t, http.StatusUnauthorized, "token-missing")
		r.get("/v1/prices/A", "Cookie", "session=").problem(t, http.StatusUnauthorized, "token-missing")
		for _, fields := range [][]string{
			{"Cookie", "session=" + good, "Authorization", "Bearer " + other},
			{"Authorization", "Bearer " + good, "Authorization", "Bearer " + other},
			{"Cookie", "session=" + good + "; session=" + other},
			{"Cookie", "session=" + good, "Authorization", "Bearer rubbish"},
		} {
			resp := r.get("/v1/prices/A", fields...)
			resp.problem(t, http.StatusBadRequest, "token-ambiguous")
			if got := resp.Header.Get("WWW-Authenticate"); got != `Bearer realm="headgate", error="invalid_request"` {
				t.Errorf("challenge %q", got)
			}
		}
		if !on {
			r.get("/v1/prices/A?access_token="+good).problem(t, http.StatusUnauthorized, "token-missing")
			continue
		}
		r.open("/v1/prices/A?access_token=" + good).want("$ready")
		r.get("/v1/prices/A?access_token="+good, bearer(other)...).problem(t, http.StatusBadRequest, "token-ambiguous")
		r.get("/v1/prices/A?access_token=rubbish").problem(t, http.StatusUnauthorized, "token-invalid")
	}
}

// Who shows a token that is none hears of it, also where anonymous callers are welcome.
func TestIdentity_ATokenThatCannotBeReadIsNotNone(t *testing.T) {
	route := prices()
	r := start(t, withIdentity(t, auth.Grants{}, route, notify()), func(s *setup) { s.cfg.Auth.QueryParameter = "access_token" })
	good := token("ann")
	r.open("/v1/prices/A").want("$ready")
	for _, fields := range [][]string{
		{"Authorization", "Bearer"}, {"Authorization", "bearer "}, {"Authorization", "Bearer   "}, {"Authorization", "Bearer\t" + good},
		{"Authorization", "Bearer \t" + good}, {"Authorization", "Bearer\t"}, {"Authorization", "Bearer", "Cookie", "session=" + good},
		{"Cookie", "session=a b\"c"}, {"Cookie", "a=b; session=" + good + "\\"}, {"Cookie", "session=" + good + "; session=\"x"}, {"Cookie", "session=caf\xc3\xa9"},
		{"Cookie", "\tsession =a,\x80b"}, {"Cookie", "session=" + good + strings.Repeat(";a=b", 4000)},
	} {
		resp := r.get("/v1/prices/A", fields...)
		resp.problem(t, http.StatusUnauthorized, "token-invalid")
		if got := resp.Header.Get("WWW-Authenticate"); !strings.HasPrefix(got, `Bearer realm="headgate", error="invalid_token", error_description="The token is `) {
			t.Errorf("%.60q: challenge %q", fields, got)
		}
	}
	for _, query := range []string{"access_token=%zz", "access_token=a;b", "a=b&access_token=" + good + "%", "%61ccess_token=%zz", "access%5Ftoken=%zz",
		"access_toke%6=x", "%zz", "a=b;access_token=" + good, "a;%61ccess_token;b",
		strings.Repeat("&", 10_000) + "access_token=" + good} {
		r.get("/v1/prices/A?"+query).problem(t, http.StatusBadRequest, "query-invalid")
		r.post("/v1/notify/ada?"+query, "x").problem(t, http.StatusBadRequest, "query-invalid")
	}
	for _, query := range []string{"a=%zz", "a=b;c", "Access_token=%zz", "access_token=&x=%"} {
		r.open("/v1/prices/A?" + query).want("$ready")
	}
	for _, fields := range [][]string{{"Authorization", "Basic dTpw"}, {"Authorization", "Bearers x"}, {"Cookie", "session="}, {"Cookie", "other=a b\"c; xsession=\\"},
		{"Cookie", "session"}} {
		r.open("/v1/prices/A", fields...).want("$ready")
	}
}
