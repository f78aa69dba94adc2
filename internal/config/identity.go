package config

import (
	"maps"
	"slices"
	"strconv"
	"strings"
)

// Issuer is someone whose tokens are accepted. Its keys come from one of JWKSURL, KeyFile and SecretFile.
type Issuer struct {
	Issuer     string // the iss claim
	Audience   []string
	JWKSURL    string
	KeyFile    string
	SecretFile string
	Algorithms []string
	Type       string
}

// Grants are the subjects that callers may use.
type Grants struct {
	Sub, Pub Side
}

// Side is one direction. Allow is nil where the file has no list, and empty where it has an empty one.
type Side struct {
	Allow, Deny []string
}

// Require is what a route requires of a claim: one of the three.
type Require struct {
	Claim    string
	Equals   string
	Contains string
	In       []string
}

// identity takes the auth block at the top of the file.
func (b *builder) identity(f *routesFile) {
	if !f.Auth.said() {
		return
	}
	if b.c.Auth.Mode == "" {
		return // reported, and what it will be is not known
	}
	if b.nobodyKnown() {
		b.d.fail(f.Auth.at, Problem{Message: "auth, but with AUTH_MODE=none nobody is asked who he is", Hint: "say AUTH_MODE=jwt, or drop the block"})
		return
	}
	a := &b.c.Auth
	y := &f.Auth.v
	a.PermissionsClaim = y.PermissionsClaim.or(a.PermissionsClaim)
	a.Anonymous = Grants{Sub: b.side(&y.Anonymous.Sub, "sub"), Pub: b.side(&y.Anonymous.Pub, "pub")}
	for i := range y.Issuers {
		x := &y.Issuers[i].v
		a.Issuers = append(a.Issuers, Issuer{Issuer: x.Issuer.v, Audience: values(x.Audience), JWKSURL: x.JWKSURL.v, KeyFile: x.KeyFile.v,
			SecretFile: x.SecretFile.v, Algorithms: values(x.Algorithms), Type: x.Type.v})
	}
	b.checkIssuers(y)
}

// side takes a list of allowed and one of denied subjects. An empty list of allowed ones is not the same as none.
func (b *builder) side(y *sideYAML, name string) Side {
	for _, list := range [][]val[string]{y.Allow, y.Deny} {
		for _, s := range list {
			if message := grantProblem(s.v); s.said() && message != "" {
				b.d.fail(s.at, Problem{Message: "anonymous." + name + ": " + message})
			}
		}
	}
	s := Side{Allow: values(y.Allow), Deny: values(y.Deny)}
	if y.Allow != nil && s.Allow == nil {
		s.Allow = []string{}
	}
	return s
}

// require gives the route what is required of claims: what defaults say, then what the route says of the same claims and of others.
// Where no identity is required, there are none to hold it against.
func (b *builder) require(route *Route, y *routeYAML) {
	all := map[string]val[requireYAML]{}
	maps.Copy(all, b.defaults.Auth.Require)
	maps.Copy(all, y.Auth.Require)
	if !route.AuthRequired {
		return
	}
	for _, claim := range slices.Sorted(maps.Keys(all)) {
		v := all[claim].v
		route.AuthRequire = append(route.AuthRequire, Require{Claim: claim, Equals: v.Equals.v, Contains: v.Contains.v, In: values(v.In)})
	}
}

// identityText is the auth block; nothing where the environment says it all.
func identityText(a *Auth) string {
	var issuers []string
	for _, i := range a.Issuers {
		if a.Issuer != "" {
			break // it came from the environment
		}
		issuers = append(issuers, flow("issuer", yamlText(i.Issuer), "audience", yamlList(i.Audience), "jwks_url", optional(maskQuery(i.JWKSURL)), "key_file",
			optional(i.KeyFile), "secret_file", optional(i.SecretFile), "algorithms", optionalList(i.Algorithms), "typ", optional(i.Type)))
	}
	text := ""
	if len(issuers) > 0 {
		text = "[" + strings.Join(issuers, ", ") + "]"
	}
	anonymous := flow("sub", sideText(a.Anonymous.Sub), "pub", sideText(a.Anonymous.Pub))
	if text == "" && anonymous == "{}" {
		return ""
	}
	if anonymous == "{}" {
		anonymous = ""
	}
	return "auth: " + flow("issuers", text, "permissions_claim", yamlText(a.PermissionsClaim), "anonymous", anonymous) + "\n"
}

func sideText(s Side) string {
	allow := ""
	if s.Allow != nil {
		allow = yamlList(s.Allow)
	}
	if text := flow("allow", allow, "deny", optionalList(s.Deny)); text != "{}" {
		return text
	}
	return ""
}

// routeAuthText is a route's own auth.
func routeAuthText(r *Route, byDefault bool) string {
	required, rules := "", ""
	if r.AuthRequiredSaid || r.AuthRequired != byDefault {
		required = strconv.FormatBool(r.AuthRequired)
	}
	if len(r.AuthRequire) > 0 {
		var pairs []string
		for _, x := range r.AuthRequire {
			pairs = append(pairs, yamlText(x.Claim), flow("equals", optional(x.Equals), "contains", optional(x.Contains), "in", optionalList(x.In)))
		}
		rules = flow(pairs...)
	}
	return flow("required", required, "require", rules)
}
