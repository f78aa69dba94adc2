package auth

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"headgate/internal/subject"

	"github.com/golang-jwt/jwt/v5"
)

// One test per weakness that verifiers of tokens have had.

const payload = `{"iss":"https://issuer.example","aud":"headgate","sub":"ann","exp":4102444800}`

func TestHardening_NoneIsNoAlgorithm(t *testing.T) {
	v := withFile(t, publicPEM(rsaKey(), p256()))
	for _, alg := range []string{"none", "None", "NONE", "nOnE", "", " none", "none\x00"} {
		header := string(must(json.Marshal(map[string]string{"alg": alg, "typ": "JWT"})))
		refused(t, v, forge(header, payload, ""), errAlgorithm)
		refused(t, v, forge(header, payload, "x"), errAlgorithm)
	}
	for _, header := range []string{`{}`, `{"alg":null}`, `{"alg":1}`, `{"alg":["none"]}`, `{"ALG":"none"}`} {
		refused(t, v, forge(header, payload, ""), errAlgorithm)
	}
	refused(t, v, sign("none", jwt.UnsafeAllowNoneSignatureType, good()), errAlgorithm)
}

// Whoever knows the public key must not be able to sign with it as if it were a secret.
func TestHardening_HSWithThePublicKeyAsSecret(t *testing.T) {
	content := publicPEM(rsaKey())
	shared := Issuer{Name: "shared", Audience: []string{"headgate"}, SecretFile: file(t, secret)}
	v := loaded(t, Options{Issuers: []Issuer{issuerOf(func(i *Issuer) { i.KeyFile = file(t, content) }), shared}})
	for _, as := range []string{content, strings.TrimSpace(content), string(rsaKey().N.Bytes())} {
		for _, alg := range symmetric {
			h := hmac.New(sha256.New, []byte(as))
			head := base64.RawURLEncoding.EncodeToString([]byte(`{"alg":"` + alg + `"}`))
			body := base64.RawURLEncoding.EncodeToString([]byte(payload))
			h.Write([]byte(head + "." + body))
			refused(t, v, head+"."+body+"."+base64.RawURLEncoding.EncodeToString(h.Sum(nil)), errAlgorithm)
		}
	}
}

// Nor may it become the secret because its file was named in the wrong place.
func TestHardening_AKeyIsNoSecret(t *testing.T) {
	der := must(x509.MarshalPKIXPublicKey(rsaKey().Public()))
	for _, content := range []string{publicPEM(rsaKey()), "# ours\n" + publicPEM(p256()), jwks(jwk(rsaKey().Public(), nil)), "\n" + jwks() + strings.Repeat(" ", 64),
		string(must(json.Marshal(jwk(rsaKey().Public(), nil)))), `{"kty":"oct","k":"` + strings.Repeat("a", 64) + `"}`, "\ufeff" + jwks(jwk(p256().Public(), nil)), string(der)} {
		v, err := New(Options{Issuers: []Issuer{issuerOf(func(i *Issuer) { i.SecretFile = file(t, content) })}})
		if err != nil {
			t.Fatal(err)
		}
		if err := v.Load(); err == nil || !strings.Contains(err.Error(), "name a file with public keys as key file") {
			t.Errorf("%.40q: %v", content, err)
		}
		refused(t, v, sign("HS256", []byte(strings.TrimSpace(content)), good()), ErrUnavailable)
	}
	v, err := New(Options{Issuers: []Issuer{issuerOf(func(i *Issuer) { i.SecretFile = file(t, `{"keyed": "`+secret+`"}`) })}})
	if err != nil || v.Load() != nil {
		t.Error("a secret that is JSON, and no key, is refused")
	}
}

func TestHardening_AlgorithmConfusionBetweenKinds(t *testing.T) {
	v := withFile(t, jwks(jwk(rsaKey().Public(), map[string]any{"kid": "r", "alg": "RS256"}), jwk(p256().Public(), map[string]any{"kid": "e"}),
		jwk(p384().Public(), map[string]any{"kid": "e3"}), jwk(edwards().Public(), map[string]any{"kid": "ed"})))
	accepted(t, v, sign("RS256", rsaKey(), good(), "kid", "r"))
	refused(t, v, sign("RS512", rsaKey(), good(), "kid", "r"), errKey) // the key itself says RS256
	refused(t, v, sign("PS256", rsaKey(), good(), "kid", "r"), errKey)
	refused(t, v, sign("RS256", rsaKey(), good(), "kid", "e"), errKey)
	refused(t, v, sign("ES256", p256(), good(), "kid", "e3"), errKey) // of another curve
	refused(t, v, sign("ES256", p256(), good(), "kid", "ed"), errKey)
	refused(t, v, sign("EdDSA", edwards(), good(), "kid", "e"), errKey)
}

