package auth

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

// A set may hold anything; what comes out of it are public keys for signatures, strong ones.
func TestHardening_PoisonedSets(t *testing.T) {
	weak := must(rsa.GenerateKey(rand.Reader, 1024))
	goodKey := jwk(p256().Public(), map[string]any{"kid": "good"})
	offCurve := jwk(p256().Public(), map[string]any{"kid": "off"})
	offCurve["y"] = offCurve["x"]
	keys, err := parseKeys([]byte(jwks(goodKey, offCurve,
		jwk(weak.Public(), map[string]any{"kid": "weak"}),
		jwk(p384().Public(), map[string]any{"kid": "enc", "use": "enc"}),
		jwk(p384().Public(), map[string]any{"kid": "ops", "key_ops": []string{"encrypt"}}),
		jwk(p384().Public(), map[string]any{"kid": "private", "d": "AAAA"}),
		jwk(p384().Public(), map[string]any{"kid": strings.Repeat("k", maxKid+1)}),
		map[string]any{"kty": "oct", "k": "c2VjcmV0c2VjcmV0c2VjcmV0c2VjcmV0c2VjcmV0", "kid": "oct"},
		map[string]any{"kty": "RSA", "n": "AQAB", "e": "AQ", "kid": "one"},
		map[string]any{"kty": "RSA", "n": strings.Repeat("A", 100_000), "e": "AQAB", "kid": "zero"},
		map[string]any{"kty": "RSA", "n": strings.Repeat("_", 100_000), "e": "AQAB", "kid": "huge"},
		map[string]any{"kty": "what", "kid": "kind"}, map[string]any{"kty": 1}, nil)))
	if err != nil || len(keys) != 1 || keys[0].kid != "good" {
		t.Errorf("%d keys, %v", len(keys), err)
	}
	many := make([]map[string]any, maxKeys+1)
	for i := range many {
		many[i] = goodKey
	}
	if _, err := parseKeys([]byte(jwks(many...))); err == nil {
		t.Error("a set of any size is taken")
	}
	if _, err := parseKeys([]byte(strings.Repeat(publicPEM(p256()), maxTry+1))); err == nil {
		t.Error("more keys without names than are tried")
	}
	if list, _ := choose(keysOf(many), "ES256", ""); len(list) > maxTry {
		t.Errorf("%d signatures would be checked for one token", len(list))
	}
}

func keysOf(list []map[string]any) []key {
	var keys []key
	for _, m := range list {
		k, _ := parseJWK(must(json.Marshal(m)))
		keys = append(keys, k)
	}
	return keys
}

func FuzzKeys(f *testing.F) {
	f.Add([]byte(publicPEM(p256())))
	f.Add([]byte(jwks(jwk(p256().Public(), nil), jwk(edwards().Public(), nil))))
	f.Add([]byte(fmt.Sprint(must(json.Marshal(jwk(rsaKey().Public(), nil))))))
	f.Fuzz(func(t *testing.T, data []byte) {
		keys, err := parseKeys(data)
		if err == nil && len(keys) == 0 {
			t.Fatal("no keys and no error")
		}
		for _, k := range keys {
			if !strong(k.public) {
				t.Fatalf("%T", k.public)
			}
		}
	})
}

func TestHardening_JWKSEndpointDownAtStartIsTolerated(t *testing.T) {
	first := jwks(jwk(p256().Public(), map[string]any{"kid": "k1"}))
	synctest.Test(t, func(t *testing.T) {
		s := &server{err: errors.New("connection refused")}
		v, end := withServer(t, s, nil)
		defer end()
		synctest.Wait()
		token := sign("ES256", p256(), good(), "kid", "k1")
		refused(t, v, token, ErrUnavailable)
		s.set(first, nil)
		time.Sleep(2 * time.Second) // the first retry
		accepted(t, v, token)
	})
}

