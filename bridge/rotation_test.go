package bridge

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nkeys"

	"headgate/internal/config"
	"headgate/internal/devnats"
)

// TestRotation_ASecretInAFileIsReadAgain changes the secret of the server first, so that headgate is refused for a while.
func TestRotation_ASecretInAFileIsReadAgain(t *testing.T) {
	const before, after = "before-the-rotation", "after-the-rotation"
	for _, c := range []struct {
		name   string
		set    func(n *config.NATS, file string)
		expect func(secret string) func(*server.Options)
		remedy string
	}{
		{"the password", func(n *config.NATS, file string) { n.User, n.Password, n.PasswordFile = "gate", before, file },
			func(secret string) func(*server.Options) {
				return func(o *server.Options) { o.Username, o.Password = "gate", secret }
			}, "compare NATS_USER and NATS_PASSWORD with the server's users; NATS_PASSWORD_FILE is read again"},
		{"the token", func(n *config.NATS, file string) { n.Token, n.TokenFile = before, file },
			func(secret string) func(*server.Options) {
				return func(o *server.Options) { o.Authorization = secret }
			}, "compare NATS_TOKEN with the server's token; NATS_TOKEN_FILE is read again"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := startNATS(t, devnats.Options{Configure: c.expect(before)})
			cfg := testNATS(s.URL())
			file := filepath.Join(t.TempDir(), "secret")
			writeFile(t, file, []byte(before+"\n"))
			c.set(&cfg, file)
			r := connectedBridge(t, cfg, 0)
			if err := s.Reload(c.expect(after)); err != nil {
				t.Fatal(err)
			}
			tellsRefusal(t, r, "authorization violation", c.remedy)
			writeFile(t, file, []byte(after+"\n"))
			eventually(t, "the connection", func() bool { return r.Health().Connected })
			if _, err := r.Publish(t.Context(), "a", nil, nil); err != nil {
				t.Fatal(err)
			}
			silent(t, r, before, after)
		})
	}
}

func TestRotation_AFileThatIsGoneIsTold(t *testing.T) {
	server := func(secret string) func(*server.Options) {
		return func(o *server.Options) { o.Authorization = secret }
	}
	s := startNATS(t, devnats.Options{Configure: server("the-first-token")})
	cfg := testNATS(s.URL())
	cfg.Token, cfg.TokenFile = "the-first-token", filepath.Join(t.TempDir(), "gone")
	r := connectedBridge(t, cfg, 0) // with what was read at the start
	if err := s.Reload(server("another-token")); err != nil {
		t.Fatal(err)
	}
	tellsRefusal(t, r, "authorization violation", "NATS_TOKEN_FILE cannot be read, so an older token is tried")
	silent(t, r, "the-first-token")
}

func TestAuth_AnNkeyThatTheServerAllowsLaterConnects(t *testing.T) {
	ours, other := ok[nkeys.KeyPair](t)(nkeys.CreateUser()), ok[nkeys.KeyPair](t)(nkeys.CreateUser())
	allow := func(kp nkeys.KeyPair) func(*server.Options) {
		pub := ok[string](t)(kp.PublicKey())
		return func(o *server.Options) { o.Nkeys = []*server.NkeyUser{{Nkey: pub}} }
	}
	s := startNATS(t, devnats.Options{Configure: allow(other)})
	seed := ok[[]byte](t)(ours.Seed())
	cfg := testNATS(s.URL())
	cfg.NkeyFile = filepath.Join(t.TempDir(), "gate.nk")
	writeFile(t, cfg.NkeyFile, seed)
	r := startBridge(t, cfg, 0)
	tellsRefusal(t, r, "authorization violation", "allow the public key of NATS_NKEY_FILE on the server")
	if err := s.Reload(allow(ours)); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the connection", func() bool { return r.Health().Connected })
	silent(t, r, string(seed))
}

func TestAuth_AServerThatWantsCredentialsSaysSo(t *testing.T) {
	s := startNATS(t, devnats.Options{Configure: func(o *server.Options) { o.Authorization = "t0ken-of-gate" }})
	r := startBridge(t, testNATS(s.URL()), 0)
	tellsRefusal(t, r, "authorization violation", "the server wants to know who headgate is: set NATS_CREDS_FILE")
}

// tellsRefusal waits until health and log say why there is no connection, and the log what to do about it.
func tellsRefusal(t *testing.T, r *running, why, remedy string) {
	t.Helper()
	t.Cleanup(func() {
		if t.Failed() {
			t.Log(r.Health().Detail, r.log)
		}
	})
	eventually(t, "the reason", func() bool { return strings.Contains(strings.ToLower(r.Health().Detail), why) })
	eventually(t, "a line in the log", func() bool {
		for line := range strings.Lines(r.log.String()) {
			if strings.Contains(line, "cannot connect to NATS; headgate keeps trying") && strings.Contains(line, "server=127.0.0.1:") &&
				strings.Contains(strings.ToLower(line), why) && strings.Contains(line, remedy) {
				return true
			}
		}
		return false
	})
	if r.Health().Connected {
		t.Fatal("connected")
	}
}