func TestHardening_WrongSignatures(t *testing.T) {
	v := withFile(t, publicPEM(rsaKey(), p256(), edwards()))
	stranger := must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))
	refused(t, v, sign("ES256", stranger, good()), errSignature)
	refused(t, v, sign("RS256", otherRSA(), good()), errSignature)
	parts := strings.Split(sign("ES256", p256(), good()), ".")
	for _, signature := range []string{"", "AAAA", base64.RawURLEncoding.EncodeToString(make([]byte, 64)), parts[2] + "AAAA"} {
		refused(t, v, parts[0]+"."+parts[1]+"."+signature, errSignature)
	}
	other := strings.Split(sign("ES256", p256(), good(jwt.MapClaims{"sub": "bob"})), ".")
	refused(t, v, parts[0]+"."+other[1]+"."+parts[2], errSignature)
}

// A kid is compared and nothing else: it is no path, no query and no key.
func TestHardening_KidInjection(t *testing.T) {
	v := withFile(t, jwks(jwk(p256().Public(), map[string]any{"kid": "k1"})))
	stranger := must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))
	for _, kid := range []string{"../../../../dev/null", "/dev/null", "k1' OR '1'='1", "k1\x00", "K1", "k1 ", "http://evil.example/jwks", "*", "k*"} {
		refused(t, v, sign("ES256", p256(), good(), "kid", kid), errKey)
	}
	for _, kid := range []any{1, true, []string{"k1"}, map[string]any{"k": "k1"}, strings.Repeat("k", maxKid+1)} {
		refused(t, v, sign("ES256", p256(), good(), "kid", kid), errMalformed)
	}
	// Keys that a token brings along are not looked at (RFC 7515, section 4.1.3).
	mine := jwk(stranger.Public(), map[string]any{"kid": "k1"})
	refused(t, v, sign("ES256", stranger, good(), "kid", "k1", "jwk", mine, "jku", "https://evil.example", "x5u", "https://evil.example"), errSignature)
	refused(t, v, sign("ES256", stranger, good(), "jwk", mine), errSignature)
	accepted(t, v, sign("ES256", p256(), good(), "kid", ""))
}

func TestHardening_ExtensionsThatWeDoNotKnow(t *testing.T) {
	v := withFile(t, publicPEM(p256()))
	refused(t, v, sign("ES256", p256(), good(), "crit", []string{"b64"}, "b64", false), errMalformed)
	refused(t, v, sign("ES256", p256(), good(), "crit", nil, "crit", []string{}), errMalformed)
}

func TestHardening_ExpiredEarlyAndTimesThatOverflow(t *testing.T) {
	v := withFile(t, publicPEM(p256()))
	now := time.Now()
	for _, c := range []struct {
		claims jwt.MapClaims
		want   error
	}{
		{jwt.MapClaims{"exp": now.Add(-time.Second).Unix()}, errExpired},
		{jwt.MapClaims{"exp": 0}, errExpired},
		{jwt.MapClaims{"exp": nil}, errClaims},
		{jwt.MapClaims{"exp": "4102444800"}, errClaims},
		{jwt.MapClaims{"exp": json.Number("1e300")}, errClaims},
		{jwt.MapClaims{"exp": json.Number("9223372036854775807")}, errClaims},
		{jwt.MapClaims{"exp": -1}, errClaims},
		{jwt.MapClaims{"exp": []int64{now.Add(time.Hour).Unix()}}, errClaims},
		{jwt.MapClaims{"nbf": now.Add(time.Hour).Unix()}, errEarly},
		{jwt.MapClaims{"nbf": json.Number("1e300")}, errClaims},
		{jwt.MapClaims{"nbf": "soon"}, errClaims},
		{jwt.MapClaims{"nbf": nil}, errClaims},
		{jwt.MapClaims{"aud": nil}, errClaims},
		{jwt.MapClaims{"aud": ""}, errClaims},
		{jwt.MapClaims{"aud": 1}, errClaims},
		{jwt.MapClaims{"aud": "headgate2"}, errAudience},
		{jwt.MapClaims{"aud": "headgate other"}, errAudience},
		{jwt.MapClaims{"iss": []string{"https://issuer.example"}}, errIssuer},
		{jwt.MapClaims{"iss": nil}, errIssuer},
		{jwt.MapClaims{"iss": "https://issuer.example/"}, errIssuer},
		{jwt.MapClaims{"sub": 7}, errClaims},
		{jwt.MapClaims{"sub": strings.Repeat("x", maxName+1)}, errClaims},
		{jwt.MapClaims{"jti": []string{"a"}}, errClaims},
	} {
		refused(t, v, sign("ES256", p256(), good(c.claims)), c.want)
	}
	without := good()
	delete(without, "exp")
	refused(t, v, sign("ES256", p256(), without), errClaims)
}

