package conn

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"os"

	"github.com/nats-io/nats.go"

	"headgate/internal/config"
)

func is(err, target error) bool { return errors.Is(err, target) }

// Options turns the configuration into what nats.go needs, apart from the name, the delays and the callbacks, and reports every mistake that
// can be seen without a server. It reads the files to find out, nats.go reads them again at each connect.
func Options(cfg config.NATS) ([]nats.Option, error) {
	errs := []error{checkServers(cfg.URL)}
	opts := []nats.Option{
		nats.MaxReconnects(-1),
		nats.RetryOnFailedConnect(true), // NATS may start after us
		nats.PingInterval(cfg.PingInterval),
		nats.MaxPingsOutstanding(2),
		nats.ReconnectBufSize(-1),   // nothing is sent blindly later: a publish fails at once while NATS is away
		nats.IgnoreAuthErrorAbort(), // else rotated credentials end the connection for good
	}
	if cfg.InboxPrefix != "" {
		opts = append(opts, nats.CustomInboxPrefix(cfg.InboxPrefix))
	}
	auth, err := authOption(cfg)
	errs = append(errs, err)
	if auth != nil {
		opts = append(opts, auth)
	}
	secure, err := tlsOptions(cfg)
	errs = append(errs, err)
	opts = append(opts, secure...)
	if err := errors.Join(errs...); err != nil {
		return nil, NewRedactor(cfg).Err(err)
	}
	return opts, nil
}

func authOption(cfg config.NATS) (nats.Option, error) {
	switch {
	case cfg.CredsFile != "":
		if _, err := os.ReadFile(cfg.CredsFile); err != nil {
			return nil, fmt.Errorf("NATS_CREDS_FILE: %w; expected a file as `nsc generate creds` writes it", err)
		}
		return nats.UserCredentials(cfg.CredsFile), nil
	case cfg.NkeyFile != "":
		o, err := nats.NkeyOptionFromSeed(cfg.NkeyFile)
		if err != nil {
			return nil, fmt.Errorf("NATS_NKEY_FILE: %w; expected a file with a user seed (SU…)", err)
		}
		return o, nil
	case cfg.User != "":
		// Asked at every connect: a rotated file counts from the next one on. When it cannot be read, the last value is tried.
		return nats.UserInfoHandler(func() (string, string) {
			password, _ := cfg.ReadPassword()
			return cfg.User, password
		}), nil
	case cfg.Token != "":
		return nats.TokenHandler(func() string {
			token, _ := cfg.ReadToken()
			return token
		}), nil
	}
	return nil, nil
}

func tlsOptions(cfg config.NATS) (opts []nats.Option, err error) {
	var errs []error
	if cfg.TLSCAFile != "" {
		pem, err := os.ReadFile(cfg.TLSCAFile)
		if err == nil && !x509.NewCertPool().AppendCertsFromPEM(pem) {
			err = fmt.Errorf("no certificate in %s; expected PEM", cfg.TLSCAFile)
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("NATS_TLS_CA_FILE: %w", err))
		}
		opts = append(opts, nats.RootCAs(cfg.TLSCAFile))
	}
	switch {
	case cfg.TLSCertFile != "" && cfg.TLSKeyFile != "":
		if _, err := tls.LoadX509KeyPair(cfg.TLSCertFile, cfg.TLSKeyFile); err != nil {
			errs = append(errs, fmt.Errorf("NATS_TLS_CERT_FILE and NATS_TLS_KEY_FILE: %w", err))
		}
		opts = append(opts, nats.ClientCert(cfg.TLSCertFile, cfg.TLSKeyFile))
	case cfg.TLSCertFile != "" || cfg.TLSKeyFile != "":
		errs = append(errs, errors.New("NATS_TLS_CERT_FILE and NATS_TLS_KEY_FILE: only one of them is set; a client certificate needs both"))
	}
	if cfg.TLSFirst {
		opts = append(opts, nats.TLSHandshakeFirst())
	}
	return opts, errors.Join(errs...)
}
