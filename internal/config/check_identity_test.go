package config

import (
	"errors"
	"os"
	"reflect"
	"strings"
	"testing"
	"time"
)

// firstIssuerVariables are refused without AUTH_MODE=jwt.
var firstIssuerVariables = map[string]bool{"AUTH_ISSUER": true, "AUTH_AUDIENCE": true, "AUTH_JWKS_URL": true, "AUTH_ALGORITHMS": true, "AUTH_TYPE": true}

// identities is a routes file with one route, and what stands before it.
func identities(block string, parts ...string) string {
	return strings.Replace(one(parts...), "version: 1\n", "version: 1\n"+block+"\n", 1)
}

const issuer = `auth: {issuers: [{issuer: a, audience: [h], jwks_url: "https://a.example/k"}]}`

// loadJWT is load with AUTH_MODE=jwt, and some files of keys.
func loadJWT(t *testing.T, routes string, env ...string) (Config, Errors) {
	t.Helper()
	env = append([]string{"AUTH_MODE=jwt", "ROUTES_FILE=/routes.yaml"}, env...)
	c, _, err := Load(Options{Environ: env, ReadFile: files(map[string]string{"/routes.yaml": routes, "/k.pem": "key", "/s.txt": "secret", "/empty": "\n",
		"/public.pem": "-----BEGIN PUBLIC KEY-----\nMCowBQYDK2VwAyEA\n-----END PUBLIC KEY-----\n", "/jwk.json": `{"kty":"oct","k":"c2VjcmV0"}`, "/jwks.json": ` {"keys":[]}`})})
	var list Errors
	if err != nil && !errors.As(err, &list) {
		t.Fatalf("the error is a %T, not Errors", err)
	}
	return c, list
}

func TestIdentity_EachMistakeHasItsMessageAndPlace(t *testing.T) {
	route := []string{"path: /a/{x}", `source: {type: core, subject: "a.{x}"}`}
	with := func(more ...string) []string { return append(append([]string{}, route...), more...) }
	one := func(fields string) string { return "auth: {issuers: [{" + fields + "}]}" }
	for _, test := range []struct {
		name, block string
		route       []string
		message, at string
	}{
		{"no issuer name", one("audience: [h], key_file: /k.pem"), route, "auth.issuers[0].issuer is missing", "2:18"},
		{"no audience", one("issuer: a, key_file: /k.pem"), route, "auth.issuers[0].audience is missing", "2:18"},
		{"empty audience", one("issuer: a, audience: [], key_file: /k.pem"), route, "other services would be accepted", "2:18"},
		{"no keys", one("issuer: a, audience: [h]"), route, "there are no keys", "2:18"},
		{"two places", one("issuer: a, audience: [h], key_file: /k.pem, secret_file: /s.txt"), route, "given together with key_file", "2:76"},
		{"http", one(`issuer: a, audience: [h], jwks_url: "http://a.example/k"`), route, "http is only possible on this machine", "2:55"},
		{"user in URL", one(`issuer: a, audience: [h], jwks_url: "https://u:p@a.example/k"`), route, "holds a user", "2:55"},
		{"no URL", one(`issuer: a, audience: [h], jwks_url: "/k"`), route, "not a URL", "2:55"},
		{"no file", one("issuer: a, audience: [h], key_file: /none.pem"), route, "cannot be read", "2:55"},
		{"empty file", one("issuer: a, audience: [h], key_file: /empty"), route, "the file is empty", "2:55"},
		{"HS with keys", one("issuer: a, audience: [h], key_file: /k.pem, algorithms: [HS256]"), route, `"HS256" is not possible here`, "2:76"},
		{"none", one("issuer: a, audience: [h], key_file: /k.pem, algorithms: [none]"), route, `"none" is not possible here`, "2:76"},
		{"RS with secret", one("issuer: a, audience: [h], secret_file: /s.txt, algorithms: [RS256]"), route, `"RS256" is not possible here`, "2:79"},
		{"PEM as secret", one("issuer: a, audience: [h], secret_file: /public.pem"), route, "holds a key, not a secret", "2:58"},
		{"JWK as secret", one("issuer: a, audience: [h], secret_file: /jwk.json"), route, "holds a key, not a secret", "2:58"},
		{"JWK set as secret", one("issuer: a, audience: [h], secret_file: /jwks.json"), route, "holds a key, not a secret", "2:58"},
		{"twice", `auth: {issuers: [{issuer: a, audience: [h], key_file: /k.pem}, {issuer: a, audience: [i], key_file: /k.pem}]}`, route, `two are called "a"`, "2:73"},
		{"anonymous pattern", strings.TrimSuffix(issuer, "}") + `, anonymous: {sub: {deny: ["a..b"]}}}`, route, "anonymous.sub", "2:105"},
		{"unknown field", strings.TrimSuffix(issuer, "}") + `, permission_claim: x}`, route, "unknown field", "2:80"},
		{"require nothing", issuer, with("auth: {require: {a: {}}}"), "one thing can be required", "7:25"},
		{"require two things", issuer, with("auth: {require: {a: {equals: x, contains: y}}}"), "one thing can be required", "7:25"},
		{"require an empty list", issuer, with("auth: {require: {a: {in: []}}}"), "one thing can be required", "7:25"},
		{"require an empty value", issuer, with(`auth: {require: {a: ""}}`), "never met", "7:25"},
		{"require a phrase", issuer, with(`auth: {require: {a: {contains: "x y"}}}`), "one word", "7:36"},
		{"unknown placeholder", issuer, with(`auth: {require: {a: "{y}"}}`), "{y} is not a placeholder of the path", "7:25"},
		{"two placeholders", issuer, with(`auth: {require: {a: "{x}{x}"}}`), "is not understood", "7:25"},
		{"require of nobody", issuer, with(`auth: {required: false, require: {a: b}}`), "callers may have no claims", "7:42"},
		{"claims of nobody", issuer, []string{"path: /a", `source: {type: core, subject: "a.{claims.sub}"}`, "auth: {required: false}"}, "callers may have no claims", "6:35"},
		{"claims first", issuer, []string{"path: /a", `source: {type: core, subject: "{claims.sub}.a"}`}, "the first token is not literal", "6:35"},
		{"claims as part of a token", issuer, []string{"path: /a", `source: {type: core, subject: "a.u-{claims.sub}"}`}, "not a placeholder", "6:35"},
		{"placeholder in defaults", issuer + "\ndefaults: {auth: {require: {a: \"{x}\"}}}", route, "can only stand in a route", "3:32"},
	} {
		t.Run(test.name, func(t *testing.T) {
			_, errs := loadJWT(t, identities(test.block, test.route...))
			if len(errs) != 1 {
				t.Fatalf("want one error, got %d:\n%v", len(errs), errs)
			}
			if !strings.Contains(errs[0].Message, test.message) {
				t.Errorf("message %q does not hold %q", errs[0].Message, test.message)
			}
			if at := strings.TrimPrefix(errs[0].where(), "/routes.yaml:"); at != test.at {
				t.Errorf("it stands at %s, want %s", at, test.at)
			}
		})
	}
}

