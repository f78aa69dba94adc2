package config

import (
	"strings"
	"testing"
)

func TestControl_EachMistakeHasItsMessage(t *testing.T) {
	jwt := []string{"AUTH_MODE=jwt", "AUTH_ISSUER=i", "AUTH_AUDIENCE=a", "AUTH_JWKS_URL=https://i.example/k", "SUBJECTS_ALLOW=feed.>"}
	for _, c := range []struct {
		name string
		env  []string
		want string
	}{
		{"a TTL without a bucket", []string{"AUTH_REVOCATION_TTL=1h"}, "there is no bucket"},
		{"a TTL that forgets too soon", []string{"AUTH_REVOCATION_BUCKET=R", "AUTH_REVOCATION_TTL=10s"}, "would be good again"},
		{"no bucket's name", []string{"AUTH_REVOCATION_BUCKET=a.b"}, "cannot be a bucket's name"},
		{"nobody to revoke", []string{"AUTH_MODE=none", "AUTH_ISSUER=", "AUTH_AUDIENCE=", "AUTH_JWKS_URL=", "AUTH_REVOCATION_BUCKET=R"}, "nobody shows a token"},
		{"control where routes get", []string{"CONTROL=true", "CONTROL_PREFIX=headgate"}, "routes could lead there"},
		{"control with a wildcard", []string{"CONTROL_PREFIX=_HEADGATE.>"}, "wildcards are not allowed"},
		{"control in NATS's own subjects", []string{"CONTROL_PREFIX=$KV.R"}, "NATS's own"},
		{"control among inboxes", []string{"CONTROL_PREFIX=_INBOX_headgate.ctl"}, "NATS_INBOX_PREFIX"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, _, err := Load(Options{Environ: append(append([]string{}, jwt...), c.env...)})
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("error %v, want one with %q", err, c.want)
			}
		})
	}
	c, _, err := Load(Options{Environ: append(append([]string{}, jwt...), "AUTH_REVOCATION_BUCKET=R", "AUTH_REVOCATION_TTL=24h", "CONTROL=true", "CONTROL_PREFIX=$EDGE.ctl.")})
	if err != nil || c.ControlPrefix != "$EDGE.ctl" || c.Auth.SessionClaim != "sid" {
		t.Errorf("prefix %q, session claim %q, error %v", c.ControlPrefix, c.Auth.SessionClaim, err)
	}
}

// Nobody reads why others were revoked.
func TestControl_NoRouteReadsTheRevocations(t *testing.T) {
	file := "version: 1\nroutes:\n  - {name: r, path: /r, source: {type: kv, bucket: R}}\n"
	_, _, err := Load(Options{Environ: []string{"AUTH_MODE=jwt", "AUTH_ISSUER=i", "AUTH_AUDIENCE=a", "AUTH_JWKS_URL=https://i.example/k", "ROUTES_FILE=/r.yaml",
		"AUTH_REVOCATION_BUCKET=R"}, ReadFile: func(string) ([]byte, error) { return []byte(file), nil }})
	if err == nil || !strings.Contains(err.Error(), "holds the revocations") {
		t.Errorf("error %v", err)
	}
}
