// The application: a login page, and a session in a cookie that holds a token. It knows nothing of streams; headgate reads the cookie and
// checks the token with the key that is published here.
package main

import (
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/json"
	"flag"
	"log"
	"net/http"
	"path/filepath"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

// cookie is the name that AUTH_COOKIE has too. With __Host- in front, browsers take it only as it is set here: secure, for this host alone.
const cookie = "__Host-session"

// longest is how long somebody stays logged in. The token in the cookie lives much shorter, and is renewed until then.
const longest = 8 * time.Hour

// users and their passwords. Real ones are in a database, as hashes that are slow to make.
var users = map[string]string{"ann": "correct horse", "bob": "battery staple"}

func main() {
	addr := flag.String("addr", "localhost:8000", "where to listen, and whose tokens these are")
	pages := flag.String("pages", "examples/login", "")
	life := flag.Duration("life", 5*time.Minute, "of a token")
	flag.Parse()

	_, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		log.Fatal(err)
	}
	a := &application{issuer: "http://" + *addr, life: *life, private: private, kid: rand.Text()[:8]}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, r *http.Request) {
		http.ServeFile(w, r, filepath.Join(*pages, "index.html"))
	})
	mux.HandleFunc("GET /jwks.json", a.serveKeys)
	mux.HandleFunc("POST /login", a.login)
	mux.HandleFunc("POST /renew", a.renew)
	mux.HandleFunc("POST /logout", a.logout)
	// Pages of other sites may not act for the visitor.
	server := http.Server{Addr: *addr, Handler: http.NewCrossOriginProtection().Handler(mux), ReadHeaderTimeout: 5 * time.Second}
	log.Fatal(server.ListenAndServe())
}

type application struct {
	issuer  string
	life    time.Duration
	private ed25519.PrivateKey
	kid     string
}

// session is what the token in the cookie says.
type session struct {
	jwt.RegisteredClaims
	Since *jwt.NumericDate `json:"auth_time"` // of the login (OpenID Connect Core, section 2)
}

func (a *application) login(w http.ResponseWriter, r *http.Request) {
	r.Body = http.MaxBytesReader(w, r.Body, 4<<10)
	user := r.PostFormValue("user")
	want, known := users[user]
	given, right := sha256.Sum256([]byte(r.PostFormValue("password"))), sha256.Sum256([]byte(want))
	if subtle.ConstantTimeCompare(given[:], right[:]) != 1 || !known {
		http.Error(w, "User or password is wrong.", http.StatusUnauthorized)
		return
	}
	a.give(w, user, time.Now())
}

// renew gives whoever is still logged in a new token.
func (a *application) renew(w http.ResponseWriter, r *http.Request) {
	c, err := r.Cookie(cookie)
	if err != nil {
		http.Error(w, "Nobody is logged in.", http.StatusUnauthorized)
		return
	}
	var s session
	_, err = jwt.ParseWithClaims(c.Value, &s, func(*jwt.Token) (any, error) { return a.private.Public(), nil },
		jwt.WithValidMethods([]string{"EdDSA"}), jwt.WithIssuer(a.issuer), jwt.WithExpirationRequired())
	if err != nil || s.Since == nil || time.Since(s.Since.Time) > longest {
		http.Error(w, "The session has ended.", http.StatusUnauthorized)
		return
	}
	a.give(w, s.Subject, s.Since.Time)
}

// give sets the cookie.
func (a *application) give(w http.ResponseWriter, user string, since time.Time) {
	now := time.Now()
	t := jwt.NewWithClaims(jwt.SigningMethodEdDSA, session{Since: jwt.NewNumericDate(since), RegisteredClaims: jwt.RegisteredClaims{Issuer: a.issuer,
		Audience: jwt.ClaimStrings{"headgate"}, Subject: user, ID: rand.Text(), IssuedAt: jwt.NewNumericDate(now), ExpiresAt: jwt.NewNumericDate(now.Add(a.life))}})
	t.Header["kid"] = a.kid
	text, err := t.SignedString(a.private)
	if err != nil {
		http.Error(w, "No session.", http.StatusInternalServerError)
		return
	}
	// Not for scripts, over TLS or on this machine only, and not along with what pages of other sites ask for (RFC 6265bis, section 4.1.2).
	http.SetCookie(w, &http.Cookie{Name: cookie, Value: text, Path: "/", MaxAge: int(a.life.Seconds()), HttpOnly: true, Secure: true, SameSite: http.SameSiteStrictMode})
	w.Header().Set("Cache-Control", "no-store")
	_ = json.NewEncoder(w).Encode(map[string]string{"user": user})
}

// logout takes the cookie back. Streams that are open go on until the token ends: minutes at most.
func (a *application) logout(w http.ResponseWriter, _ *http.Request) {
	http.SetCookie(w, &http.Cookie{Name: cookie, Path: "/", MaxAge: -1, HttpOnly: true, Secure: true, SameSite: http.SameSiteStrictMode})
}

// serveKeys publishes the key that checks the tokens (RFC 7517; RFC 8037 for its kind).
func (a *application) serveKeys(w http.ResponseWriter, _ *http.Request) {
	x := base64.RawURLEncoding.EncodeToString(a.private.Public().(ed25519.PublicKey))
	w.Header().Set("Content-Type", "application/jwk-set+json")
	_ = json.NewEncoder(w).Encode(map[string]any{"keys": []map[string]string{{"kty": "OKP", "crv": "Ed25519", "x": x, "kid": a.kid, "use": "sig", "alg": "EdDSA"}}})
}