func TestHardening_JWKSLastGoodSetStaysThroughOutageAndPoison(t *testing.T) {
	first := jwks(jwk(p256().Public(), map[string]any{"kid": "k1"}))
	weak := jwk(p256().Public(), map[string]any{"kid": "k1", "use": "enc"})
	for name, c := range map[string]struct {
		body string
		err  error
	}{
		"outage": {"", errors.New("503")}, "no JSON": {"<html>login</html>", nil}, "cut": {first[:20], nil}, "empty set": {jwks(), nil},
		"null": {`{"keys": null}`, nil}, "array": {"[]", nil}, "only for encryption": {jwks(weak), nil},
		"huge":      {first + strings.Repeat(" ", maxKeyBytes), nil},
		"symmetric": {jwks(map[string]any{"kty": "oct", "k": "c2VjcmV0", "kid": "k1"}), nil},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				token := sign("ES256", p256(), good(), "kid", "k1")
				s := &server{body: first}
				v, end := withServer(t, s, nil)
				defer end()
				synctest.Wait()
				s.set(c.body, c.err)
				time.Sleep(20 * time.Minute)
				if s.count() < 3 {
					t.Errorf("asked %d times", s.count())
				}
				accepted(t, v, token)
			})
		})
	}
}

// A token with a new key is good at once; making up names of keys gives no more than a fetch in ten seconds.
func TestHardening_JWKSUnknownKidRefreshIsRateLimited(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &server{body: jwks(jwk(p256().Public(), map[string]any{"kid": "k1"}))}
		v, end := withServer(t, s, nil)
		defer end()
		synctest.Wait()
		time.Sleep(apart)
		s.set(jwks(jwk(p256().Public(), map[string]any{"kid": "k1"}), jwk(p384().Public(), map[string]any{"kid": "k2"})), nil)
		var all sync.WaitGroup
		for range 50 {
			all.Go(func() { accepted(t, v, sign("ES384", p384(), good(), "kid", "k2")) })
		}
		all.Wait()
		if n := s.count(); n != 2 {
			t.Errorf("asked %d times", n)
		}
		begin := time.Now()
		for n := range 1000 {
			refused(t, v, sign("ES384", p384(), good(), "kid", fmt.Sprint("made-up-", n)), errKey)
			time.Sleep(50 * time.Millisecond)
		}
		if n, most := s.count()-2, int(time.Since(begin)/apart)+1; n > most {
			t.Errorf("asked %d times, at most %d", n, most)
		}
		// While the endpoint is away, an unknown key may be a new one.
		s.set("", errors.New("away"))
		time.Sleep(apart)
		refused(t, v, sign("ES384", p384(), good(), "kid", "k3"), ErrUnavailable)
		refused(t, v, sign("ES384", p384(), good(), "kid", "k3"), ErrUnavailable)
		accepted(t, v, sign("ES384", p384(), good(), "kid", "k2"))
	})
}

// Somebody who makes up names of keys keeps the keys from being fetched for ten seconds. Whoever gets a token with a new key in that time is
// told to come back, and not that his token is no good: an EventSource would never come back then.
func TestHardening_MadeUpKeyNamesDoNotRefuseNewKeys(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &server{body: jwks(jwk(p256().Public(), map[string]any{"kid": "k1"}))}
		v, end := withServer(t, s, nil)
		defer end()
		synctest.Wait()
		time.Sleep(apart)
		forged := sign("ES384", p384(), good(), "kid", "made up")
		refused(t, v, forged, errKey)
		s.set(jwks(jwk(p256().Public(), map[string]any{"kid": "k1"}), jwk(p384().Public(), map[string]any{"kid": "k2"})), nil)
		for range 9 {
			token := sign("ES384", p384(), good(jwt.MapClaims{"iat": time.Now().Unix()}), "kid", "k2")
			refused(t, v, token, ErrUnavailable)
			refused(t, v, forged, errKey)
			time.Sleep(time.Second)
		}
		time.Sleep(time.Second)
		accepted(t, v, sign("ES384", p384(), good(jwt.MapClaims{"iat": time.Now().Unix()}), "kid", "k2"))
		// What was issued before the keys were read, or will be, has no such excuse.
		for _, iat := range []time.Duration{-2 * time.Second, -time.Hour, time.Hour} {
			refused(t, v, sign("ES384", p384(), good(jwt.MapClaims{"iat": time.Now().Add(iat).Unix()}), "kid", "k3"), errKey)
		}
	})
}

