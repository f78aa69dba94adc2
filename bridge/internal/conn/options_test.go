package conn

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/nats-io/nats.go"

	"headgate/internal/config"
)

func TestOptions_ARotatedSecretCountsFromTheNextConnectOn(t *testing.T) {
	file := filepath.Join(t.TempDir(), "secret")
	write := func(text string) {
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	apply := func(cfg config.NATS) (o nats.Options) {
		cfg.URL = "nats://127.0.0.1:4222"
		list, err := Options(cfg)
		if err != nil {
			t.Fatal(err)
		}
		for _, opt := range list {
			if err := opt(&o); err != nil {
				t.Fatal(err)
			}
		}
		return o
	}
	write("one\n")
	user := apply(config.NATS{User: "u", Password: "one", PasswordFile: file})
	token := apply(config.NATS{Token: "one", TokenFile: file})
	for _, want := range []string{"one", "two"} {
		write(want + "\n")
		if name, password := user.UserInfo(); name != "u" || password != want {
			t.Errorf("user %q, the password is not %q", name, want)
		}
		if token.TokenHandler() != want {
			t.Errorf("the token is not %q", want)
		}
	}
}
