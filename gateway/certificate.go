package gateway

import (
	"crypto/sha256"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// certificateCheck is how often the files are looked at, and only when somebody connects or asks for the state.
const certificateCheck = time.Second

// certificate is the listener's certificate, read again when its files change. When the new ones are of no use, the old one stays.
type certificate struct {
	// Fixed after newCertificate.
	certFile, keyFile string
	log               *slog.Logger
	now               func() time.Time
	metrics           *metrics

	// Atomic.
	current atomic.Pointer[tls.Certificate]
	problem atomic.Pointer[string] // why what is in the files now is not in use; nil: it is

	mu      sync.Mutex        // only ever tried: one handshake looks, the others go on with what there is
	seen    [sha256.Size]byte // guarded by mu: what was in the files at the last attempt
	checked time.Time         // guarded by mu
}

// pemFiles is what is in the two files.
type pemFiles struct {
	cert, key []byte
	err       error
}

// sum is what contents are compared by. Times are not: those of a mounted secret may be the same in two versions.
func (f pemFiles) sum() [sha256.Size]byte {
	return sha256.Sum256(slices.Concat(f.cert, []byte{0}, f.key))
}

func newCertificate(certFile, keyFile string, log *slog.Logger, now func() time.Time, m *metrics) (*certificate, error) {
	c := &certificate{certFile: certFile, keyFile: keyFile, log: log, now: now, metrics: m}
	files := c.look()
	if err := c.take(files); err != nil {
		return nil, fmt.Errorf("gateway: HTTP_TLS_CERT_FILE=%s, HTTP_TLS_KEY_FILE=%s: %w", certFile, keyFile, err)
	}
	c.seen, c.checked = files.sum(), now()
	return c, nil
}

// take makes what is in the files the listener's certificate, if it is one. One that is still good gives way to none that is not.
func (c *certificate) take(files pemFiles) error {
	if files.err != nil {
		return files.err
	}
	pair, err := tls.X509KeyPair(files.cert, files.key)
	if err != nil {
		return err
	}
	end, now := pair.Leaf.NotAfter, c.now()
	if old := c.current.Load(); old != nil && end.Before(now) && old.Leaf.NotAfter.After(now) {
		return fmt.Errorf("it expired at %s, and the one in use is good", end.UTC().Format(time.RFC3339))
	}
	c.current.Store(&pair)
	c.metrics.certificate.Set(float64(pair.Leaf.NotAfter.Unix()))
	return nil
}

// get is tls.Config.GetCertificate.
func (c *certificate) get(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	if c.mu.TryLock() {
		c.check()
		c.mu.Unlock()
	}
	return c.current.Load(), nil
}

// CertificateState says in words which certificate the listener has, and why it is not the one in the files.
func (s *Server) CertificateState() string {
	c := s.cert.Load()
	if c == nil {
		return "not listening yet"
	}
	current, _ := c.get(nil)
	text := "in use until " + current.Leaf.NotAfter.UTC().Format(time.RFC3339)
	if problem := c.problem.Load(); problem != nil {
		text += "; " + *problem
	}
	return text
}

// check looks at the files when it is time. The caller holds mu.
func (c *certificate) check() {
	now := c.now()
	if now.Sub(c.checked) < certificateCheck {
		return
	}
	c.checked = now
	files := c.look()
	sum := files.sum()
	if sum == c.seen {
		return
	}
	c.seen = sum
	if err := c.take(files); err != nil {
		problem := fmt.Sprintf("what is in %s and %s now was refused at %s: %v", c.certFile, c.keyFile, now.UTC().Format(time.RFC3339), err)
		c.problem.Store(&problem)
		c.metrics.certificates["refused"].Inc()
		c.log.Error("the new certificate is of no use, the old one stays", "file", c.certFile, "error", err)
		return
	}
	c.problem.Store(nil)
	c.metrics.certificates["taken"].Inc()
	c.log.Info("certificate read again", "file", c.certFile)
}

// look reads both files, through symbolic links, as Kubernetes changes a mounted secret by changing one. A file that cannot be read is
// seen as empty.
func (c *certificate) look() pemFiles {
	cert, certErr := os.ReadFile(c.certFile)
	key, keyErr := os.ReadFile(c.keyFile)
	return pemFiles{cert, key, errors.Join(certErr, keyErr)}
}
