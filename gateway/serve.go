package gateway

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"net/http"
	"time"
)

// answerTimeout bounds ordinary answers. Streams lift it.
const answerTimeout = time.Minute

// Listen opens the public listener. TCP keepalive is off, because streams have heartbeats and TCP_USER_TIMEOUT and everything else is
// short; multipath TCP is off, because Go switches it on for listeners and it costs memory for every connection.
func Listen(ctx context.Context, addr string) (net.Listener, error) {
	lc := net.ListenConfig{KeepAlive: -1}
	lc.SetMultipathTCP(false)
	ln, err := lc.Listen(ctx, "tcp", addr)
	if err != nil {
		return nil, fmt.Errorf("gateway: HTTP_ADDR=%s: %w", addr, err)
	}
	return ln, nil
}

func (s *Server) newHTTPServer() (*http.Server, error) {
	c := s.cfg.HTTP
	protocols := new(http.Protocols)
	protocols.SetHTTP1(true)
	protocols.SetHTTP2(c.HTTP2)
	protocols.SetUnencryptedHTTP2(c.H2C) // by prior knowledge (RFC 9113, section 3.3)
	srv := &http.Server{
		Handler:           http.HandlerFunc(s.ServeHTTP),
		Protocols:         protocols,
		ReadHeaderTimeout: c.HeaderTimeout,
		// No ReadTimeout: it would end streams that stay with their handler. Requests with a body get a deadline of their own, see run.
		WriteTimeout:   answerTimeout,
		IdleTimeout:    c.IdleTimeout,
		MaxHeaderBytes: int(c.MaxHeaderBytes),
		ConnContext:    s.connContext,
		ConnState:      s.connState,
		ErrorLog:       newServerLog(s.log),
		HTTP2:          &http.HTTP2Config{MaxConcurrentStreams: 250, SendPingTimeout: 30 * time.Second, PingTimeout: 15 * time.Second},
	}
	if c.TLSCertFile == "" {
		return srv, nil
	}
	cert, err := newCertificate(c.TLSCertFile, c.TLSKeyFile, s.log, s.now, s.metrics)
	if err != nil {
		return nil, err
	}
	s.cert.Store(cert)
	srv.TLSConfig = &tls.Config{MinVersion: tls.VersionTLS12, GetCertificate: cert.get, NextProtos: alpn}
	return srv, nil
}

// alpn is what clients may ask for in the TLS handshake (RFC 7301, section 6, and the registry it made). Go's own list ends at http/1.1,
// and curl --http1.0 names http/1.0 alone: it would be refused with an alert.
var alpn = []string{"h2", "http/1.1", "http/1.0"}

// server is how srv serves a listener. It is chosen before the first one is served: Serve itself sets TLSConfig.
func server(srv *http.Server) func(net.Listener) error {
	if srv.TLSConfig != nil {
		return func(ln net.Listener) error { return srv.ServeTLS(ln, "", "") }
	}
	return srv.Serve
}
