package auth

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

func TestJWKS_EndpointDownAtStartIsTolerated(t *testing.T) {
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

func TestJWKS_LastGoodSetStaysThroughOutageAndPoison(t *testing.T) {
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

func TestJWKS_AWithdrawnKeyIsNoLongerGoodAfterTheRefresh(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &server{body: jwks(jwk(p256().Public(), map[string]any{"kid": "k1"}))}
		v, end := withServer(t, s, nil)
		defer end()
		synctest.Wait()
		token := sign("ES256", p256(), good(), "kid", "k1")
		accepted(t, v, token)
		s.set(jwks(jwk(p384().Public(), map[string]any{"kid": "k2"})), nil)
		time.Sleep(refreshURL + refreshURL/10)
		refused(t, v, token, errKey) // the cache was emptied with it
		accepted(t, v, sign("ES384", p384(), good(), "kid", "k2"))
	})
}

// A token with a new key is good at once; making up names of keys gives no more than a fetch in ten seconds.
func TestJWKS_UnknownKidRefreshIsRateLimited(t *testing.T) {
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

func TestJWKS_AnEndpointThatHangsHoldsNobodyForLong(t *testing.T) {
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
func TestJWKS_AnEndpointThatHangsHoldsFew(t *testing.T) {
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

func TestKeyFile_IsReadAgainWhenItChanges(t *testing.T) {
	before, after := publicPEM(p256()), publicPEM(p384())
	synctest.Test(t, func(t *testing.T) {
		i := issuerOf()
		i.KeyFile = file(t, before)
		v := loaded(t, Options{Issuers: []Issuer{i}})
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan struct{})
		go func() { defer close(ended); _ = v.Run(ctx) }()
		defer func() { cancel(); <-ended }()
		token := sign("ES256", p256(), good())
		accepted(t, v, token)
		if err := os.WriteFile(i.KeyFile, []byte(after), 0o600); err != nil {
			t.Fatal(err)
		}
		time.Sleep(2 * refreshFile)
		refused(t, v, token, errKey) // without kid, no key of its kind is left
		accepted(t, v, sign("ES384", p384(), good()))
		// A file that is being written, or gone, changes nothing.
		_ = os.WriteFile(i.KeyFile, []byte("-----BEGIN PUB"), 0o600)
		time.Sleep(2 * refreshFile)
		_ = os.Remove(i.KeyFile)
		time.Sleep(2 * refreshFile)
		accepted(t, v, sign("ES384", p384(), good()))
	})
}

func TestLog_NamesTheIssuerAndNoSecret(t *testing.T) {
	var out bytes.Buffer
	synctest.Test(t, func(t *testing.T) {
		s := &server{err: errors.New("status 500")}
		v, end := withServer(t, s, slog.New(slog.NewTextHandler(&out, nil)))
		synctest.Wait()
		token := sign("ES256", p256(), good(), "kid", "kid-of-caller")
		refused(t, v, token, ErrUnavailable)
		end()
		if text := out.String(); !strings.Contains(text, "https://issuer.example") || strings.Contains(text, "kid-of-caller") || strings.Contains(text, token) {
			t.Error(text)
		}
	})
}

// Once other keys are in place, no token of the old ones is good, however many are being verified meanwhile.
func TestKeys_ChangeUnderLoad(t *testing.T) {
	sets := []string{jwks(jwk(p256().Public(), map[string]any{"kid": "a"})), jwks(jwk(p384().Public(), map[string]any{"kid": "b"}))}
	tokens := []string{sign("ES256", p256(), good(), "kid", "a"), sign("ES384", p384(), good(), "kid", "b")}
	s := &server{body: sets[0]}
	v, err := New(Options{Issuers: []Issuer{issuerOf(func(i *Issuer) { i.JWKSURL = "x" })}, Fetch: s.fetch})
	if err != nil {
		t.Fatal(err)
	}
	stop := make(chan struct{})
	var load sync.WaitGroup
	defer load.Wait()
	defer close(stop)
	if err := v.issuers[0].attempt(t.Context()); err != nil {
		t.Fatal(err)
	}
	for n := range 4 {
		load.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
					_, _ = v.Identify(t.Context(), tokens[n%2])
				}
			}
		})
	}
	for n := range 100 {
		now := n % 2
		s.set(sets[now], nil)
		if err := v.issuers[0].attempt(t.Context()); err != nil {
			t.Fatal(err)
		}
		accepted(t, v, tokens[now])
		refused(t, v, tokens[1-now], errKey)
	}
}
