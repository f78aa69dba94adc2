package bridge

import (
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/jwt/v2"
	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nkeys"

	"headgate/internal/config"
	"headgate/internal/devnats"
)

// ok fails the test on an error: ok(t)(f()) is f's value.
func ok[T any](t *testing.T) func(T, error) T {
	return func(v T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

func writeFile(t *testing.T, path string, data []byte) {
	t.Helper()
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
}

// works says that a bridge connects and relays, and that its log holds none of the secrets.
func works(t *testing.T, cfg config.NATS, secrets ...string) {
	t.Helper()
	r := connectedBridge(t, cfg, 0)
	sink, _, _ := r.follow(request("", "a"))
	if _, err := r.Publish(t.Context(), "a", nil, []byte("x")); err != nil {
		t.Fatal(err)
	}
	sink.waitFor(t, "x")
	silent(t, r, secrets...)
	r.stop()
}

// refused says that a bridge keeps trying and tells why and what to do, without the secrets.
func refused(t *testing.T, cfg config.NATS, why, remedy string, secrets ...string) {
	t.Helper()
	r := startBridge(t, cfg, 0)
	tellsRefusal(t, r, why, remedy)
	silent(t, r, secrets...)
	r.stop()
}

func silent(t *testing.T, r *running, secrets ...string) {
	t.Helper()
	for _, s := range secrets {
		if strings.Contains(r.log.String(), s) || strings.Contains(r.Health().Detail, s) {
			t.Fatalf("a secret is in the log or the health: %s %+v", r.log, r.Health())
		}
	}
}

func TestAuth_UserAndPassword(t *testing.T) {
	const secret, wrong = "pa55word-of-gate", "an0ther-password"
	s := startNATS(t, devnats.Options{Configure: func(o *server.Options) { o.Username, o.Password = "gate", secret }})
	cfg := testNATS(s.URL())
	cfg.User, cfg.Password = "gate", secret
	works(t, cfg, secret)
	cfg.Password = wrong
	refused(t, cfg, "authorization violation", "compare NATS_USER and NATS_PASSWORD", wrong)
	works(t, testNATS(strings.Replace(s.URL(), "nats://", "nats://gate:"+secret+"@", 1)), secret)
	refused(t, testNATS(strings.Replace(s.URL(), "nats://", "nats://gate:"+wrong+"@", 1)), "authorization violation",
		"compare the user, password or token in NATS_URL", wrong)
}

func TestAuth_Token(t *testing.T) {
	const secret, wrong = "t0ken-of-gate", "an0ther-token"
	s := startNATS(t, devnats.Options{Configure: func(o *server.Options) { o.Authorization = secret }})
	cfg := testNATS(s.URL())
	cfg.Token = secret
	works(t, cfg, secret)
	cfg.Token = wrong
	refused(t, cfg, "authorization violation", "compare NATS_TOKEN", wrong)
	works(t, testNATS(strings.Replace(s.URL(), "nats://", "nats://"+secret+"@", 1)), secret)
	refused(t, testNATS(strings.Replace(s.URL(), "nats://", "nats://"+wrong+"@", 1)), "authorization violation",
		"compare the user, password or token in NATS_URL", wrong)
}

func TestAuth_Nkey(t *testing.T) {
	kp := ok[nkeys.KeyPair](t)(nkeys.CreateUser())
	pub, seed := ok[string](t)(kp.PublicKey()), ok[[]byte](t)(kp.Seed())
	s := startNATS(t, devnats.Options{Configure: func(o *server.Options) { o.Nkeys = []*server.NkeyUser{{Nkey: pub}} }})
	cfg := testNATS(s.URL())
	cfg.NkeyFile = filepath.Join(t.TempDir(), "gate.nk")
	writeFile(t, cfg.NkeyFile, seed)
	works(t, cfg, string(seed))
}

// operator is an operator with one account, and a server that trusts it.
type operator struct {
	account   nkeys.KeyPair
	configure func(*server.Options)
}

func newOperator(t *testing.T) operator {
	t.Helper()
	op, account := ok[nkeys.KeyPair](t)(nkeys.CreateOperator()), ok[nkeys.KeyPair](t)(nkeys.CreateAccount())
	oc := jwt.NewOperatorClaims(ok[string](t)(op.PublicKey()))
	ojwt := ok[string](t)(oc.Encode(op))
	apub := ok[string](t)(account.PublicKey())
	ajwt := ok[string](t)(jwt.NewAccountClaims(apub).Encode(op))
	resolver := &server.MemAccResolver{}
	if err := resolver.Store(apub, ajwt); err != nil {
		t.Fatal(err)
	}
	return operator{account, func(o *server.Options) {
		o.TrustedOperators = []*jwt.OperatorClaims{ok[*jwt.OperatorClaims](t)(jwt.DecodeOperatorClaims(ojwt))}
		o.AccountResolver = resolver
	}}
}

// creds is a credentials file for a new user, who may be known for a while only.
func (o operator) creds(t *testing.T, life time.Duration) (file []byte, seed string) {
	t.Helper()
	user := ok[nkeys.KeyPair](t)(nkeys.CreateUser())
	uc := jwt.NewUserClaims(ok[string](t)(user.PublicKey()))
	if life > 0 {
		uc.Expires = time.Now().Add(life).Unix()
	}
	ujwt := ok[string](t)(uc.Encode(o.account))
	useed := ok[[]byte](t)(user.Seed())
	return ok[[]byte](t)(jwt.FormatUserConfig(ujwt, useed)), string(useed)
}

func TestAuth_CredentialsAreReadAgainAtEachConnect(t *testing.T) {
	op := newOperator(t)
	s := startNATS(t, devnats.Options{Configure: op.configure})
	cfg := testNATS(s.URL())
	cfg.CredsFile = filepath.Join(t.TempDir(), "gate.creds")
	file, seed := op.creds(t, 2*time.Second) // a server counts whole seconds
	writeFile(t, cfg.CredsFile, file)
	r := connectedBridge(t, cfg, 0)
	sink, _, _ := r.follow(request("", "a"))
	renewed, newSeed := op.creds(t, 0)
	writeFile(t, cfg.CredsFile, renewed)
	sink.waitFor(t, reconnectGap) // the old ones have expired
	eventually(t, "the connection", func() bool { return r.Health().Connected })
	if _, err := r.Publish(t.Context(), "a", nil, []byte("x")); err != nil {
		t.Fatal(err)
	}
	sink.waitFor(t, reconnectGap, "x")
	silent(t, r, seed, newSeed)
}

func TestAuth_RefusedCredentialsAreTriedUntilThereAreOthers(t *testing.T) {
	op := newOperator(t)
	s := startNATS(t, devnats.Options{Configure: op.configure})
	cfg := testNATS(s.URL())
	cfg.CredsFile = filepath.Join(t.TempDir(), "gate.creds")
	stranger, strangerSeed := newOperator(t).creds(t, 0)
	writeFile(t, cfg.CredsFile, stranger)
	r := startBridge(t, cfg, 0)
	attempts := make(map[time.Time]bool)
	eventually(t, "the refusal, again and again", func() bool {
		conns, err := s.NATS().Connz(&server.ConnzOptions{State: server.ConnClosed})
		if err != nil {
			t.Fatal(err)
		}
		for _, c := range conns.Conns {
			attempts[c.Start] = true
		}
		return strings.Contains(strings.ToLower(r.Health().Detail), "authorization violation") && len(attempts) > 5
	})
	valid, seed := op.creds(t, 0)
	writeFile(t, cfg.CredsFile, valid)
	eventually(t, "the connection", func() bool { return r.Health().Connected })
	silent(t, r, strangerSeed, seed)
}

func TestNew_SaysWhatIsWrongWithTheConfiguration(t *testing.T) {
	dir := t.TempDir()
	garbage := filepath.Join(dir, "garbage")
	writeFile(t, garbage, []byte("garbage"))
	const secret = "s3cr#t/pass"
	for _, c := range []struct {
		name string
		set  func(*config.NATS)
		want string
	}{
		{"no URL", func(n *config.NATS) { n.URL = "nats://" }, "NATS_URL"},
		{"a password that breaks the URL", func(n *config.NATS) { n.URL = "nats://gate:" + secret + "@nats:4222" }, "NATS_URL: server 1"},
		{"a path", func(n *config.NATS) { n.URL = "nats://a:4222,nats://nats:4222/t/pass" }, "server 2 of the list has a path"},
		{"a password with a slash", func(n *config.NATS) { n.URL = "nats://a:4222,nats://gate:1/x@nats:4222" },
			"server 2 of the list has an @ behind the host"},
		{"a token with a #", func(n *config.NATS) { n.URL = "nats://gate#x@nats:4222" }, "server 1 of the list has an @ behind the host"},
		{"a password with a comma", func(n *config.NATS) { n.URL = "nats://gate:12,s3cr@nats:4222" }, "may be the rest of a password"},
		{"no creds file", func(n *config.NATS) { n.CredsFile = filepath.Join(dir, "absent") }, "NATS_CREDS_FILE"},
		{"no nkey", func(n *config.NATS) { n.NkeyFile = garbage }, "NATS_NKEY_FILE"},
		{"no CA", func(n *config.NATS) { n.TLSCAFile = garbage }, "NATS_TLS_CA_FILE"},
		{"half a client certificate", func(n *config.NATS) { n.TLSCertFile = garbage }, "needs both"},
		{"no client certificate", func(n *config.NATS) { n.TLSCertFile, n.TLSKeyFile = garbage, garbage }, "NATS_TLS_CERT_FILE"},
	} {
		t.Run(c.name, func(t *testing.T) {
			cfg := testNATS("nats://127.0.0.1:4222")
			c.set(&cfg)
			_, err := New(config.Config{NATS: cfg}, slog.New(slog.DiscardHandler), nil)
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Fatalf("got %v", err)
			}
			for _, part := range []string{"s3cr", "t/pass", "gate"} {
				if strings.Contains(err.Error(), part) {
					t.Fatalf("a secret is in the error: %v", err)
				}
			}
		})
	}
}
