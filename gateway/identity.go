package gateway

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"strings"

	"headgate/auth"
	"headgate/internal/config"
)

// Identities say who is asking. Identify fails with an *auth.TokenError, auth.ErrUnavailable or auth.ErrKicked, and so does Check, which says
// whether an identity still holds.
type Identities interface {
	Identify(ctx context.Context, token string) (*auth.Identity, error)
	Check(id *auth.Identity) error
	Anonymous() *auth.Identity
}

// shown is the token of a request. It is never part of a refusal or a log line.
type shown struct {
	token      string
	cookieOnly bool // no more than a browser adds by itself, whoever made the request
}

// identify finds out who is asking. Without identities it is nobody, nil, and the route alone decides. A token that is shown is judged,
// also where none is needed: whoever shows a bad one should hear of it.
func (s *Server) identify(c *call) (*auth.Identity, error) {
	if c.route.identities == nil {
		return nil, nil
	}
	id, err := s.caller(c)
	if err != nil {
		return nil, err
	}
	if err := id.Meets(c.route.require, c.pathValue); err != nil {
		return nil, forbidden(id, claimsForbidden, "", err)
	}
	return id, nil
}

func (s *Server) caller(c *call) (*auth.Identity, error) {
	seen, err := s.shownToken(c.r)
	switch {
	case err != nil:
		return nil, err
	case seen.token == "" && c.route.required:
		return nil, &refusal{kind: tokenMissing}
	case seen.token == "":
		return c.route.identities.Anonymous(), nil
	case seen.cookieOnly && !c.cookieCounts():
		return nil, &refusal{kind: cookieCrossOrigin}
	}
	id, err := c.route.identities.Identify(c.r.Context(), seen.token)
	if err != nil {
		return nil, notIdentified(c, err)
	}
	return id, nil
}

// stillGood looks at the identity again, after something that may have taken long. What is asked is whoever knows now: a request whose caller
// was identified by what has been reloaded since begins again.
func (s *Server) stillGood(c *call, id *auth.Identity) error {
	if id == nil {
		return nil
	}
	err := s.current.Load().identities.Check(id)
	switch {
	case err == nil:
		return nil
	case errors.Is(err, auth.ErrOutdated):
		return errStale
	}
	return notIdentified(c, err)
}

// shownToken looks at every place where a token may be. Two different ones are refused: whichever was taken, somebody would be surprised.
// So is one that is there but cannot be read: it is not the same as none.
func (s *Server) shownToken(r *http.Request) (shown, error) {
	var explicit []string
	for _, field := range r.Header.Values("Authorization") {
		token, ok, err := bearerOf(field)
		if err != nil {
			return shown{}, err
		}
		if ok {
			explicit = append(explicit, token)
		}
	}
	if name := s.cfg.Auth.QueryParameter; name != "" && r.URL.RawQuery != "" {
		q := queryOf(r)
		if err := q.whole(name); err != nil {
			return shown{}, err
		}
		explicit = append(explicit, q.values[name]...)
	}
	cookies, err := s.cookieTokens(r)
	if err != nil {
		return shown{}, err
	}
	var seen shown
	for _, token := range slices.Concat(explicit, cookies) {
		switch {
		case token == "" || token == seen.token: // an empty cookie is what some servers leave of a session
		case seen.token != "":
			return shown{}, &refusal{kind: tokenAmbiguous}
		default:
			seen.token = token
		}
	}
	seen.cookieOnly = seen.token != "" && !slices.Contains(explicit, seen.token)
	return seen, nil
}

// cookieTokens are the values of the cookie that may hold a token. net/http leaves out those with bytes that no cookie has, and all of
// them where there are too many: what was there all the same is an error.
func (s *Server) cookieTokens(r *http.Request) ([]string, error) {
	name := s.cfg.Auth.Cookie
	if name == "" {
		return nil, nil
	}
	var values []string
	for _, cookie := range r.CookiesNamed(name) {
		values = append(values, cookie.Value)
	}
	there := 0
	for _, field := range r.Header.Values("Cookie") {
		for pair := range strings.SplitSeq(field, ";") { // RFC 6265, section 4.2.1
			if n, _, _ := strings.Cut(pair, "="); strings.Trim(n, " \t") == name {
				there++
			}
		}
	}
	if there > len(values) {
		return nil, errUnreadable()
	}
	return values, nil
}