func TestHardening_JWKSEndpointThatHangsHoldsNobodyForLong(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v, err := New(Options{Issuers: []Issuer{issuerOf(func(i *Issuer) { i.JWKSURL = "x" })},
			Fetch: func(ctx context.Context, _ string, _ int64) ([]byte, error) { <-ctx.Done(); return nil, ctx.Err() }})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan struct{})
		go func() { defer close(ended); _ = v.Run(ctx) }()
		defer func() { cancel(); <-ended }()
		begin := time.Now()
		refused(t, v, sign("ES256", p256(), good()), ErrUnavailable)
		if d := time.Since(begin); d > fetchTimeout {
			t.Errorf("waited %v", d)
		}
	})
}

// Whoever makes up names of keys while the endpoint hangs keeps no more requests waiting than that.
func TestHardening_JWKSEndpointThatHangsHoldsFew(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hang := func(ctx context.Context, _ string, _ int64) ([]byte, error) { <-ctx.Done(); return nil, ctx.Err() }
		v, err := New(Options{Issuers: []Issuer{issuerOf(func(i *Issuer) { i.JWKSURL = "x" })}, Fetch: hang})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan struct{})
		go func() { defer close(ended); _ = v.Run(ctx) }()
		defer func() { cancel(); <-ended }()
		synctest.Wait()
		var all sync.WaitGroup
		var atOnce, later atomic.Int64
		for n := range 1000 {
			token := sign("ES256", p256(), good(), "kid", fmt.Sprint(n))
			all.Go(func() {
				begin := time.Now()
				refused(t, v, token, ErrUnavailable)
				if time.Since(begin) == 0 {
					atOnce.Add(1)
				} else {
					later.Add(1)
				}
			})
		}
		all.Wait()
		if later.Load() != maxWaiters || atOnce.Load() != 1000-maxWaiters {
			t.Errorf("%d waited, %d did not; want %d to wait", later.Load(), atOnce.Load(), maxWaiters)
		}
		if n := v.issuers[0].waiters; n != 0 {
			t.Errorf("%d still wait", n)
		}
	})
}

// A forger chooses whether his token has a kid, and so how many signatures are checked for it: few, however many keys there are. An issuer
// with more of them than that has to name the key.
func TestHardening_ATokenIsCheckedAgainstFewKeys(t *testing.T) {
	var set []map[string]any
	var private []*ecdsa.PrivateKey
	for n := range maxKeys {
		private = append(private, must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader)))
		set = append(set, jwk(private[n].Public(), map[string]any{"kid": fmt.Sprint(n)}))
	}
	v := withFile(t, jwks(set...))
	for n, key := range private {
		accepted(t, v, sign("ES256", key, good(), "kid", fmt.Sprint(n)))
		if list, _ := choose(v.issuers[0].current(), "ES256", fmt.Sprint(n)); len(list) != 1 {
			t.Errorf("%d keys are called %d", len(list), n)
		}
		if token := sign("ES256", key, good()); n < maxTry {
			accepted(t, v, token)
		} else {
			refused(t, v, token, errSignature)
		}
	}
	if list, _ := choose(v.issuers[0].current(), "ES256", ""); len(list) != maxTry || maxTry > 4 {
		t.Errorf("%d keys are tried for one token", len(list))
	}
	// Keys without a name do not stand in the way of the one that is named.
	for n := range maxTry {
		delete(set[n], "kid")
	}
	v = withFile(t, jwks(set...))
	accepted(t, v, sign("ES256", private[maxKeys-1], good(), "kid", fmt.Sprint(maxKeys-1)))
	accepted(t, v, sign("ES256", private[0], good(), "kid", "of the future"))
	// The same name for all of them helps nobody either.
	for n := range set {
		set[n]["kid"] = "k"
	}
	v = withFile(t, jwks(set...))
	if list, _ := choose(v.issuers[0].current(), "ES256", "k"); len(list) != maxTry {
		t.Errorf("%d keys are tried for one name", len(list))
	}
}
