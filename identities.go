package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"time"

	"headgate/auth"
	"headgate/gateway"
	"headgate/internal/config"
)

// identities makes what verifies tokens, and reads the key files. With AUTH_MODE=none there is nothing, and nobody has an identity.
func (s *system) identities() (gateway.Identities, error) {
	a := s.cfg.Auth
	if a.Mode != "jwt" {
		return nil, nil
	}
	if a.RevocationBucket != "" {
		s.revoked = auth.NewRevocations(a.RevocationEntries, s.log, s.registry)
		s.bridge.Watch(s.cfg, watched{s.revoked}, s.log)
	}
	trust := trustOf(a)
	v, err := auth.New(auth.Options{Issuers: trust.Issuers, PermissionsClaim: trust.PermissionsClaim, Anonymous: trust.Anonymous, Revocations: s.revoked,
		SessionClaim: a.SessionClaim, Leeway: a.Leeway, Fetch: newKeyFetcher().fetch, Log: s.log, Metrics: s.registry})
	if err != nil {
		return nil, err
	}
	if err := v.Load(); err != nil {
		return nil, err
	}
	s.auth = v
	return v, nil
}

// trustOf is what the routes file can say of callers.
func trustOf(a config.Auth) auth.Trust {
	t := auth.Trust{PermissionsClaim: a.PermissionsClaim, Anonymous: auth.Grants{Sub: permissions(a.Anonymous.Sub), Pub: permissions(a.Anonymous.Pub)}}
	for _, i := range a.Issuers {
		t.Issuers = append(t.Issuers, auth.Issuer{Name: i.Issuer, Audience: i.Audience, JWKSURL: i.JWKSURL, KeyFile: i.KeyFile,
			SecretFile: i.SecretFile, Algorithms: i.Algorithms, Type: i.Type})
	}
	return t
}

func permissions(s config.Side) auth.Permissions {
	return auth.Permissions{Allow: s.Allow, Deny: s.Deny}
}

// keyFetcher gets JWK sets. A redirect is not followed: the configuration says where the keys are, and it is the only one who does.
type keyFetcher struct{ client http.Client }

func newKeyFetcher() *keyFetcher {
	return &keyFetcher{http.Client{
		Transport: &http.Transport{Proxy: http.ProxyFromEnvironment, TLSClientConfig: &tls.Config{MinVersion: tls.VersionTLS12},
			DisableKeepAlives: true, ResponseHeaderTimeout: 5 * time.Second, MaxResponseHeaderBytes: 64 << 10, ForceAttemptHTTP2: true},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
}

func (f *keyFetcher) fetch(ctx context.Context, from string, most int64) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, from, nil)
	if err != nil {
		return nil, errors.New("not a URL that can be fetched")
	}
	req.Header.Set("Accept", "application/jwk-set+json, application/json") // RFC 7517, section 8.5.2
	resp, err := f.client.Do(req)
	if err != nil {
		var whole *url.Error
		if errors.As(err, &whole) {
			err = whole.Err // without the URL, which may hold a key of its own
		}
		return nil, err
	}
	defer func() { _ = resp.Body.Close() }()
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("the answer is %d, not 200", resp.StatusCode)
	}
	return io.ReadAll(io.LimitReader(resp.Body, most+1)) // one more, for the reader to see that it is too much
}
