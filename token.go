package main

import (
	"crypto/rand"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"headgate/internal/config"
	"headgate/internal/subject"
)

// longestToken is more than a day of work needs.
const longestToken = 24 * time.Hour

const tokenUsage = `headgate token prints a signed token for headgate -dev on this machine. Nobody else accepts it.

  -sub alice               who it is for; must be said
  -for 1h                  how long it is good, at most 24h
  -permissions '{"sub":{"allow":["orders.>"]}}'
                           the subjects it may use, in the claim nats: sub and pub, with allow and deny
  -claim tenant=acme       one more claim, as often as needed; a value that is JSON is taken as such: roles='["admin"]'

  curl -N -H "Authorization: Bearer $(%s token -sub alice)" http://127.0.0.1:8080/v1/me/notifications
`

// token prints a token. Only the token goes to stdout, so that a shell can take it.
func (p *program) token(args []string) int {
	claims, err := tokenClaims(args, time.Now())
	if errors.Is(err, flag.ErrHelp) {
		_, err := fmt.Fprintf(p.stdout, tokenUsage, p.name)
		return p.shown(err)
	}
	if err != nil {
		fmt.Fprintf(p.stderr, "headgate token: %v\nheadgate token -help shows what it takes.\n", err)
		return exitUsage
	}
	private, _, err := devKeys(p.cache)
	if err != nil {
		fmt.Fprintf(p.stderr, "headgate token: the key to sign with: %v\n", err)
		return exitFailed
	}
	text, err := jwt.NewWithClaims(jwt.SigningMethodEdDSA, claims).SignedString(private)
	if err != nil {
		fmt.Fprintf(p.stderr, "headgate token: %v\n", err)
		return exitFailed
	}
	_, err = fmt.Fprintln(p.stdout, text)
	return p.shown(err)
}

// tokenClaims are the claims that the arguments ask for.
func tokenClaims(args []string, now time.Time) (jwt.MapClaims, error) {
	claims := jwt.MapClaims{"iss": config.DevIssuer, "aud": config.DevIssuer, "iat": now.Unix(), "jti": rand.Text()}
	set := flag.NewFlagSet("headgate token", flag.ContinueOnError)
	set.SetOutput(io.Discard)
	sub := set.String("sub", "", "")
	life := set.Duration("for", time.Hour, "")
	permissionsClaim := config.DefaultConfig().Auth.PermissionsClaim
	set.Func("permissions", "", func(text string) error {
		granted, err := parsePermissions(text)
		claims[permissionsClaim] = granted
		return err
	})
	set.Func("claim", "", func(text string) error {
		name, value, ok := strings.Cut(text, "=")
		switch {
		case !ok || name == "":
			return errors.New("write name=value")
		case slices.Contains([]string{"iss", "aud", "iat", "jti", "sub", "exp", permissionsClaim}, name):
			return fmt.Errorf("%s has another flag, or is not to be chosen", name)
		}
		claims[name] = claimValue(value)
		return nil
	})
	if err := set.Parse(args); err != nil {
		return nil, err
	}
	switch {
	case set.NArg() > 0:
		return nil, fmt.Errorf("unexpected argument %q: quote a value that has spaces in it", set.Arg(0))
	case *sub == "":
		return nil, errors.New("-sub is missing: say who the token is for, -sub alice")
	case *life < time.Second || *life > longestToken:
		return nil, fmt.Errorf("-for %s: from 1s to %s; another token is quickly made", *life, longestToken)
	}
	claims["sub"], claims["exp"] = *sub, now.Add(*life).Unix()
	return claims, nil
}

// claimValue is JSON where the text is, else the text. Numbers stay as they are written.
func claimValue(text string) any {
	if json.Valid([]byte(text)) {
		return json.RawMessage(text)
	}
	return text
}

// side is one direction of permissions. A list that is there but empty allows nothing.
type side struct {
	Allow *[]string `json:"allow,omitempty"`
	Deny  *[]string `json:"deny,omitempty"`
}

type granted struct {
	Sub *side `json:"sub,omitempty"`
	Pub *side `json:"pub,omitempty"`
}

// parsePermissions refuses what a gateway would refuse the token for, while somebody is there to mend it.
func parsePermissions(text string) (granted, error) {
	const form = `write {"sub": {"allow": ["orders.>"], "deny": ["orders.internal.>"]}, "pub": {"allow": ["chat.*"]}}`
	var g granted
	d := json.NewDecoder(strings.NewReader(text))
	d.DisallowUnknownFields()
	if err := d.Decode(&g); err != nil || d.More() {
		return g, errors.New(form)
	}
	for _, s := range []*side{g.Sub, g.Pub} {
		if s == nil {
			continue
		}
		for _, list := range []*[]string{s.Allow, s.Deny} {
			if list == nil {
				continue
			}
			for _, pattern := range *list {
				if err := subject.Valid(pattern); err != nil {
					return g, fmt.Errorf("%w; %s", err, form)
				}
			}
		}
	}
	return g, nil
}
