package keyform

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"testing"
)

func TestIsKey(t *testing.T) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKIXPublicKey(key.Public())
	if err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{"PEM": string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})), "DER": string(der),
		"JWK": `{"kty":"EC"}`, "JWK set": `{"keys":[]}`, "JWK behind a byte order mark": "\ufeff{\"kty\":\"EC\"}", "PEM in something": "x -----BEGIN Y-----"} {
		if !IsKey([]byte(text)) {
			t.Errorf("%s is taken for a secret", name)
		}
	}
	for _, text := range []string{"", "s3cret", `{"secret":"x"}`, "[]", "keys", "\x30\x82"} {
		if IsKey([]byte(text)) {
			t.Errorf("%q is taken for a key", text)
		}
	}
}
