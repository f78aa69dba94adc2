package auth

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"os"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

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

// Five minutes are the longest that a withdrawn key is good: however long the answers take, wherever in the jitter, and also when the
// issuer was read some time before its reload took effect.
func TestJWKS_AWithdrawnKeyIsGoodForFiveMinutesAtMost(t *testing.T) {
	for range 100 {
		synctest.Test(t, func(t *testing.T) {
			const slow = fetchTimeout - time.Millisecond
			begin := time.Now()
			fetch := func(context.Context, string, int64) ([]byte, error) {
				body := jwks(jwk(p256().Public(), map[string]any{"kid": "k1"}))
				if time.Now().After(begin) {
					body = jwks(jwk(p384().Public(), map[string]any{"kid": "k2"}))
				}
				time.Sleep(slow)
				return []byte(body), nil
			}
			v, err := New(Options{Issuers: []Issuer{issuerOf(func(i *Issuer) { i.JWKSURL = "x" })}, Fetch: fetch})
			if err != nil {
				t.Fatal(err)
			}
			if err := v.issuers[0].attempt(t.Context()); err != nil { // as Next does
				t.Fatal(err)
			}
			time.Sleep(time.Minute) // while streams are read into memory
			token := sign("ES256", p256(), good(), "kid", "k1")
			accepted(t, v, token)
			ctx, cancel := context.WithCancel(t.Context())
			ended := make(chan struct{})
			go func() { defer close(ended); _ = v.Run(ctx) }()
			defer func() { cancel(); <-ended }()
			time.Sleep(time.Until(begin.Add(5 * time.Minute)))
			refused(t, v, token, errKey)
		})
	}
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
		if got := v.KeysState(); got != "in use, issuers: 1" {
			t.Errorf("the state is %q", got)
		}
		_ = os.WriteFile(i.KeyFile, []byte("-----BEGIN PUB"), 0o600)
		time.Sleep(2 * refreshFile)
		if got := v.KeysState(); !strings.Contains(got, "its key file: ") || !strings.Contains(got, "stay in use") || strings.Contains(got, "BEGIN") {
			t.Errorf("the state is %q", got)
		}
		_ = os.Remove(i.KeyFile)
		time.Sleep(2 * refreshFile)
		accepted(t, v, sign("ES384", p384(), good()))
		_ = os.WriteFile(i.KeyFile, []byte(after), 0o600)
		time.Sleep(2 * retryMost)
		if got := v.KeysState(); got != "in use, issuers: 1" {
			t.Errorf("the state is %q", got)
		}
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
