//go:build linux

package main

import (
	"context"
	"crypto/ecdsa"
	"encoding/base64"
	"encoding/json"
	"errors"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"time"
)

// keyEndpoint is where an issuer publishes its keys: one that no token names until rotate, and then the one of the tokens.
type keyEndpoint struct {
	*http.Server
	rotated, asked atomic.Int64
}

const (
	oldKey, newKey = "old", "new"
	// fetchesApart is a bit more than the time between two fetches of a gateway because of unknown keys.
	fetchesApart = 11 * time.Second
)

// publish begins the endpoint. Tokens of ES256 alone can have one.
func (t *tokens) publish() error {
	public, ok := t.key.Public().(*ecdsa.PublicKey)
	if !ok {
		return errors.New("keys of ES256 alone can be published")
	}
	point, err := public.Bytes()
	if err != nil {
		return err
	}
	e := &keyEndpoint{}
	e.Server = &http.Server{ReadHeaderTimeout: time.Second, Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		kid := oldKey
		if e.rotated.Load() > 0 {
			kid = newKey
		}
		e.asked.Add(1)
		text := base64.RawURLEncoding.EncodeToString
		_ = json.NewEncoder(w).Encode(map[string]any{"keys": []map[string]string{
			{"kty": "EC", "crv": "P-256", "kid": kid, "x": text(point[1:33]), "y": text(point[33:])}}})
	})}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	go func() { _ = e.Serve(listener) }()
	t.endpoint = e
	var settings []string
	for _, s := range t.settings {
		if !strings.HasPrefix(s, "AUTH_KEY_FILE=") {
			settings = append(settings, s)
		}
	}
	t.settings = append(settings, "AUTH_JWKS_URL=http://"+listener.Addr().String()+"/jwks.json")
	return nil
}

// rotate publishes the key of the tokens, when the gateway has read the old one and may ask again.
func (t *tokens) rotate(ctx context.Context) error {
	for deadline := now() + int64(10*time.Second); t.endpoint.asked.Load() == 0; {
		if now() > deadline {
			return errors.New("nobody has asked for the keys")
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.endpoint.rotated.Store(1)
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-time.After(fetchesApart):
		return nil
	}
}