// bearerOf is the token of an Authorization field with the scheme Bearer (RFC 6750, section 2.1): without regard to case (RFC 9110,
// section 11.1), with spaces behind it and a token behind those. Other schemes are not for us.
func bearerOf(field string) (token string, ok bool, err error) {
	scheme, rest := field, ""
	if i := strings.IndexAny(field, " \t"); i >= 0 {
		scheme, rest = field[:i], field[i:]
	}
	if !strings.EqualFold(scheme, "Bearer") {
		return "", false, nil
	}
	token = strings.Trim(rest, " ")
	if token == "" || token[0] == '\t' {
		return "", false, errUnreadable()
	}
	return token, true, nil
}

// errUnreadable is the refusal of a token that is shown in a form that is none.
func errUnreadable() *refusal {
	return &refusal{kind: tokenInvalid, detail: "The token is empty, or not written as one can be.", cause: errors.New("malformed")}
}

// cookieCounts says whether a cookie may stand for the caller: the page that asks must be of our own host, or of an origin that the route
// lets send cookies. A request without Origin is one by a page of this origin, by a person, or by no browser at all, unless
// Sec-Fetch-Site says otherwise (RFC 6454, section 7; Fetch Metadata, section 2.1).
func (c *call) cookieCounts() bool {
	if origins := c.r.Header.Values("Origin"); len(origins) > 0 {
		if severalOrigins(c.r) {
			return false
		}
		scheme, host, _ := strings.Cut(origins[0], "://")
		own := (scheme == "http" || scheme == "https") && host != "" && strings.EqualFold(host, c.r.Host)
		return own && c.fromHere() || c.route.credentials && c.originAllowed()
	}
	return c.fromHere()
}

// fromHere says whether the browser, if it is one that says so, tells that the page is of our own origin, or that there is none. A page of the
// same host over plain http is not: whoever is on the network can have written it.
func (c *call) fromHere() bool {
	switch c.r.Header.Get("Sec-Fetch-Site") {
	case "", "same-origin", "none":
		return true
	}
	return false
}

// pathValue is the value of a path parameter.
func (c *call) pathValue(name string) (string, bool) { return c.r.PathValue(name), true }

// notIdentified turns what is wrong with a token into a refusal.
func notIdentified(c *call, err error) error {
	var bad *auth.TokenError
	switch {
	case errors.As(err, &bad):
		return &refusal{kind: tokenInvalid, detail: bad.Reason, cause: errors.New(bad.Word)}
	case c.r.Context().Err() != nil:
		c.outcome, c.answered = "client-gone", true
		return errGone
	case errors.Is(err, auth.ErrKicked):
		return &refusal{kind: kicked, cause: err}
	case errors.Is(err, auth.ErrUnavailable), errors.Is(err, auth.ErrOutdated):
		return &refusal{kind: keysAway, cause: err}
	}
	return &refusal{kind: internal, cause: err}
}

// errGone says that nobody waits for an answer any more.
var errGone = errors.New("the client has gone")

// forbidden is the refusal of a subject that the identity may not use. A caller without a token could get one, so it is told to.
func forbidden(id *auth.Identity, k kind, detail string, cause error) *refusal {
	if id.Anonymous() {
		return &refusal{kind: tokenMissing, cause: cause}
	}
	return &refusal{kind: k, detail: detail, cause: cause}
}

// challenges are the errors of RFC 6750, section 3.1, by refusal. A request without a token gets none.
var challenges = map[kind]string{tokenMissing: "", tokenInvalid: "invalid_token", tokenAmbiguous: "invalid_request",
	claimsForbidden: "insufficient_scope", notReadable: "insufficient_scope", notPublishable: "insufficient_scope"}

// challenge is the WWW-Authenticate field of a refusal (RFC 6750, section 3), or empty. The detail is one of auth's sentences, which hold
// nothing of the caller.
func (r *refusal) challenge() string {
	code, ok := challenges[r.kind]
	switch {
	case !ok:
		return ""
	case code == "":
		return `Bearer realm="headgate"`
	case r.kind == tokenInvalid:
		return `Bearer realm="headgate", error="` + code + `", error_description="` + r.detail + `"`
	}
	return `Bearer realm="headgate", error="` + code + `"`
}

// compileAuth takes what the route says about callers.
func (rt *route) compileAuth(cr config.Route, cfg config.Config) {
	rt.identified = cfg.Auth.Mode == "jwt" // and then identities are there
	rt.required, rt.credentials = cr.AuthRequired, cr.CORS.AllowCredentials
	for _, r := range cr.AuthRequire {
		rt.require = append(rt.require, auth.Rule{Claim: r.Claim, Equals: r.Equals, Contains: r.Contains, In: r.In})
	}
}
