package auth

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"slices"

	"github.com/MicahParks/jwkset"
	"github.com/golang-jwt/jwt/v5"

	"headgate/internal/keyform"
)

const (
	maxKeys = 100 // of a set; no issuer needs more
	maxTry  = 4   // that are tried for a token: by leaving kid out, a forger makes one token cost that many signature checks (BenchmarkForged)
)

// key is one of an issuer's keys.
type key struct {
	kid    string // empty: it answers to every name
	alg    string // empty: every algorithm of its kind
	public jwt.VerificationKey
}

// choose is the keys that may have signed a token with that header, those with its kid before those without one. It says also whether
// there is such a key at all.
func choose(keys []key, alg, kid string) (list []jwt.VerificationKey, known bool) {
	for _, sameName := range []bool{true, false} {
		for _, k := range keys {
			if (k.kid == kid) != sameName || kid != "" && k.kid != "" && k.kid != kid {
				continue
			}
			known = true
			if (k.alg == "" || k.alg == alg) && fits(alg, k.public) && len(list) < maxTry {
				list = append(list, k.public)
			}
		}
	}
	return list, known
}

// unnamed is how many keys without a name there are for one algorithm at most.
func unnamed(keys []key) (most int) {
	for _, alg := range asymmetric {
		n := 0
		for _, k := range keys {
			if k.kid == "" && fits(alg, k.public) {
				n++
			}
		}
		most = max(most, n)
	}
	return most
}

// parseKeys reads public keys: PEM, a JWK or a JWK set (RFC 7517). Keys that are not for signatures, of unknown kinds, weak, or not
// public are left out, since sets hold such for others; if nothing is left it is an error.
func parseKeys(data []byte) ([]key, error) {
	var keys []key
	var err error
	if trimmed := bytes.TrimSpace(data); bytes.HasPrefix(trimmed, []byte("{")) {
		keys, err = parseJWKs(trimmed)
	} else {
		keys, err = parsePEM(trimmed)
	}
	switch {
	case err != nil:
		return nil, err
	case unnamed(keys) > maxTry:
		return nil, fmt.Errorf("there are more than %d keys of one kind without a kid in it, and not all would be tried; a JWK set can name them", maxTry)
	case len(keys) == 0:
		return nil, errors.New("there is no public key for signatures in it, of at least 2048 bits where it is RSA")
	case len(keys) > maxKeys:
		return nil, fmt.Errorf("there are more than %d keys in it", maxKeys)
	}
	return keys, nil
}

func parseJWKs(data []byte) ([]key, error) {
	var set struct {
		Keys []json.RawMessage `json:"keys"`
	}
	// What is wrong with it is not repeated: a file that was mistaken for one of keys may hold a secret.
	if json.Unmarshal(data, &set) != nil {
		return nil, errors.New("it begins like a JWK set, and is not valid JSON")
	}
	if set.Keys == nil {
		set.Keys = []json.RawMessage{data}
	}
	var keys []key
	for _, raw := range set.Keys {
		if k, ok := parseJWK(raw); ok {
			keys = append(keys, k)
		}
	}
	return keys, nil
}

// parseJWK reads one key. Certificates and their addresses are dropped: the set itself is what is trusted.
func parseJWK(raw json.RawMessage) (key, bool) {
	var m jwkset.JWKMarshal
	if json.Unmarshal(raw, &m) != nil {
		return key{}, false
	}
	m.X5C, m.X5U, m.X5T, m.X5TS256 = nil, "", "", ""
	forSignatures := (m.USE == "" || m.USE == jwkset.UseSig) && (len(m.KEYOPS) == 0 || slices.Contains(m.KEYOPS, jwkset.KeyOpsVerify))
	if !forSignatures || m.D != "" || m.K != "" || len(m.KID) > maxKid {
		return key{}, false
	}
	parsed, err := jwkset.NewJWKFromMarshal(m, jwkset.JWKMarshalOptions{}, jwkset.JWKValidateOptions{SkipAll: true})
	if err != nil || !strong(parsed.Key()) {
		return key{}, false
	}
	return key{m.KID, string(m.ALG), parsed.Key()}, true
}

func parsePEM(data []byte) ([]key, error) {
	var keys []key
	for {
		block, rest := pem.Decode(data)
		if block == nil {
			return keys, nil
		}
		data = rest
		var public any
		var err error
		switch block.Type {
		case "PUBLIC KEY":
			public, err = x509.ParsePKIXPublicKey(block.Bytes)
		case "RSA PUBLIC KEY":
			public, err = x509.ParsePKCS1PublicKey(block.Bytes)
		case "CERTIFICATE":
			var c *x509.Certificate
			if c, err = x509.ParseCertificate(block.Bytes); err == nil {
				public = c.PublicKey
			}
		default:
			return nil, fmt.Errorf("a PEM block is %q; expected PUBLIC KEY or CERTIFICATE (openssl pkey -in private.pem -pubout makes one)", block.Type)
		}
		if err != nil {
			return nil, fmt.Errorf("a PEM block %q is damaged", block.Type)
		}
		if strong(public) {
			keys = append(keys, key{public: public})
		}
	}
}

// strong says whether a key is of a kind we use, strong enough (RFC 7518, section 3.3), and no burden to check with.
func strong(public any) bool {
	switch k := public.(type) {
	case *rsa.PublicKey:
		bits := k.N.BitLen()
		return bits >= 2048 && bits <= 8192 && k.E >= 3 && k.E <= 1<<31-1 && k.E%2 == 1
	case *ecdsa.PublicKey:
		return fits("ES256", k) || fits("ES384", k) || fits("ES512", k)
	case ed25519.PublicKey:
		return len(k) == ed25519.PublicKeySize
	}
	return false
}

// parseSecret reads a shared secret: the bytes of the file without white space around them. What looks like a key is none: were a public
// one taken, everybody who knows it could sign.
func parseSecret(data []byte, algorithms []string) ([]key, error) {
	secret := bytes.TrimSpace(data)
	if keyform.IsKey(secret) {
		return nil, errors.New("it holds a key, not a secret: name a file with public keys as key file; for HS algorithms, put the bare secret into it")
	}
	for _, alg := range algorithms {
		if !fits(alg, secret) {
			return nil, fmt.Errorf("the secret is too short for %s; openssl rand -hex 32 makes one that does for all", alg)
		}
	}
	return []key{{public: bytes.Clone(secret)}}, nil
}
