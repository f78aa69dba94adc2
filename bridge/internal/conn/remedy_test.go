package conn

import (
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"strings"
	"testing"

	"github.com/nats-io/nats.go"

	"headgate/internal/config"
)

func TestRemedy_NamesTheSettingToLookAt(t *testing.T) {
	denied := nats.ErrAuthorization
	dial := func(err error) error { return &dialError{"nats:4222", &net.OpError{Op: "dial", Net: "tcp", Err: err}} }
	for _, c := range []struct {
		err  error
		cfg  config.NATS
		want string
	}{
		{denied, config.NATS{CredsFile: "/c"}, "NATS_CREDS_FILE"},
		{nats.ErrAuthExpired, config.NATS{CredsFile: "/c"}, "NATS_CREDS_FILE"},
		{nats.ErrAccountAuthExpired, config.NATS{CredsFile: "/c"}, "NATS_CREDS_FILE"},
		{denied, config.NATS{NkeyFile: "/n"}, "NATS_NKEY_FILE"},
		{denied, config.NATS{User: "u", Password: "p"}, "NATS_PASSWORD with the server's users"},
		{denied, config.NATS{User: "u", PasswordFile: "/absent"}, "NATS_PASSWORD_FILE cannot be read"},
		{denied, config.NATS{Token: "t"}, "NATS_TOKEN with"},
		{denied, config.NATS{TokenFile: "/absent"}, "NATS_TOKEN_FILE cannot be read"},
		{denied, config.NATS{URL: "nats://t@a"}, "in NATS_URL"},
		{denied, config.NATS{URL: "nats://a"}, "set NATS_CREDS_FILE, NATS_NKEY_FILE"},
		{&fs.PathError{Op: "open", Path: "/c", Err: fs.ErrNotExist}, config.NATS{CredsFile: "/c"}, "make /c readable"},
		{fmt.Errorf("tls: %w", x509.UnknownAuthorityError{}), config.NATS{}, "NATS_TLS_CA_FILE"},
		{x509.HostnameError{Certificate: &x509.Certificate{}, Host: "a"}, config.NATS{}, "name the server in NATS_URL"},
		{x509.CertificateInvalidError{Reason: x509.Expired}, config.NATS{}, "renew the server's certificate"},
		{errors.New("remote error: tls: expired certificate"), config.NATS{}, "NATS_TLS_CERT_FILE"},
		{nats.ErrSecureConnWanted, config.NATS{}, "the server has none"},
		{errors.New("tls: first record does not look like a TLS handshake"), config.NATS{TLSFirst: true}, "NATS_TLS_FIRST=false"},
		{dial(&net.DNSError{Err: "no such host"}), config.NATS{}, "host name in NATS_URL"},
		{dial(errors.New("connect: connection refused")), config.NATS{}, "start NATS there"},
		{dial(os.ErrDeadlineExceeded), config.NATS{}, "firewall"},
		{os.ErrDeadlineExceeded, config.NATS{}, "NATS_TLS_FIRST=true"},
		{errors.New("something else"), config.NATS{}, "the log of the NATS server"},
	} {
		if got := remedy(c.err, c.cfg); !strings.Contains(got, c.want) {
			t.Errorf("%v, %+v: %q lacks %q", c.err, c.cfg, got, c.want)
		}
	}
}
