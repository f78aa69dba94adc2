package auth

import (
	"crypto"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

func TestIdentify_TakesEveryAlgorithmFromFilesOfPEMAndJWKs(t *testing.T) {
	keys := []crypto.Signer{rsaKey(), p256(), p384(), p521(), edwards()}
	set := jwks(jwk(rsaKey().Public(), nil), jwk(p256().Public(), map[string]any{"use": "sig"}), jwk(p384().Public(), nil), jwk(p521().Public(), nil),
		jwk(edwards().Public(), nil))
	private := map[string]any{"ES256": p256(), "ES384": p384(), "ES512": p521(), "EdDSA": edwards()}
	for _, content := range []string{publicPEM(keys...), set} {
		v := withFile(t, content)
		for _, alg := range asymmetric {
			k := private[alg]
			if k == nil {
				k = rsaKey()
			}
			if id := accepted(t, v, sign(alg, k, good())); id.Subject() != "ann" {
				t.Errorf("%s: %q", alg, id.Subject())
			}
		}
	}
	v := withSecret(t, func(i *Issuer) { i.Algorithms = symmetric })
	for _, alg := range symmetric {
		accepted(t, v, sign(alg, []byte(secret), good()))
	}
}

func TestIdentify_SaysWhoItIs(t *testing.T) {
	v := withFile(t, publicPEM(p256()))
	exp := time.Now().Add(time.Hour).Truncate(time.Second)
	id := accepted(t, v, sign("ES256", p256(), good(jwt.MapClaims{"jti": "t1", "exp": exp.Unix(), "n": 42, "org": map[string]any{"id": "o7"}, "f": 1.5,
		"list": []string{"x"}, "https://a.example/team": "red", "no": nil})))
	if id.Subject() != "ann" || id.TokenID() != "t1" || id.Issuer() != "https://issuer.example" || !id.Deadline().Equal(exp) || id.Anonymous() {
		t.Errorf("%+v", id)
	}
	for path, want := range map[string]string{"sub": "ann", "n": "42", "org.id": "o7", "https://a.example/team": "red"} {
		if got, ok := id.Claim(path); !ok || got != want {
			t.Errorf("%s: %q, %v", path, got, ok)
		}
	}
	for _, path := range []string{"f", "list", "org", "org.x", "org.id.x", "no", "none", "", "."} {
		if got, ok := id.Claim(path); ok {
			t.Errorf("%s: %q", path, got)
		}
	}
	if a := v.Anonymous(); !a.Anonymous() || a.Subject() != "" || !a.Deadline().IsZero() {
		t.Errorf("%+v", a)
	}
}

// The same moment ends accepting and the streams: exp + leeway.
func TestIdentify_OneDeadlineWithLeeway(t *testing.T) {
	content := publicPEM(p256())
	synctest.Test(t, func(t *testing.T) {
		i := issuerOf()
		i.KeyFile = file(t, content)
		v := loaded(t, Options{Issuers: []Issuer{i}, Leeway: 30 * time.Second})
		now := time.Now()
		token := sign("ES256", p256(), good(jwt.MapClaims{"exp": now.Add(time.Minute).Unix(), "nbf": now.Add(40 * time.Second).Unix()}))
		refused(t, v, token, errEarly)
		time.Sleep(10 * time.Second)
		id := accepted(t, v, token)
		if !id.Deadline().Equal(now.Add(90 * time.Second)) {
			t.Errorf("deadline %v", id.Deadline())
		}
		time.Sleep(80*time.Second - 1)
		accepted(t, v, token)
		time.Sleep(1)
		refused(t, v, token, errExpired) // out of the cache
		v.cache.clear()
		refused(t, v, token, errExpired) // verified anew
	})
}

func TestIdentify_EachIssuerHasItsOwnRules(t *testing.T) {
	a := Issuer{Name: "a", Audience: []string{"x", "y"}, KeyFile: file(t, publicPEM(rsaKey())), Algorithms: []string{"RS256"}, Type: "at+jwt"}
	b := Issuer{Name: "b", Audience: []string{"z"}, KeyFile: file(t, publicPEM(p256())), Algorithms: []string{"ES256"}}
	c := Issuer{Name: "c", Audience: []string{"z"}, SecretFile: file(t, secret)}
	v := loaded(t, Options{Issuers: []Issuer{a, b, c}})
	claims := func(iss string, aud any) jwt.MapClaims { return good(jwt.MapClaims{"iss": iss, "aud": aud}) }
	for _, aud := range []any{"x", "y", []string{"q", "y"}} {
		for _, typ := range []string{"at+jwt", "AT+JWT", "application/at+jwt"} {
			accepted(t, v, sign("RS256", rsaKey(), claims("a", aud), "typ", typ))
		}
	}
	accepted(t, v, sign("ES256", p256(), claims("b", "z")))
	accepted(t, v, sign("HS256", []byte(secret), claims("c", "z")))

	refused(t, v, sign("RS256", rsaKey(), claims("a", "x")), errType)
	refused(t, v, sign("RS256", rsaKey(), claims("a", "x"), "typ", nil), errType)
	refused(t, v, sign("RS256", rsaKey(), claims("a", "z"), "typ", "at+jwt"), errAudience)
	refused(t, v, sign("RS384", rsaKey(), claims("a", "x"), "typ", "at+jwt"), errAlgorithm)
	refused(t, v, sign("RS256", rsaKey(), claims("b", "z")), errAlgorithm)
	refused(t, v, sign("ES256", p256(), claims("a", "x"), "typ", "at+jwt"), errAlgorithm)
	refused(t, v, sign("HS256", []byte(secret), claims("b", "z")), errAlgorithm)
	refused(t, v, sign("ES256", p256(), claims("c", "z")), errAlgorithm)
	refused(t, v, sign("ES256", p256(), claims("A", "z")), errIssuer)
	refused(t, v, sign("ES256", p256(), claims("b ", "z")), errIssuer)
}

func TestNew_RefusesWhatWouldBeUnsafe(t *testing.T) {
	for name, c := range map[string]struct {
		issuers []Issuer
		says    string
	}{
		"none":         {nil, "no issuer"},
		"twice":        {[]Issuer{{Name: "a", Audience: []string{"x"}, KeyFile: "f"}, {Name: "a", Audience: []string{"y"}, KeyFile: "g"}}, "twice"},
		"no name":      {[]Issuer{{Audience: []string{"x"}, KeyFile: "f"}}, "no name"},
		"no audience":  {[]Issuer{{Name: "a", KeyFile: "f"}}, "audience"},
		"no keys":      {[]Issuer{{Name: "a", Audience: []string{"x"}}}, "one place"},
		"two places":   {[]Issuer{{Name: "a", Audience: []string{"x"}, KeyFile: "f", SecretFile: "g"}}, "one place"},
		"none alg":     {[]Issuer{{Name: "a", Audience: []string{"x"}, KeyFile: "f", Algorithms: []string{"none"}}}, "none"},
		"HS with keys": {[]Issuer{{Name: "a", Audience: []string{"x"}, KeyFile: "f", Algorithms: []string{"HS256"}}}, "HS256"},
		"RS, secret":   {[]Issuer{{Name: "a", Audience: []string{"x"}, SecretFile: "f", Algorithms: []string{"RS256"}}}, "RS256"},
	} {
		if _, err := New(Options{Issuers: c.issuers}); err == nil || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestLoad_SaysWhatIsWrongWithAFileAndNotWhatIsInIt(t *testing.T) {
	const tell = "SECRET-CONTENT"
	private := "-----BEGIN PRIVATE KEY-----\nU0VDUkVULUNPTlRFTlQ=\n-----END PRIVATE KEY-----\n"
	for name, c := range map[string]struct{ content, says string }{
		"text": {tell, "no public key"}, "json": {`{"keys": ` + tell, "not valid JSON"}, "empty": {"", "no public key"}, "private": {private, "-pubout"},
		"damaged": {"-----BEGIN PUBLIC KEY-----\nU0VDUkVULUNPTlRFTlQ=\n-----END PUBLIC KEY-----\n", "damaged"}, "no keys": {jwks(), "no public key"},
	} {
		v, err := New(Options{Issuers: []Issuer{issuerOf(func(i *Issuer) { i.KeyFile = file(t, c.content) })}})
		if err != nil {
			t.Fatal(err)
		}
		if err := v.Load(); err == nil || !strings.Contains(err.Error(), c.says) || strings.Contains(err.Error(), "SECRET") ||
			strings.Contains(err.Error(), "U0VD") {
			t.Errorf("%s: %v", name, err)
		}
	}
	v, err := New(Options{Issuers: []Issuer{issuerOf(func(i *Issuer) { i.SecretFile = file(t, tell) })}})
	if err != nil {
		t.Fatal(err)
	}
	if err := v.Load(); err == nil || !strings.Contains(err.Error(), "too short") || strings.Contains(err.Error(), tell) {
		t.Errorf("%v", err)
	}
}

func BenchmarkIdentify(b *testing.B) {
	i := issuerOf()
	i.JWKSURL = "x"
	for _, alg := range []string{"RS256", "ES256", "EdDSA"} {
		s := &server{body: jwks(jwk(rsaKey().Public(), nil), jwk(p256().Public(), nil), jwk(edwards().Public(), nil))}
		v, _ := New(Options{Issuers: []Issuer{i}, Fetch: s.fetch})
		_ = v.issuers[0].attempt(b.Context())
		private := map[string]any{"RS256": rsaKey(), "ES256": p256(), "EdDSA": edwards()}[alg]
		token := sign(alg, private, good())
		for _, cached := range []bool{false, true} {
			b.Run(alg+map[bool]string{false: " uncached", true: " cached"}[cached], func(b *testing.B) {
				b.ReportAllocs()
				for b.Loop() {
					if !cached {
						v.cache.clear()
					}
					if _, err := v.Identify(b.Context(), token); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	}
}
