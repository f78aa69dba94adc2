package bridge

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"

	"headgate/internal/config"
	"headgate/internal/devnats"
)

// authority is a certificate authority with files in a directory of the test.
type authority struct {
	t    *testing.T
	dir  string
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func newAuthority(t *testing.T) authority {
	t.Helper()
	a := authority{t: t, dir: t.TempDir()}
	a.key = ok[*ecdsa.PrivateKey](t)(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test CA"}, IsCA: true,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign}
	der := ok[[]byte](t)(x509.CreateCertificate(rand.Reader, template, template, a.key.Public(), a.key))
	a.cert = ok[*x509.Certificate](t)(x509.ParseCertificate(der))
	writeFile(t, a.file("ca.pem"), pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
	return a
}

func (a authority) file(name string) string { return filepath.Join(a.dir, name) }

// issue writes name.pem and name.key.
func (a authority) issue(name string) (cert, key string) {
	a.t.Helper()
	k := ok[*ecdsa.PrivateKey](a.t)(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))
	template := &x509.Certificate{SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: name},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}}
	der := ok[[]byte](a.t)(x509.CreateCertificate(rand.Reader, template, a.cert, k.Public(), a.key))
	kder := ok[[]byte](a.t)(x509.MarshalPKCS8PrivateKey(k))
	cert, key = a.file(name+".pem"), a.file(name+".key")
	writeFile(a.t, cert, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
	writeFile(a.t, key, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: kder}))
	return cert, key
}

func TestTLS(t *testing.T) {
	ca := newAuthority(t)
	serverCert, serverKey := ca.issue("server")
	clientCert, clientKey := ca.issue("client")
	pool := x509.NewCertPool()
	pool.AddCert(ca.cert)
	secure := func(first, verify bool) func(*server.Options) {
		return func(o *server.Options) {
			o.TLSConfig = &tls.Config{Certificates: []tls.Certificate{ok[tls.Certificate](t)(tls.LoadX509KeyPair(serverCert, serverKey))}}
			o.TLSTimeout = 5
			o.TLSHandshakeFirst = first
			if verify {
				o.TLSConfig.ClientAuth, o.TLSConfig.ClientCAs = tls.RequireAndVerifyClientCert, pool
				o.TLSVerify = true
			}
		}
	}
	with := func(url string, set func(*config.NATS)) config.NATS {
		cfg := testNATS(url)
		set(&cfg)
		return cfg
	}
	plainTLS := startNATS(t, devnats.Options{Configure: secure(false, false)})
	mutual := startNATS(t, devnats.Options{Configure: secure(false, true)})
	first := startNATS(t, devnats.Options{Configure: secure(true, false)})

	t.Run("the server's authority", func(t *testing.T) {
		works(t, with(plainTLS.URL(), func(n *config.NATS) { n.TLSCAFile = ca.file("ca.pem") }))
	})
	t.Run("an authority that is not known", func(t *testing.T) {
		refused(t, with(plainTLS.URL(), func(*config.NATS) {}), "certificate signed by unknown authority",
			"set NATS_TLS_CA_FILE")
	})
	t.Run("a client certificate", func(t *testing.T) {
		works(t, with(mutual.URL(), func(n *config.NATS) {
			n.TLSCAFile, n.TLSCertFile, n.TLSKeyFile = ca.file("ca.pem"), clientCert, clientKey
		}))
	})
	t.Run("no client certificate", func(t *testing.T) {
		refused(t, with(mutual.URL(), func(n *config.NATS) { n.TLSCAFile = ca.file("ca.pem") }), "tls", // it says why, or hangs up: it is a race
			"set NATS_TLS_CERT_FILE and NATS_TLS_KEY_FILE")
	})
	t.Run("handshake first", func(t *testing.T) {
		works(t, with(first.URL(), func(n *config.NATS) { n.TLSCAFile, n.TLSFirst = ca.file("ca.pem"), true }))
	})
	t.Run("a client certificate of a stranger", func(t *testing.T) {
		cert, key := newAuthority(t).issue("stranger")
		refused(t, with(mutual.URL(), func(n *config.NATS) {
			n.TLSCAFile, n.TLSCertFile, n.TLSKeyFile = ca.file("ca.pem"), cert, key
		}), "tls", "set NATS_TLS_CERT_FILE and NATS_TLS_KEY_FILE")
	})
	t.Run("a certificate for another name", func(t *testing.T) {
		url := strings.Replace(plainTLS.URL(), "127.0.0.1", "localhost", 1)
		r := startBridge(t, with(url, func(n *config.NATS) { n.TLSCAFile = ca.file("ca.pem") }), 0)
		eventually(t, "what to do", func() bool {
			return strings.Contains(r.log.String(), "name the server in NATS_URL as its certificate does")
		})
	})
	t.Run("no handshake first on one side", func(t *testing.T) {
		refused(t, with(first.URL(), func(n *config.NATS) { n.TLSCAFile = ca.file("ca.pem") }), "timeout", "NATS_TLS_FIRST=true")
		refused(t, with(plainTLS.URL(), func(n *config.NATS) { n.TLSCAFile, n.TLSFirst = ca.file("ca.pem"), true }),
			"does not look like a tls handshake", "NATS_TLS_FIRST=false")
	})
}

// TestTLS_ACertificateThatIsNoLongerTrustedIsTold: nats.go calls nobody when a reconnect gets no further than the handshake.
func TestTLS_ACertificateThatIsNoLongerTrustedIsTold(t *testing.T) {
	trusted, stranger := newAuthority(t), newAuthority(t)
	var issuer atomic.Pointer[authority]
	issuer.Store(&trusted)
	s := startNATS(t, devnats.Options{Configure: func(o *server.Options) {
		cert, key := issuer.Load().issue("server")
		o.TLSConfig = &tls.Config{Certificates: []tls.Certificate{ok[tls.Certificate](t)(tls.LoadX509KeyPair(cert, key))}}
		o.TLSTimeout = 5
	}})
	cfg := testNATS(s.URL())
	cfg.TLSCAFile = trusted.file("ca.pem")
	r := connectedBridge(t, cfg, 0)
	issuer.Store(&stranger)
	if err := s.Restart(); err != nil {
		t.Fatal(err)
	}
	tellsRefusal(t, r, "certificate signed by unknown authority", "set NATS_TLS_CA_FILE")
	issuer.Store(&trusted)
	if err := s.Restart(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the connection", func() bool { return r.Health().Connected })
}