func TestIdentity_WithoutIdentitiesNothingOfItIsTaken(t *testing.T) {
	for _, c := range []struct{ file, message string }{
		{identities(issuer, "path: /a", core), "nobody is asked who he is"},
		{one("path: /a", core, "auth: {require: {a: b}}"), "nobody has claims"},
		{one("path: /a", `source: {type: core, subject: "a.{claims.sub}"}`), "nobody has claims"},
		{strings.Replace(good, "version: 1\n", "version: 1\ndefaults: {auth: {require: {a: b}}}\n", 1), "nobody has claims"},
	} {
		if _, _, errs := load(t, c.file); len(errs) != 1 || !strings.Contains(errs[0].Message, c.message) || errs[0].Line == 0 {
			t.Errorf("%s\n%v", c.file, errs)
		}
	}
	for _, v := range []string{"AUTH_ISSUER=a", "AUTH_AUDIENCE=a", "AUTH_JWKS_URL=https://a", "AUTH_KEY_FILE=/k", "AUTH_SECRET_FILE=/s", "AUTH_ALGORITHMS=RS256", "AUTH_TYPE=x"} {
		if _, _, errs := load(t, good, v); len(errs) != 1 || errs[0].Variable != strings.Split(v, "=")[0] {
			t.Errorf("%s: %v", v, errs)
		}
	}
}

