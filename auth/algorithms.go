package auth

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"fmt"
	"slices"
	"strings"
)

// Signature algorithms (RFC 7518, section 3.1; RFC 8037, section 3.1). None is not one of them.
var (
	asymmetric = []string{"RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA"}
	symmetric  = []string{"HS256", "HS384", "HS512"}
)

// algorithmsOf checks the algorithms of an issuer, or gives the default for its kind of keys. Shared secrets and public keys never meet:
// whoever knows a public key could sign with HS.
func algorithmsOf(list []string, secret bool) ([]string, error) {
	known := asymmetric
	if secret {
		known = symmetric
	}
	if len(list) == 0 && secret {
		return []string{"HS256"}, nil
	}
	if len(list) == 0 {
		return asymmetric, nil
	}
	for _, alg := range list {
		if !slices.Contains(known, alg) {
			return nil, fmt.Errorf("algorithm %q: possible for its kind of keys are %s", alg, strings.Join(known, ", "))
		}
	}
	return list, nil
}

// fits says whether a key is of the kind that an algorithm takes. ES is bound to its curve (RFC 7518, section 3.4), and a secret is at
// least as long as the hash (section 3.2).
func fits(alg string, key any) bool {
	switch k := key.(type) {
	case *rsa.PublicKey:
		return alg[0] == 'R' || alg[0] == 'P'
	case *ecdsa.PublicKey:
		return alg == "ES256" && k.Curve == elliptic.P256() || alg == "ES384" && k.Curve == elliptic.P384() ||
			alg == "ES512" && k.Curve == elliptic.P521()
	case ed25519.PublicKey:
		return alg == "EdDSA"
	case []byte:
		return len(k) >= map[string]int{"HS256": 32, "HS384": 48, "HS512": 64}[alg] && alg[0] == 'H'
	}
	return false
}
