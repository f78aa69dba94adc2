package bridge

import (
	"fmt"
	"log/slog"
	"path/filepath"
	"strings"
	"testing"

	"github.com/nats-io/nats-server/v2/server"

	"headgate/internal/config"
	"headgate/internal/devnats"
)

// secretCase is one way to give headgate a secret of which no part may be seen again.
type secretCase struct {
	name     string
	userinfo string // of the URL
	user     string // what the server expects; without a user it is a token
	secret   string
	set      func(*config.NATS)
}

func (c secretCase) server(secret string) func(*server.Options) {
	return func(o *server.Options) {
		if c.user == "" {
			o.Authorization = secret
			return
		}
		o.Username, o.Password = c.user, secret
	}
}

// parts are the words of the secret, since whatever cuts it at a special character shows one of them.
var secretParts = []string{"alph4", "0mega", "us3rname"}

// TestSecrets_AreSeenNowhere takes a bridge through a connect, an outage, a reconnect and a refusal, with each kind of secret.
func TestSecrets_AreSeenNowhere(t *testing.T) {
	file := filepath.Join(t.TempDir(), "secret")
	const odd = `alph4@0mega'/%"x`
	writeFile(t, file, []byte(odd+"\n"))
	for _, c := range []secretCase{
		{name: "a token in the URL", userinfo: "alph40mega", secret: "alph40mega"},
		{name: "a token with an @ in the URL", userinfo: "alph4@0mega", secret: "alph4@0mega"},
		{name: "an escaped token in the URL", userinfo: "alph4%40%3a%2F0mega", secret: "alph4@:/0mega"},
		{name: "a password in the URL", userinfo: "us3rname:alph40mega", user: "us3rname", secret: "alph40mega"},
		{name: "a password with an @ in the URL", userinfo: "us3rname:alph4@0mega", user: "us3rname", secret: "alph4@0mega"},
		{name: "a password with a quote in the URL", userinfo: "us3rname:alph4'0mega", user: "us3rname", secret: "alph4'0mega"},
		{name: "a password with a colon in the URL", userinfo: "us3rname:alph4:0mega", user: "us3rname", secret: "alph4:0mega"},
		{name: "an escaped password in the URL", userinfo: "us3rname:alph4%25%2f%40%230mega", user: "us3rname", secret: "alph4%/@#0mega"},
		{name: "a password", user: "us3rname", secret: odd, set: func(n *config.NATS) { n.User, n.Password = "us3rname", odd }},
		{name: "a token", secret: odd, set: func(n *config.NATS) { n.Token = odd }},
		{name: "a file with a password", user: "us3rname", secret: odd, set: func(n *config.NATS) { n.User, n.PasswordFile = "us3rname", file }},
		{name: "a file with a token", secret: odd, set: func(n *config.NATS) { n.TokenFile, n.Token = file, odd }},
	} {
		t.Run(c.name, func(t *testing.T) { c.run(t) })
	}
}

func (c secretCase) run(t *testing.T) {
	s := startNATS(t, devnats.Options{Configure: c.server(c.secret)})
	address := strings.TrimPrefix(s.URL(), "nats://")
	cfg := testNATS(s.URL())
	if c.userinfo != "" {
		cfg.URL = "nats://" + c.userinfo + "@" + address
	}
	if c.set != nil {
		c.set(&cfg)
	}
	r := connectedBridge(t, cfg, 0)
	var seen []string
	look := func() {
		seen = append(seen, r.Health().Detail)
		if _, err := r.Publish(t.Context(), "a", nil, nil); err != nil {
			seen = append(seen, err.Error())
		}
		if _, err := r.Open(t.Context(), request("", "a")); err != nil {
			seen = append(seen, err.Error())
		}
	}
	look()
	if want := "server=" + address + " "; !strings.Contains(r.log.String(), want) {
		t.Errorf("no %q in the log: %s", want, r.log)
	}
	s.Stop()
	eventually(t, "the outage", func() bool { return strings.Contains(r.Health().Detail, "refused") })
	look()
	if err := s.Restart(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the connection", func() bool { return r.Health().Connected })
	if err := s.Reload(c.server("something-else-0")); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the refusal", func() bool { return strings.Contains(r.log.String(), `remedy="compare`) })
	look()
	for _, server := range []string{"nats://h:x," + cfg.URL, cfg.URL + "/path", "nats://" + c.userinfo, strings.Replace(cfg.URL, "@", "#", 1)} {
		broken := cfg
		broken.URL = server
		if _, err := New(config.Config{NATS: broken}, slog.New(slog.DiscardHandler), nil); err != nil {
			seen = append(seen, err.Error())
		}
	}
	seen = append(seen, r.log.String(), fmt.Sprintf("%+v", r.Health()))
	r.stop()
	for _, text := range append(seen, r.log.String()) {
		for _, part := range secretParts {
			if strings.Contains(text, part) {
				t.Fatalf("%q is in: %s", part, text)
			}
		}
	}
}
