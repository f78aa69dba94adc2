package auth

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"log/slog"
	"maps"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// The keys of the tests. Making RSA keys takes a while, so there is one of each.
var (
	rsaKey   = sync.OnceValue(func() *rsa.PrivateKey { return must(rsa.GenerateKey(rand.Reader, 2048)) })
	otherRSA = sync.OnceValue(func() *rsa.PrivateKey { return must(rsa.GenerateKey(rand.Reader, 2048)) })
	p256     = sync.OnceValue(func() *ecdsa.PrivateKey { return must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader)) })
	p384     = sync.OnceValue(func() *ecdsa.PrivateKey { return must(ecdsa.GenerateKey(elliptic.P384(), rand.Reader)) })
	p521     = sync.OnceValue(func() *ecdsa.PrivateKey { return must(ecdsa.GenerateKey(elliptic.P521(), rand.Reader)) })
	edwards  = sync.OnceValue(func() ed25519.PrivateKey {
		_, private, err := ed25519.GenerateKey(rand.Reader)
		return must(private, err)
	})
)

const secret = "a secret of sixty-four bytes, which is enough for all of them!!!"

func must[V any](v V, err error) V {
	if err != nil {
		panic(err)
	}
	return v
}

// good are the claims of a token that is accepted, with some others.
func good(more ...jwt.MapClaims) jwt.MapClaims {
	c := jwt.MapClaims{"iss": "https://issuer.example", "aud": "headgate", "sub": "ann", "exp": time.Now().Add(time.Hour).Unix()}
	for _, m := range more {
		maps.Copy(c, m)
	}
	return c
}

// sign makes a token. A nil value in the header takes the field away.
func sign(alg string, private any, claims jwt.MapClaims, header ...any) string {
	t := jwt.NewWithClaims(jwt.GetSigningMethod(alg), claims)
	for i := 0; i+1 < len(header); i += 2 {
		if header[i+1] == nil {
			delete(t.Header, header[i].(string))
		} else {
			t.Header[header[i].(string)] = header[i+1]
		}
	}
	return must(t.SignedString(private))
}

// forge makes a token of any header and payload, with any signature.
func forge(header, payload, signature string) string {
	e := base64.RawURLEncoding.EncodeToString
	return e([]byte(header)) + "." + e([]byte(payload)) + "." + e([]byte(signature))
}

func publicPEM(keys ...crypto.Signer) string {
	var b strings.Builder
	for _, k := range keys {
		_ = pem.Encode(&b, &pem.Block{Type: "PUBLIC KEY", Bytes: must(x509.MarshalPKIXPublicKey(k.Public()))})
	}
	return b.String()
}

// jwk is a public key as RFC 7517 writes it, with more fields.
func jwk(public any, more map[string]any) map[string]any {
	e := base64.RawURLEncoding.EncodeToString
	m := map[string]any{}
	switch k := public.(type) {
	case *rsa.PublicKey:
		m = map[string]any{"kty": "RSA", "n": e(k.N.Bytes()), "e": e(big.NewInt(int64(k.E)).Bytes())}
	case *ecdsa.PublicKey:
		raw := must(k.Bytes())
		half := len(raw) / 2
		m = map[string]any{"kty": "EC", "crv": k.Curve.Params().Name, "x": e(raw[1 : 1+half]), "y": e(raw[1+half:])}
	case ed25519.PublicKey:
		m = map[string]any{"kty": "OKP", "crv": "Ed25519", "x": e(k)}
	}
	maps.Copy(m, more)
	return m
}

func jwks(keys ...map[string]any) string {
	if keys == nil {
		keys = []map[string]any{}
	}
	return string(must(json.Marshal(map[string]any{"keys": keys})))
}

func file(t testing.TB, content string) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "keys")
	if err := os.WriteFile(name, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return name
}

func issuerOf(change ...func(*Issuer)) Issuer {
	i := Issuer{Name: "https://issuer.example", Audience: []string{"headgate"}}
	for _, c := range change {
		c(&i)
	}
	return i
}

// withFile makes a verifier of one issuer with a key file, which is loaded.
func withFile(t *testing.T, content string, change ...func(*Issuer)) *Verifier {
	t.Helper()
	i := issuerOf(change...)
	i.KeyFile = file(t, content)
	return loaded(t, Options{Issuers: []Issuer{i}, PermissionsClaim: "nats"})
}

func withSecret(t *testing.T, change ...func(*Issuer)) *Verifier {
	t.Helper()
	i := issuerOf(change...)
	i.SecretFile = file(t, secret+"\n")
	return loaded(t, Options{Issuers: []Issuer{i}, PermissionsClaim: "nats"})
}

func loaded(t *testing.T, o Options) *Verifier {
	t.Helper()
	v, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	if err := v.Load(); err != nil {
		t.Fatal(err)
	}
	return v
}

// refused says that a token is refused for one reason.
func refused(t *testing.T, v *Verifier, token string, want error) {
	t.Helper()
	id, err := v.Identify(t.Context(), token)
	if id != nil || !errors.Is(err, want) {
		t.Errorf("identity %v, err %v; want %v", id, err, want)
	}
	if err != nil && len(token) > 20 && strings.Contains(err.Error(), token[len(token)-10:]) {
		t.Errorf("the error repeats the token: %v", err)
	}
}

func accepted(t *testing.T, v *Verifier, token string) *Identity {
	t.Helper()
	id, err := v.Identify(t.Context(), token)
	if err != nil {
		t.Fatalf("refused: %v", err)
	}
	return id
}

// server plays the endpoint of a JWK set.
type server struct {
	mu     sync.Mutex
	body   string
	err    error
	asked  int
	during func()
}

func (s *server) fetch(context.Context, string, int64) ([]byte, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.asked++
	if s.during != nil {
		s.during()
	}
	return []byte(s.body), s.err
}

func (s *server) set(body string, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.body, s.err = body, err
}

func (s *server) count() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.asked
}

// withServer runs a verifier whose keys come from the server, until the test ends it.
func withServer(t *testing.T, s *server, log *slog.Logger) (*Verifier, func()) {
	t.Helper()
	v, err := New(Options{Issuers: []Issuer{issuerOf(func(i *Issuer) { i.JWKSURL = "https://issuer.example/jwks" })}, Fetch: s.fetch, Log: log})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() { defer close(ended); _ = v.Run(ctx) }()
	return v, func() { cancel(); <-ended }
}