func TestHardening_HugeAndMalformedTokens(t *testing.T) {
	v := withFile(t, publicPEM(p256()))
	refused(t, v, sign("ES256", p256(), good(jwt.MapClaims{"fill": strings.Repeat("x", MaxToken)})), errTooLong)
	refused(t, v, strings.Repeat(".", MaxToken), errMalformed)
	refused(t, v, strings.Repeat("A", MaxToken+1), errTooLong)
	deep := strings.Repeat("[", 11_000)
	refused(t, v, forge(`{"alg":"ES256"}`, deep, "x"), errMalformed)
	whole := sign("ES256", p256(), good())
	for _, token := range []string{"", ".", "..", "...", "a", "a.b", "a.b.c", whole + ".", "." + whole, whole + "=", whole + "\n", " " + whole,
		forge(`{"alg":"ES256"`, payload, "x"), forge(`{"alg":"ES256"}`, "no JSON", "x"), forge(`{"alg":"ES256"}`, "[]", "x"), forge(`{"alg":"ES256"}`, `"x"`, "x"),
		strings.Replace(whole, ".", "+.", 1)} {
		refused(t, v, token, errMalformed)
	}
	refused(t, v, forge(`{"alg":"ES256"}`, "null", "x"), errIssuer)
	refused(t, v, forge("null", payload, "x"), errAlgorithm)
}

// A claim that enters a subject is one token of it, whatever the issuer lets people call themselves.
func TestHardening_ClaimsWithSyntaxOfSubjects(t *testing.T) {
	v := withFile(t, publicPEM(p256()))
	template := must(subject.ParseTemplate("users.{claims.sub}.notify.>"))
	for _, sub := range []string{"*", ">", "a.b", "a.>", ".", "..", "a b", "a\tb", "a\r\nPUB x 1", "", " ", "a*", "\u2003", strings.Repeat("x", 129), "\x00"} {
		id := accepted(t, v, sign("ES256", p256(), good(jwt.MapClaims{"sub": sub})))
		value := func(name string) (string, bool) { return id.Claim(strings.TrimPrefix(name, "claims.")) }
		s, err := template.Expand(value)
		if err == nil {
			t.Errorf("%q became %q", sub, s)
		} else if sub != "" && sub != "." && sub != ".." && sub != "*" && sub != ">" && len(sub) > 2 && strings.Contains(err.Error(), sub) {
			t.Errorf("the error repeats the claim: %v", err)
		}
	}
	for _, claim := range []any{nil, true, 1.5, -1, json.Number("1e9"), []string{"ann"}, map[string]any{"a": "b"}} {
		id := accepted(t, v, sign("ES256", p256(), good(jwt.MapClaims{"team": claim})))
		if value, ok := id.Claim("team"); ok {
			t.Errorf("%v became %q", claim, value)
		}
	}
}

// Go's decoders read the members of an object in any case. Claims are not read so: who may write one beside those that count is not taken
// for another by it.
func TestHardening_ClaimsOfAnotherCaseAreOtherClaims(t *testing.T) {
	v := withFile(t, publicPEM(p256()))
	other := jwt.MapClaims{"Sub": "admin", "SUB": "admin", "Jti": "x", "Exp": 1, "NBF": 99999999999, "Iss": "https://evil.example", "Aud": "other", "Tenant": "acme",
		"Nats": map[string]any{"sub": map[string]any{"allow": []string{">"}}}}
	id := accepted(t, v, sign("ES256", p256(), good(other)))
	if id.Subject() != "ann" || id.TokenID() != "" || id.Issuer() != "https://issuer.example" {
		t.Errorf("%s, %s, %s", id.Subject(), id.TokenID(), id.Issuer())
	}
	if _, ok := id.Claim("tenant"); ok || id.Meets([]Rule{{Claim: "tenant", Equals: "acme"}}, nil) == nil || id.MayRead("a.b", Named) == nil {
		t.Error("a claim of another case counts")
	}
	for name, want := range map[string]error{"exp": errClaims, "aud": errClaims, "iss": errIssuer} {
		claims := good()
		claims[strings.ToUpper(name)] = claims[name]
		delete(claims, name)
		refused(t, v, sign("ES256", p256(), claims), want)
	}
	refused(t, v, forge(`{"Alg":"none"}`, payload, ""), errAlgorithm)
}

func FuzzIdentify(f *testing.F) {
	i := issuerOf()
	i.JWKSURL = "x"
	s := &server{body: jwks(jwk(p256().Public(), map[string]any{"kid": "k1"}))}
	v, _ := New(Options{Issuers: []Issuer{i}, PermissionsClaim: "nats", Fetch: s.fetch})
	_ = v.issuers[0].attempt(f.Context())
	whole := sign("ES256", p256(), good(), "kid", "k1")
	f.Add(whole)
	f.Add(forge(`{"alg":"none"}`, payload, ""))
	f.Add(forge(`{"alg":"ES256","kid":"k1"}`, payload, "x"))
	f.Fuzz(func(t *testing.T, token string) {
		if id, err := v.Identify(t.Context(), token); err == nil && token != whole {
			t.Fatalf("%q is accepted as %+v", token, id)
		}
	})
}
