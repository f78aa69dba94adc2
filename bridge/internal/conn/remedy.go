package conn

import (
	"crypto/x509"
	"errors"
	"io/fs"
	"net"
	"regexp"
	"strings"

	"github.com/nats-io/nats.go"

	"headgate/internal/config"
)

// remedy says what an operator can do about an error of a connection. It may read files.
func remedy(err error, cfg config.NATS) string {
	for _, find := range []func(error, config.NATS) string{credentialsRemedy, tlsRemedy, networkRemedy} {
		if text := find(err, cfg); text != "" {
			return text
		}
	}
	return "if it goes on, look into the log of the NATS server"
}

func credentialsRemedy(err error, cfg config.NATS) string {
	if file := (*fs.PathError)(nil); errors.As(err, &file) {
		return "make " + file.Path + " readable for this process; it is read again at the next attempt"
	}
	refused := false
	for _, e := range []error{nats.ErrAuthorization, nats.ErrAuthExpired, nats.ErrAuthRevoked, nats.ErrAccountAuthExpired} {
		refused = refused || errors.Is(err, e)
	}
	const again = "; it is read again at the next attempt"
	switch {
	case !refused:
		return ""
	case cfg.CredsFile != "":
		return "renew the file of NATS_CREDS_FILE, or allow its user and account on the server" + again
	case cfg.NkeyFile != "":
		return "allow the public key of NATS_NKEY_FILE on the server; for another key restart headgate"
	case cfg.User != "":
		if _, err := cfg.ReadPassword(); err != nil {
			return "NATS_PASSWORD_FILE cannot be read, so an older password is tried; make it readable" + again
		}
		return "compare NATS_USER and NATS_PASSWORD with the server's users; NATS_PASSWORD_FILE is read again at the next attempt"
	case cfg.Token != "" || cfg.TokenFile != "":
		if _, err := cfg.ReadToken(); err != nil {
			return "NATS_TOKEN_FILE cannot be read, so an older token is tried; make it readable" + again
		}
		return "compare NATS_TOKEN with the server's token; NATS_TOKEN_FILE is read again at the next attempt"
	case strings.Contains(cfg.URL, "@"):
		return "compare the user, password or token in NATS_URL with the server's, then restart headgate"
	}
	return "the server wants to know who headgate is: set NATS_CREDS_FILE, NATS_NKEY_FILE, NATS_USER with NATS_PASSWORD_FILE, or NATS_TOKEN_FILE"
}

// clientCertificate finds that the server did not take our certificate, or missed one. It says so (the alerts of RFC 8446, section 6.2,
// in the words of crypto/tls) or only hangs up, since in TLS 1.3 the client is done before the server has seen the certificate.
var clientCertificate = regexp.MustCompile(`remote error: tls: (.* )?certificate|closed by remote after TLS handshake`)

func tlsRemedy(err error, cfg config.NATS) string {
	text := err.Error()
	switch {
	case errors.As(err, &x509.UnknownAuthorityError{}):
		return "set NATS_TLS_CA_FILE to the authority that issued the server's certificate"
	case errors.As(err, &x509.HostnameError{}):
		return "name the server in NATS_URL as its certificate does"
	case errors.As(err, &x509.CertificateInvalidError{}):
		return "renew the server's certificate, or the authority in NATS_TLS_CA_FILE"
	case clientCertificate.MatchString(text):
		return "the server wants a client certificate that it trusts: set NATS_TLS_CERT_FILE and NATS_TLS_KEY_FILE"
	case errors.Is(err, nats.ErrSecureConnWanted):
		return "NATS_URL or a NATS_TLS_ setting asks for TLS, and the server has none: configure TLS there, or drop it here"
	case cfg.TLSFirst && (strings.Contains(text, "does not look like a TLS handshake") || strings.Contains(text, "EOF")):
		return "the server does not begin with a TLS handshake: set NATS_TLS_FIRST=false, or handshake_first there"
	}
	return ""
}

func networkRemedy(err error, _ config.NATS) string {
	dial, timeout := (*dialError)(nil), net.Error(nil)
	switch {
	case errors.As(err, new(*net.DNSError)):
		return "correct the host name in NATS_URL, or look after DNS"
	case errors.As(err, &dial) && strings.Contains(dial.cause.Error(), "refused"):
		return "start NATS there, or correct host and port in NATS_URL"
	case errors.As(err, &dial):
		return "look whether host and port in NATS_URL can be reached from here (network policy, firewall)"
	case errors.Is(err, nats.ErrTimeout), errors.As(err, &timeout) && timeout.Timeout():
		return "look whether NATS_URL is the client port of NATS; a server that begins with a TLS handshake needs NATS_TLS_FIRST=true"
	}
	return ""
}
