package config

import (
	"fmt"
	"maps"
	"net/netip"
	"net/url"
	"regexp"
	"slices"
	"strings"

	"headgate/internal/keyform"
	"headgate/internal/subject"
)

// The algorithms of signatures with keys and with secrets (RFC 7518, section 3.1; RFC 8037, section 3.1).
var (
	keyAlgorithms    = []string{"RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA"}
	secretAlgorithms = []string{"HS256", "HS384", "HS512"}
)

// issuerVariables are the variables of one issuer, by the names that the file has for them.
var issuerVariables = map[string]string{"issuer": "AUTH_ISSUER", "audience": "AUTH_AUDIENCE", "jwks_url": "AUTH_JWKS_URL", "key_file": "AUTH_KEY_FILE",
	"secret_file": "AUTH_SECRET_FILE", "algorithms": "AUTH_ALGORITHMS", "typ": "AUTH_TYPE"}

// settleIssuers takes the issuer of the environment where the file has none.
func settleIssuers(c *Config, read reader, r *report) {
	a := &c.Auth
	one := a.variables()
	variable := firstIssuerVariable(one)
	switch {
	case a.Mode == "none" && variable != "":
		r.fail(Problem{Variable: variable, Message: "given, but with AUTH_MODE=none nobody is asked who he is", Hint: "say AUTH_MODE=jwt, or drop it"})
	case a.Mode != "jwt":
	case variable != "" && len(a.Issuers) > 0:
		r.fail(Problem{Variable: variable, Message: "given together with auth.issuers in the routes file", Hint: "put this issuer into the file too"})
	case variable != "":
		a.Issuers = []Issuer{one}
		checkIssuer(one, read, func(field string, p Problem) {
			p.Variable = issuerVariables[field]
			if p.Example != "" {
				p.Example = p.Variable + "=" + p.Example
			}
			r.fail(p)
		})
	case len(a.Issuers) == 0 && len(r.problems) == 0:
		r.fail(Problem{Variable: "AUTH_ISSUER", Message: "missing: with AUTH_MODE=jwt somebody must issue the tokens",
			Expected: "AUTH_ISSUER, AUTH_AUDIENCE and one of AUTH_JWKS_URL, AUTH_KEY_FILE and AUTH_SECRET_FILE; or auth.issuers in the routes file",
			Example:  "AUTH_ISSUER=https://issuer.example AUTH_AUDIENCE=headgate AUTH_JWKS_URL=https://issuer.example/.well-known/jwks.json"})
	}
}

// variables are the issuer that the environment names.
func (a *Auth) variables() Issuer {
	return Issuer{a.Issuer, a.Audience, a.JWKSURL, a.KeyFile, a.SecretFile, a.Algorithms, a.Type}
}

func firstIssuerVariable(i Issuer) string {
	switch {
	case i.Issuer != "":
		return "AUTH_ISSUER"
	case len(i.Audience) > 0:
		return "AUTH_AUDIENCE"
	case i.JWKSURL != "":
		return "AUTH_JWKS_URL"
	case i.KeyFile != "":
		return "AUTH_KEY_FILE"
	case i.SecretFile != "":
		return "AUTH_SECRET_FILE"
	case len(i.Algorithms) > 0:
		return "AUTH_ALGORITHMS"
	case i.Type != "":
		return "AUTH_TYPE"
	}
	return ""
}

// checkIssuers checks the issuers of the file.
func (b *builder) checkIssuers(y *identityYAML) {
	for n := range y.Issuers {
		x := &y.Issuers[n]
		if x.bad || !x.v.Issuer.said() || x.v.Audience == nil {
			continue // reported
		}
		at := map[string]pos{"issuer": x.v.Issuer.at, "jwks_url": x.v.JWKSURL.at, "key_file": x.v.KeyFile.at, "secret_file": x.v.SecretFile.at, "typ": x.v.Type.at}
		for name, list := range map[string][]val[string]{"audience": x.v.Audience, "algorithms": x.v.Algorithms} {
			if len(list) > 0 {
				at[name] = list[0].at
			}
		}
		checkIssuer(b.c.Auth.Issuers[n], b.read, func(field string, p Problem) {
			place := at[field]
			if place.line == 0 {
				place = x.at
			}
			p.Message, p.Variable, p.Value = "issuers: "+field+": "+p.Message, "", ""
			if field == "secret_file" && !pathLike.MatchString(x.v.SecretFile.v) { // it may be the secret: the line is not shown
				p.File, p.Line, p.Column = b.d.file, place.line, place.column
				b.d.r.fail(p)
				return
			}
			b.d.fail(place, p)
		})
		for _, o := range b.c.Auth.Issuers[:n] {
			if o.Issuer == x.v.Issuer.v {
				b.d.fail(x.v.Issuer.at, Problem{Message: "issuers: two are called " + quoteShort(o.Issuer), Hint: "a key set holds several keys; an issuer has one key set"})
			}
		}
	}
}