func TestIdentity_OneIssuerOfTheEnvironment(t *testing.T) {
	c, errs := loadJWT(t, good, "AUTH_ISSUER=https://i.example", "AUTH_AUDIENCE=h,g", "AUTH_KEY_FILE=/k.pem", "AUTH_ALGORITHMS=RS256, ES256", "AUTH_TYPE=at+jwt")
	want := []Issuer{{Issuer: "https://i.example", Audience: []string{"h", "g"}, KeyFile: "/k.pem", Algorithms: []string{"RS256", "ES256"}, Type: "at+jwt"}}
	if errs != nil || !reflect.DeepEqual(c.Auth.Issuers, want) || !c.Routes[0].AuthRequired || c.Auth.Leeway != 30*time.Second || c.Auth.PermissionsClaim != "nats" {
		t.Errorf("%v %+v", errs, c.Auth)
	}
	whole := []string{"AUTH_ISSUER=a", "AUTH_AUDIENCE=h", "AUTH_KEY_FILE=/k.pem"}
	for _, test := range []struct {
		env               []string
		variable, message string
	}{
		{nil, "AUTH_ISSUER", "somebody must issue"},
		{whole[1:], "AUTH_ISSUER", "missing"},
		{[]string{whole[0], whole[2]}, "AUTH_AUDIENCE", "missing"},
		{whole[:2], "AUTH_JWKS_URL", "no keys"},
		{append(whole, "AUTH_JWKS_URL=https://a"), "AUTH_KEY_FILE", "together with jwks_url"},
		{append(whole, "AUTH_ALGORITHMS=HS256"), "AUTH_ALGORITHMS", "not possible"},
		{append(whole, "AUTH_COOKIE=a b"), "AUTH_COOKIE", "not the name"},
		{append(whole, "AUTH_QUERY_PARAMETER=subject"), "AUTH_QUERY_PARAMETER", "cannot be"},
		{append(whole, "AUTH_LEEWAY=2h"), "AUTH_LEEWAY", "too large"},
		{append(whole, "AUTH_ISSUERS=b"), "AUTH_ISSUERS", "no such variable"},
	} {
		if _, errs := loadJWT(t, good, test.env...); len(errs) != 1 || errs[0].Variable != test.variable || !strings.Contains(errs[0].Message, test.message) {
			t.Errorf("%v: %v", test.env, errs)
		}
	}
	if _, errs := loadJWT(t, identities(issuer, "path: /a", core), whole...); len(errs) != 1 || !strings.Contains(errs[0].Message, "together with auth.issuers") {
		t.Error(errs)
	}
}

func TestIdentity_SecretsAreNotRepeated(t *testing.T) {
	_, errs := loadJWT(t, good, "AUTH_ISSUER=a", "AUTH_AUDIENCE=h", "AUTH_SECRET_FILE="+word)
	if len(errs) != 1 || strings.Contains(errs.Error(), word) {
		t.Error(errs)
	}
	_, errs = loadJWT(t, identities("auth: {issuers: [{issuer: a, audience: [h], secret_file: "+word+"}]}", "path: /a", core))
	if len(errs) != 1 || strings.Contains(errs.Error(), word) || errs[0].Line != 2 {
		t.Error(errs)
	}
	_, errs = loadJWT(t, good, "AUTH_ISSUER=a", "AUTH_AUDIENCE=h", "AUTH_JWKS_URL=https://u:"+word+"@a.example/k")
	if len(errs) != 1 || strings.Contains(errs.Error(), word) {
		t.Error(errs)
	}
}

func TestIdentity_RulesOfDefaultsAndRoute(t *testing.T) {
	file := identities(issuer+"\ndefaults: {auth: {require: {scope: {contains: read}, tenant: acme}}}", "path: /a/{x}", `source: {type: core, subject: "a.{x}.{claims.org.id}"}`,
		`auth: {require: {tenant: "{x}", "https://a.example/role": {in: [admin, 7]}}}`)
	file += "  - {name: b, path: /b, source: {type: core, subject: b}, auth: {required: false}}\n"
	c, errs := loadJWT(t, file)
	want := []Require{{Claim: "https://a.example/role", In: []string{"admin", "7"}}, {Claim: "scope", Contains: "read"}, {Claim: "tenant", Equals: "{x}"}}
	if errs != nil || !reflect.DeepEqual(c.Routes[0].AuthRequire, want) || c.Routes[1].AuthRequire != nil {
		t.Errorf("%v %+v", errs, c.Routes)
	}
}

