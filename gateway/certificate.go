package gateway

import (
	"crypto/tls"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"sync/atomic"
	"time"
)

// certificateCheck is how often the files are looked at, and only when somebody connects.
const certificateCheck = time.Second

// certificate is the listener's certificate, read again when its files change. When the new ones are of no use, the old one stays.
type certificate struct {
	// Fixed after newCertificate.
	certFile, keyFile string
	log               *slog.Logger
	now               func() time.Time

	current atomic.Pointer[tls.Certificate]

	mu      sync.Mutex   // only ever tried: one handshake looks, the others go on with what there is
	seen    [2]fileState // guarded by mu: what the files were at the last attempt
	checked time.Time    // guarded by mu
}

type fileState struct {
	modified time.Time
	size     int64
}

func newCertificate(certFile, keyFile string, log *slog.Logger, now func() time.Time) (*certificate, error) {
	c := &certificate{certFile: certFile, keyFile: keyFile, log: log, now: now}
	c.seen, c.checked = c.look(), now()
	pair, err := tls.LoadX509KeyPair(certFile, keyFile)
	if err != nil {
		return nil, fmt.Errorf("gateway: HTTP_TLS_CERT_FILE=%s, HTTP_TLS_KEY_FILE=%s: %w", certFile, keyFile, err)
	}
	c.current.Store(&pair)
	return c, nil
}

// get is tls.Config.GetCertificate.
func (c *certificate) get(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	if c.mu.TryLock() {
		c.check()
		c.mu.Unlock()
	}
	return c.current.Load(), nil
}

// check looks at the files when it is time. The caller holds mu.
func (c *certificate) check() {
	now := c.now()
	if now.Sub(c.checked) < certificateCheck {
		return
	}
	c.checked = now
	if seen := c.look(); seen != c.seen {
		c.seen = seen
		c.reload()
	}
}

func (c *certificate) reload() {
	pair, err := tls.LoadX509KeyPair(c.certFile, c.keyFile)
	if err != nil {
		c.log.Error("the new certificate is of no use, the old one stays", "file", c.certFile, "error", err)
		return
	}
	c.current.Store(&pair)
	c.log.Info("certificate read again", "file", c.certFile)
}

// look follows symbolic links, as Kubernetes changes a mounted secret by changing one. A file that cannot be seen counts as changed
// when it is back.
func (c *certificate) look() [2]fileState {
	var states [2]fileState
	for i, name := range []string{c.certFile, c.keyFile} {
		if info, err := os.Stat(name); err == nil {
			states[i] = fileState{info.ModTime(), info.Size()}
		}
	}
	return states
}
