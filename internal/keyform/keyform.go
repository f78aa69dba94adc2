// Package keyform tells files with keys from files with secrets. Where a secret is expected a public key is a trap: taken as a secret,
// everybody who knows it could sign.
package keyform

import (
	"bytes"
	"crypto/x509"
	"encoding/json"
)

// IsKey says whether what should be a bare secret is a key: PEM, a JWK or a JWK set (RFC 7517), or DER.
func IsKey(data []byte) bool {
	var object map[string]json.RawMessage
	if json.Unmarshal(bytes.TrimPrefix(data, []byte("\xef\xbb\xbf")), &object) == nil && (object["kty"] != nil || object["keys"] != nil) {
		return true
	}
	_, err := x509.ParsePKIXPublicKey(data)
	return err == nil || bytes.Contains(data, []byte("-----BEGIN"))
}
