package conn

import (
	"errors"
	"fmt"
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
	if new(Redactor).Text("x") != "x" {
		t.Fatal("the zero value is of no use")
	}
}

func TestRedactor_KnowsTheSecretsOfTheServers(t *testing.T) {
	r := NewRedactor(config.NATS{URL: "nats://gate:alph4%2F0mega@a:1, tls://t0k'en@b:2,us3r:pa@ss0@c:3,nats://a@b://x,d:4"})
	for _, c := range []struct{ text, want string }{
		{"gate:alph4%2F0mega@a:1", "***@a:1"},
		{"gate:alph4/0mega@a:1", "***@a:1"},
		{"the password alph4%2f0mega, that is alph4/0mega", "the password ***, that is ***"},
		{`{"pass":"alph4/0mega","token":"t0k'en"}`, `{"pass":"***","token":"***"}`},
		{"tls://t0k'en@b:2", "tls://***@b:2"},
		{"tls://t0k%27en@b:2", "tls://***@b:2"},
		{`parse "nats://us3r:pa@ss0@c:3": no`, `parse "nats://***@c:3": no`},
		{"pa@ss0, pa%40ss0", "***, ***"},
		{"nats://other:wo'r@d@x:1", "nats://***@x:1"},
		{"the user gate", "the user gate"},
	} {
		if got := r.Text(c.text); got != c.want {
			t.Errorf("got  %q\nwant %q", got, c.want)
		}
	}
}

func TestRedactor_LearnsSecretsThatRotate(t *testing.T) {
	r := NewRedactor(config.NATS{Token: "token-first"})
	for i := range 2 * learnedMax {
		r.Learn(fmt.Sprintf("token-%02d", i))
	}
	r.Learn("a")
	text := fmt.Sprintf("a token-first token-%02d token-%02d", 2*learnedMax-1, learnedMax)
	if got := r.Text(text); got != "a *** *** ***" {
		t.Fatal(got)
	}
	if len(r.learned) != learnedMax {
		t.Fatalf("%d are kept", len(r.learned))
	}
}

func FuzzRedactor_HidesTheUserOfAnyURL(f *testing.F) {
	f.Add("gate:s3cret")
	f.Add("a@b://c")
	f.Add(`'"\,%`)
	f.Fuzz(func(t *testing.T, userinfo string) {
		if len(userinfo) < minSecret || strings.Contains(userinfo, ",") || strings.TrimSpace(userinfo) != userinfo {
			return // another server begins at a comma
		}
		server := "nats://" + userinfo + "@h:1"
		r := NewRedactor(config.NATS{URL: server})
		if got := r.Text("dial " + server + " failed"); got != "dial nats://***@h:1 failed" {
			t.Errorf("%q became %q", server, got)
		}
	})
}
