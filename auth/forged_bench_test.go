package auth

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"fmt"
	"testing"

	"github.com/golang-jwt/jwt/v5"
)

// What a forged token costs: by the name of one key, and without a name, which is tried with as many keys as ever are.
func BenchmarkForged(b *testing.B) {
	kinds := map[string]func() any{
		"ES256": func() any { return must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader)) },
		"ES384": func() any { return must(ecdsa.GenerateKey(elliptic.P384(), rand.Reader)) },
		"ES512": func() any { return must(ecdsa.GenerateKey(elliptic.P521(), rand.Reader)) },
		"RS256": func() any { return must(rsa.GenerateKey(rand.Reader, 2048)) },
		"RS512": func() any { return must(rsa.GenerateKey(rand.Reader, 4096)) },
	}
	for alg, make := range kinds {
		var set []map[string]any
		for n := range maxTry + 1 {
			switch k := make().(type) {
			case *ecdsa.PrivateKey:
				set = append(set, jwk(k.Public(), map[string]any{"kid": fmt.Sprint(n)}))
			case *rsa.PrivateKey:
				set = append(set, jwk(k.Public(), map[string]any{"kid": fmt.Sprint(n)}))
			}
		}
		i := issuerOf()
		i.KeyFile = file(b, jwks(set...))
		v := must(New(Options{Issuers: []Issuer{i}}))
		if err := v.Load(); err != nil {
			b.Fatal(err)
		}
		claims := good(jwt.MapClaims{"sub": "forged"})
		for name, token := range map[string]string{"named": sign(alg, make(), claims, "kid", "0"), "unnamed": sign(alg, make(), claims)} {
			b.Run(alg+"/"+name, func(b *testing.B) {
				for b.Loop() {
					if _, err := v.Identify(b.Context(), token); err != errSignature {
						b.Fatal(err)
					}
				}
			})
		}
	}
}
