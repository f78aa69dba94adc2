package conn

import (
	"errors"
	"strings"
	"testing"

	"github.com/nats-io/nats.go"

	"headgate/internal/config"
)

func TestRedactor_LeavesNoSecret(t *testing.T) {
	r := NewRedactor(config.NATS{Password: "hunter22", Token: "t0k-en/x"})
	for _, c := range []struct{ text, want string }{
		{"dial nats://gate:hunter22@nats:4222: refused", "dial nats://***@nats:4222: refused"},
		{`parse "tls://tok3n@a:1,nats://u:p@b:2"`, `parse "tls://***@a:1,nats://***@b:2"`},
		{"ws://u:p%40ss@host/path", "ws://***@host/path"},
		{"the password is hunter22, the token t0k-en/x.", "the password is ***, the token ***."},
		{"nats://nats:4222 has no user", "nats://nats:4222 has no user"},
		{"mail gate@example.org", "mail gate@example.org"},
	} {
		if got := r.Text(c.text); got != c.want {
			t.Errorf("got  %q\nwant %q", got, c.want)
		}
	}
}

func TestRedactor_KeepsTheCauseOfAnError(t *testing.T) {
	r := NewRedactor(config.NATS{Password: "hunter22"})
	err := r.Err(errors.Join(nats.ErrAuthorization, errors.New("hunter22")))
	if strings.Contains(err.Error(), "hunter22") || !errors.Is(err, nats.ErrAuthorization) {
		t.Fatalf("got %v", err)
	}
	if r.Err(nil) != nil {
		t.Fatal("an error out of nothing")
	}
	if (Redactor{}).Text("x") != "x" {
		t.Fatal("the zero value is of no use")
	}
}