// checkIssuer checks one issuer. fail gets the file's name of the field at fault.
func checkIssuer(i Issuer, read reader, fail func(field string, p Problem)) {
	if i.Issuer == "" {
		fail("issuer", Problem{Message: "missing: it is compared with the iss claim", Example: "https://issuer.example"})
	}
	if i.Issuer == DevIssuer {
		fail("issuer", Problem{Message: "this is the issuer of the tokens that headgate token makes for -dev", Expected: "a name of your own",
			Example: "https://issuer.example", Hint: "with -dev and AUTH_MODE=jwt those tokens are accepted where no issuer is named"})
	}
	if len(i.Audience) == 0 || slices.Contains(i.Audience, "") {
		fail("audience", Problem{Message: "missing: without it, tokens that were issued for other services would be accepted", Example: "headgate"})
	}
	given := map[string]string{"jwks_url": i.JWKSURL, "key_file": i.KeyFile, "secret_file": i.SecretFile}
	maps.DeleteFunc(given, func(_, value string) bool { return value == "" })
	names := slices.Sorted(maps.Keys(given))
	switch {
	case len(given) == 0:
		fail("jwks_url", Problem{Message: "missing: there are no keys to check tokens with", Expected: "a JWKS URL, a key file or a secret file",
			Example: "https://issuer.example/.well-known/jwks.json"})
	case len(given) > 1:
		fail(names[1], Problem{Message: "given together with " + names[0], Expected: "one place for keys"})
	}
	if i.JWKSURL != "" {
		if message := jwksProblem(i.JWKSURL); message != "" {
			fail("jwks_url", Problem{Message: message, Expected: "an https URL without user", Example: "https://issuer.example/.well-known/jwks.json",
				Hint: "whoever can change the keys on their way can be everybody; keys may also come from a file"})
		}
	}
	for _, name := range names {
		if name == "jwks_url" {
			continue
		}
		text, err := readSecret(given[name], read)
		switch {
		case err != nil:
			fail(name, unreadable(issuerVariables[name], given[name], err))
		case name == "secret_file" && keyform.IsKey([]byte(text)):
			fail(name, Problem{Message: "holds a key, not a secret", Expected: "the bare secret of an HS algorithm",
				Hint: "a file with public keys is a key file; taken as a secret, whoever knows the key could sign"})
		}
	}
	known := pick(i.SecretFile != "", secretAlgorithms, keyAlgorithms)
	for _, alg := range i.Algorithms {
		if !slices.Contains(known, alg) {
			hint := nearestHint(alg, known)
			if slices.Contains(secretAlgorithms, alg) {
				hint = "HS algorithms need a secret file: whoever knows a public key could sign with it"
			}
			fail("algorithms", Problem{Message: quoteShort(alg) + " is not possible here", Expected: orList(known), Hint: hint})
		}
	}
}

// jwksProblem says what is wrong with the place of a key set. The URL is not repeated: it may hold a secret.
func jwksProblem(text string) string {
	u, err := url.Parse(text)
	if err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http" {
		return "not a URL that can be fetched"
	}
	if u.User != nil {
		return "holds a user"
	}
	address, err := netip.ParseAddr(u.Hostname())
	if u.Scheme == "http" && u.Hostname() != "localhost" && (err != nil || !address.IsLoopback()) {
		return "http is only possible on this machine"
	}
	return ""
}

// parameters that mean something else already.
var takenParameters = []string{"subject", "since", "last-event-id"}

var parameterName = regexp.MustCompile(`^[A-Za-z0-9_.-]{1,64}$`)

// checkTokenSources checks the names of the cookie and of the query parameter.
func checkTokenSources(c *Config, r *report) {
	if n := c.Auth.Cookie; n != "" && !headerName.MatchString(n) {
		r.fail(Problem{Variable: "AUTH_COOKIE", Value: n, Message: "not the name of a cookie", Expected: "a token of RFC 9110, section 5.6.2",
			Example: "AUTH_COOKIE=__Host-session"})
	}
	if n := c.Auth.QueryParameter; n != "" && (!parameterName.MatchString(n) || slices.Contains(takenParameters, strings.ToLower(n))) {
		r.fail(Problem{Variable: "AUTH_QUERY_PARAMETER", Value: n, Message: "cannot be the name of that parameter",
			Expected: "letters, digits, _, . and -; not " + orList(takenParameters), Example: "AUTH_QUERY_PARAMETER=access_token"})
	}
}