func TestIdentity_SeveralIssuersShareTheNamesOfClaims(t *testing.T) {
	const two = `auth: {issuers: [{issuer: a, audience: [h], key_file: /k.pem}, {issuer: b, audience: [h], key_file: /k.pem}]}`
	claim := []string{"path: /a/{x}", `source: {type: core, subject: "a.{x}.{claims.sub}"}`}
	plain := []string{"path: /a/{x}", `source: {type: core, subject: "a.{x}"}`}
	for _, test := range []struct {
		block string
		route []string
		warns bool
	}{
		{two, plain, false},
		{two, claim, true},
		{issuer, claim, false},
		{two, append(claim[:2:2], "auth: {require: {iss: a}}"), false},
		{two, append(claim[:2:2], "auth: {require: {tenant: t}}"), true},
		{two, append(plain[:2:2], `auth: {require: {tenant: "{x}"}}`), true},
		{two, append(plain[:2:2], `auth: {require: {tenant: "{x}", iss: {in: [a, b]}}}`), false},
		{two, []string{"path: /a", `source: {type: core, subject: "a.{claims.iss}.{claims.sub}"}`}, false},
		{two, []string{"path: /a", `publish: {subject: "a.{claims.sub}"}`}, true},
		{two + "\ndefaults: {auth: {require: {iss: a}}}", claim, false},
		{two + "\ndefaults: {auth: {require: {tenant: t}}}", plain, true},
	} {
		file := identities(test.block, test.route...)
		_, warnings, err := Load(Options{Environ: []string{"AUTH_MODE=jwt", "ROUTES_FILE=/routes.yaml"}, ReadFile: files(map[string]string{"/routes.yaml": file, "/k.pem": "key"})})
		warned := len(warnings) == 1 && strings.Contains(warnings[0].Text, "from every issuer") && strings.HasPrefix(warnings[0].Where, "/routes.yaml:")
		if err != nil || warned != test.warns || len(warnings) > 1 {
			t.Errorf("%v %v\n%s", err, warnings, file)
		}
	}
}

func TestIdentity_WhatIsPrintedLoadsToTheSame(t *testing.T) {
	file := identities(`auth:
  permissions_claim: app.nats
  issuers:
    - {issuer: a, audience: [h, "i j"], key_file: /k.pem, algorithms: [RS256], typ: at+jwt}
    - {issuer: "https://b.example", audience: [h], secret_file: /s.txt}
  anonymous: {sub: {allow: ["a.>", "$KV.B.x"], deny: [a.b]}, pub: {allow: []}}`, "path: /a/{x}", `source: {type: core, subject: "a.{x}"}`,
		`auth: {require: {tenant: "{x}", scope: {contains: "a:b"}, "a b": {in: [x, "true"]}}}`)
	file += "  - {name: b, path: /b, source: {type: core, subject: b}, auth: {required: false}}\n"
	c, errs := loadJWT(t, file)
	if errs != nil {
		t.Fatal(errs)
	}
	var b strings.Builder
	if err := Print(&b, c); err != nil {
		t.Fatal(err)
	}
	_, routes, _ := strings.Cut(b.String(), "\n--- # routes file\n")
	again, errs := loadJWT(t, routes)
	if errs != nil {
		t.Fatalf("%v\n%s", errs, routes)
	}
	for i := range c.Routes {
		c.Routes[i].Line, again.Routes[i].Line = 0, 0
	}
	if !reflect.DeepEqual(c.Routes, again.Routes) || !reflect.DeepEqual(c.Auth.Issuers, again.Auth.Issuers) || !reflect.DeepEqual(c.Auth.Anonymous, again.Auth.Anonymous) ||
		again.Auth.PermissionsClaim != "app.nats" || c.Auth.Anonymous.Pub.Allow == nil {
		t.Errorf("%+v\nbecame\n%+v\nthrough\n%s", c.Auth, again.Auth, routes)
	}
}

func TestIdentity_ThePageOnSecurityIsGood(t *testing.T) {
	page, err := os.ReadFile("../../docs/security.md")
	if err != nil {
		t.Fatal(err)
	}
	file := "version: 1\n"
	for n, part := range strings.Split(string(page), "```yaml\n") {
		if block, _, ok := strings.Cut(part, "```"); ok && n > 0 {
			file += block
		}
	}
	read := files(map[string]string{"/routes.yaml": file, "/keys/partner.pem": "key"})
	c, warnings, err := Load(Options{Environ: []string{"AUTH_MODE=jwt", "ROUTES_FILE=/routes.yaml"}, ReadFile: read})
	if err != nil || len(warnings) > 0 || len(c.Auth.Issuers) != 2 || len(c.Routes) != 2 || len(c.Routes[0].AuthRequire) != 3 {
		t.Errorf("%v %v\n%s", err, warnings, file)
	}
}
