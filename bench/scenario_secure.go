//go:build linux

package main

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"time"
)

// secure: what an idle stream costs over TLS, with HTTP/1.1 and with a hundred HTTP/2 streams on a connection.
func secure(l *Lab) ([]Row, error) {
	certFile, keyFile, err := certificate(l.dir)
	if err != nil {
		return nil, err
	}
	var rows []Row
	for _, c := range []struct {
		name string
		per  int // streams on a connection
	}{{"TLS and HTTP/1.1", 1}, {"TLS and HTTP/2, 100 streams a connection", 100}} {
		row := Row{Name: fmt.Sprintf("memory per idle stream, %d streams, %s", l.size.Secure, c.name), Unit: "bytes"}
		perStream := samples{}
		err := l.interleave(&row, 1, []string{"headgate", "naive"}, func(kind string) error {
			v, err := secureGrowth(l, kind, certFile, keyFile, c.per)
			if err == nil {
				perStream.add(kind, v)
			}
			return err
		})
		if err != nil {
			return nil, err
		}
		row.Figures = perStream.figures()
		row.atMost(1, "naive")
		rows = append(rows, row)
	}
	return rows, nil
}

func secureGrowth(l *Lab, kind, certFile, keyFile string, per int) (float64, error) {
	server, err := l.StartTLS(kind, certFile, keyFile)
	if err != nil {
		return 0, err
	}
	defer l.Stop(server)
	before, err := l.Settle(server, time.Second)
	if err != nil {
		return 0, err
	}
	ctx, cancel := context.WithCancel(l.ctx)
	defer cancel()
	for opened := 0; opened < l.size.Secure; opened += per {
		// A transport each: its own connection.
		transport := &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, ForceAttemptHTTP2: per > 1, ReadBufferSize: 1024, WriteBufferSize: 1024}
		defer transport.CloseIdleConnections()
		for range min(per, l.size.Secure-opened) {
			if err := secureOpen(ctx, transport, server.Addr, per > 1); err != nil {
				return 0, err
			}
		}
	}
	after, err := l.Settle(server, l.size.Still)
	if err != nil {
		return 0, err
	}
	return float64(after-before) / float64(l.size.Secure), nil
}

// secureOpen opens a stream and leaves it open until ctx ends.
func secureOpen(ctx context.Context, transport *http.Transport, addr string, h2 bool) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "https://"+addr+pathOf(shared), nil)
	if err != nil {
		return err
	}
	req.Header.Set("Accept", "text/event-stream")
	resp, err := transport.RoundTrip(req)
	if err != nil {
		return err
	}
	if resp.StatusCode != http.StatusOK || (resp.ProtoMajor == 2) != h2 {
		_ = resp.Body.Close()
		return fmt.Errorf("%s over %s", resp.Status, resp.Proto)
	}
	return nil // the body is closed with ctx
}

// certificate makes a self-signed one for 127.0.0.1.
func certificate(dir string) (certFile, keyFile string, err error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return "", "", err
	}
	template := x509.Certificate{SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}}
	der, err := x509.CreateCertificate(rand.Reader, &template, &template, &key.PublicKey, key)
	if err != nil {
		return "", "", err
	}
	keyDER, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		return "", "", err
	}
	certFile, keyFile = filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	for file, block := range map[string]*pem.Block{certFile: {Type: "CERTIFICATE", Bytes: der}, keyFile: {Type: "EC PRIVATE KEY", Bytes: keyDER}} {
		var b bytes.Buffer
		if err := pem.Encode(&b, block); err != nil {
			return "", "", err
		}
		if err := os.WriteFile(file, b.Bytes(), 0o600); err != nil {
			return "", "", err
		}
	}
	return certFile, keyFile, nil
}