// ruleText is text with at most one placeholder of the path. With two, different values could make the same text.
var ruleText = regexp.MustCompile(`^[^{}]*(?:\{([A-Za-z_][A-Za-z0-9_]*)\}[^{}]*)?$`)

// checkRequire checks what a route requires of claims.
func (b *builder) checkRequire(route *Route, y *routeYAML, segments []segment, used map[string]bool) {
	for _, claim := range slices.Sorted(maps.Keys(y.Auth.Require)) {
		rule := y.Auth.Require[claim]
		if b.checkRule(claim, rule) && !route.AuthRequired && !b.nobodyKnown() {
			b.d.fail(rule.at, Problem{Message: "auth.require: with auth.required: false callers may have no claims", Hint: "drop required: false"})
		}
		for _, text := range ruleTexts(rule.v) {
			m := ruleText.FindStringSubmatch(text.v)
			if m == nil || m[1] == "" {
				continue
			}
			used[m[1]] = true
			if segments != nil && !hasParam(segments, m[1]) {
				b.d.fail(text.at, Problem{Message: fmt.Sprintf("auth.require: {%s} is not a placeholder of the path %s", m[1], route.Path),
					Hint: nearestHint(m[1], paramNames(segments))})
			}
		}
	}
}

// checkDefaultRequire checks what defaults require of claims. There is no path there.
func (b *builder) checkDefaultRequire() {
	for _, claim := range slices.Sorted(maps.Keys(b.defaults.Auth.Require)) {
		rule := b.defaults.Auth.Require[claim]
		b.checkRule(claim, rule)
		for _, text := range ruleTexts(rule.v) {
			if m := ruleText.FindStringSubmatch(text.v); m != nil && m[1] != "" {
				b.d.fail(text.at, Problem{Message: "auth.require: a placeholder of the path can only stand in a route"})
			}
		}
	}
}

// checkRule checks what can be said about a rule without its route.
func (b *builder) checkRule(claim string, rule val[requireYAML]) bool {
	if rule.bad {
		return false
	}
	fail := func(at pos, p Problem) bool {
		p.Message = "auth.require: " + p.Message
		b.d.fail(at, p)
		return false
	}
	kinds := 0
	for _, said := range []bool{rule.v.Equals.said(), rule.v.Contains.said(), rule.v.In != nil} {
		if said {
			kinds++
		}
	}
	texts := ruleTexts(rule.v)
	switch {
	case b.nobodyKnown():
		return fail(rule.at, Problem{Message: "with AUTH_MODE=none nobody has claims", Hint: "say AUTH_MODE=jwt"})
	case claim == "" || len(claim) > 256:
		return fail(rule.at, Problem{Message: "the name of a claim has 1 to 256 bytes"})
	case kinds != 1 || len(texts) == 0:
		return fail(rule.at, Problem{Message: "of the claim " + quoteShort(claim) + " one thing can be required", Expected: "a value, {contains: …} or {in: […]}",
			Example: `{scope: {contains: "orders:read"}}`})
	}
	ok := true
	for _, text := range texts {
		switch {
		case !text.said():
		case text.v == "":
			ok = fail(text.at, Problem{Message: "an empty value is never met"})
		case !ruleText.MatchString(text.v):
			ok = fail(text.at, Problem{Message: quoteShort(text.v) + " is not understood", Expected: "text with at most one {placeholder} of the path"})
		}
	}
	if c := rule.v.Contains; c.said() && strings.Contains(c.v, " ") {
		ok = fail(c.at, Problem{Message: "contains takes one word", Hint: "a claim can be required to contain one thing; put what belongs together into one scope"})
	}
	return ok
}

func ruleTexts(y requireYAML) []val[string] {
	var list []val[string]
	for _, t := range []val[string]{y.Equals, y.Contains} {
		if t.said() {
			list = append(list, t)
		}
	}
	return append(list, y.In...)
}

// grantProblem says what is wrong with a subject in permissions; "" is nothing. Those of buckets may stand there.
func grantProblem(s string) string {
	if err := subject.Valid(s); err != nil {
		return err.Error()
	}
	return ""
}
