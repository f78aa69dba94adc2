// The identity provider, as small as one can be: it signs tokens, publishes the keys to check them with, and changes its key without
// anybody noticing. It serves the page too, in the place of an application that has a login.
package main

import (
	"crypto/ed25519"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"flag"
	"fmt"
	"log"
	"net/http"
	"path/filepath"
	"sync"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

func main() {
	addr := flag.String("addr", "localhost:8000", "where to listen, and whose tokens these are")
	pages := flag.String("pages", "examples/jwks", "")
	life := flag.Duration("life", time.Minute, "of a token")
	flag.Parse()

	p := &provider{issuer: "http://" + *addr, life: *life}
	p.rotate()
	mux := http.NewServeMux()
	mux.HandleFunc("GET /jwks.json", p.serveKeys)
	mux.HandleFunc("POST /token", p.serveToken)
	mux.HandleFunc("POST /rotate", func(http.ResponseWriter, *http.Request) { p.rotate() })
	for path, file := range map[string]string{"/{$}": "index.html", "/headgate.js": "../client/headgate.js"} {
		mux.HandleFunc("GET "+path, func(w http.ResponseWriter, r *http.Request) { http.ServeFile(w, r, filepath.Join(*pages, file)) })
	}
	// Pages of other sites may not ask for a visitor's token.
	server := http.Server{Addr: *addr, Handler: http.NewCrossOriginProtection().Handler(mux), ReadHeaderTimeout: 5 * time.Second}
	log.Fatal(server.ListenAndServe())
}

type key struct {
	id      string
	private ed25519.PrivateKey
}

type provider struct {
	issuer string
	life   time.Duration

	mu   sync.Mutex
	keys []key // the one before, the one that signs, the next one
}

// rotate lets the next key sign. It has been published for as long as the one before it was in use, so that everybody has it by now; and
// the key before stays published, for the tokens that are still about.
func (p *provider) rotate() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for len(p.keys) < 3 {
		p.keys = append(p.keys, newKey())
	}
	p.keys = append(p.keys[1:], newKey())
}

func newKey() key {
	_, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		log.Fatal(err)
	}
	return key{rand.Text()[:8], private}
}

// serveKeys answers with the public halves (RFC 7517; RFC 8037 for the kind of key).
func (p *provider) serveKeys(w http.ResponseWriter, _ *http.Request) {
	p.mu.Lock()
	defer p.mu.Unlock()
	var set struct {
		Keys []map[string]string `json:"keys"`
	}
	for _, k := range p.keys {
		x := base64.RawURLEncoding.EncodeToString(k.private.Public().(ed25519.PublicKey))
		set.Keys = append(set.Keys, map[string]string{"kty": "OKP", "crv": "Ed25519", "x": x, "kid": k.id, "use": "sig", "alg": "EdDSA"})
	}
	w.Header().Set("Content-Type", "application/jwk-set+json")
	_ = json.NewEncoder(w).Encode(set)
}

// serveToken gives everybody a token for the user that they name. A real provider asks for a password first.
func (p *provider) serveToken(w http.ResponseWriter, r *http.Request) {
	p.mu.Lock()
	k := p.keys[1]
	p.mu.Unlock()
	now := time.Now()
	t := jwt.NewWithClaims(jwt.SigningMethodEdDSA, jwt.RegisteredClaims{Issuer: p.issuer, Audience: jwt.ClaimStrings{"headgate"},
		Subject: r.FormValue("user"), ID: rand.Text(), IssuedAt: jwt.NewNumericDate(now), ExpiresAt: jwt.NewNumericDate(now.Add(p.life))})
	t.Header["kid"], t.Header["typ"] = k.id, "at+jwt" // RFC 9068: an access token, and no ID token
	text, err := t.SignedString(k.private)
	if err != nil {
		http.Error(w, "no token", http.StatusInternalServerError)
		return
	}
	w.Header().Set("Cache-Control", "no-store") // RFC 6749, section 5.1
	fmt.Fprint(w, text)
}
