package gateway_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/http/httptrace"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"headgate/gateway"
	"headgate/internal/config"
	"headgate/internal/delivery"
	"headgate/internal/sse"
)

// writeCertificate makes a self-signed certificate with this name.
func writeCertificate(t *testing.T, dir, name string) (certFile, keyFile string) {
	t.Helper()
	return writeCertificateUntil(t, dir, name, time.Now().Add(time.Hour))
}

func writeCertificateUntil(t *testing.T, dir, name string, end time.Time) (certFile, keyFile string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: name},
		NotBefore: end.Add(-2 * time.Hour), NotAfter: end, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}}
	cert, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	certFile, keyFile = filepath.Join(dir, "tls.crt"), filepath.Join(dir, "tls.key")
	for file, block := range map[string]*pem.Block{certFile: {Type: "CERTIFICATE", Bytes: cert}, keyFile: {Type: "PRIVATE KEY", Bytes: der}} {
		if err := os.WriteFile(file, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return certFile, keyFile
}

func withTLS(t *testing.T, change func(*config.HTTP)) func(*setup) {
	certFile, keyFile := writeCertificate(t, t.TempDir(), "first")
	return func(s *setup) {
		s.cfg.HTTP.TLSCertFile, s.cfg.HTTP.TLSKeyFile = certFile, keyFile
		if change != nil {
			change(&s.cfg.HTTP)
		}
	}
}

// tlsClient speaks HTTPS, in version 2 where both sides want it.
func tlsClient(h2 bool) *http.Client {
	protocols := new(http.Protocols)
	protocols.SetHTTP1(!h2)
	protocols.SetHTTP2(h2)
	return &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, Protocols: protocols}}
}

func (r *rig) requestTLS(method, path string) *http.Request {
	req := r.request(method, path)
	req.URL.Scheme = "https"
	return req
}

func TestTLS_StreamsWorkInBothVersions(t *testing.T) {
	r := start(t, withTLS(t, nil))
	for _, h2 := range []bool{false, true} {
		rd := r.openWith(tlsClient(h2), r.requestTLS(http.MethodGet, "/v1/prices/A"))
		rd.want("$ready")
		if got := r.metric("headgate_requests_total", "route", "prices", "outcome", "opened"); got < 1 {
			t.Error("the stream is not counted while it is open")
		}
		r.bridge.push(sse.NewFrame("price", []byte("1")), 1)
		rd.want("price")
		if want := map[bool]int{false: 1, true: 2}[h2]; rd.resp.ProtoMajor != want {
			t.Errorf("HTTP/%d, want %d", rd.resp.ProtoMajor, want)
		}
		if rd.resp.Close == h2 {
			t.Errorf("HTTP/%d: close %v", rd.resp.ProtoMajor, rd.resp.Close)
		}
		if got := rd.resp.Header.Get("Cache-Control"); got != "no-store, no-transform" {
			t.Errorf("Cache-Control %q", got)
		}
		rd.stop()
	}
	eventually(t, "the release", func() bool { return r.server.Admitted() == 0 })
}

func TestHTTP2_CanBeSwitchedOff(t *testing.T) {
	r := start(t, withTLS(t, func(h *config.HTTP) { h.HTTP2 = false }))
	conn, err := tls.Dial("tcp", r.addr, &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"h2", "http/1.1"}})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if got := conn.ConnectionState().NegotiatedProtocol; got == "h2" {
		t.Errorf("negotiated %q", got)
	}
}

func TestHTTP2_ManyStreamsShareAConnectionAndEndAlone(t *testing.T) {
	r := start(t, withTLS(t, nil))
	client := tlsClient(true)
	a := r.openWith(client, r.requestTLS(http.MethodGet, "/v1/prices/A"))
	b := r.openWith(client, r.requestTLS(http.MethodGet, "/v1/prices/B"))
	a.want("$ready")
	b.want("$ready")
	a.stop()
	eventually(t, "the release of one", func() bool { return r.server.Admitted() == 1 })
	// An overload answer in between must not end the connection either.
	r.limiter.mu.Lock()
	r.limiter.refuse = &overloadRefusal
	r.limiter.mu.Unlock()
	for range 2 {
		reused := false
		trace := &httptrace.ClientTrace{GotConn: func(i httptrace.GotConnInfo) { reused = i.Reused }}
		req := r.requestTLS(http.MethodGet, "/v1/prices/A")
		resp, err := client.Do(req.WithContext(httptrace.WithClientTrace(req.Context(), trace)))
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if !reused {
			t.Error("an answer has ended the connection for those that follow")
		}
	}
	r.bridge.push(sse.NewFrame("price", []byte("1")), 1)
	b.want("price")
}

func TestHTTP2_IdleStreamsOutliveTheWriteTimeout(t *testing.T) {
	r := start(t, withTLS(t, nil), func(s *setup) {
		s.cfg.SSE.WriteTimeout = 100 * time.Millisecond
		s.cfg.Routes[0].Heartbeat = time.Hour
	})
	for _, h2 := range []bool{false, true} {
		rd := r.openWith(tlsClient(h2), r.requestTLS(http.MethodGet, "/v1/prices/A"))
		rd.want("$ready")
		quiet := time.NewTimer(400 * time.Millisecond) // there is no event for "nothing happened"
		<-quiet.C
		r.bridge.push(sse.NewFrame("price", []byte("1")), 1)
		rd.want("price")
		rd.stop()
	}
}

func TestDrain_OverTLSEndsStreamsInBothVersions(t *testing.T) {
	r := start(t, withTLS(t, nil))
	one := r.openWith(tlsClient(false), r.requestTLS(http.MethodGet, "/v1/prices/A"))
	two := r.openWith(tlsClient(true), r.requestTLS(http.MethodGet, "/v1/prices/A"))
	one.want("$ready")
	two.want("$ready")
	r.drain()
	for _, rd := range []*reader{one, two} {
		rd.want("$end")
		rd.ended()
	}
	<-r.done
}

func TestH2C_OnlyBehindItsSwitch(t *testing.T) {
	protocols := new(http.Protocols)
	protocols.SetUnencryptedHTTP2(true)
	for _, on := range []bool{false, true} {
		r := start(t, func(s *setup) { s.cfg.HTTP.H2C = on })
		client := &http.Client{Transport: &http.Transport{Protocols: protocols}, Timeout: patience}
		if !on {
			if resp, err := client.Do(r.request(http.MethodGet, "/v1/prices/A")); err == nil {
				resp.Body.Close()
				t.Errorf("HTTP/2 without TLS was answered with %d", resp.StatusCode)
			}
			continue
		}
		client.Timeout = 0
		rd := r.openWith(client, r.request(http.MethodGet, "/v1/prices/A"))
		if rd.resp.ProtoMajor != 2 {
			t.Errorf("HTTP/%d", rd.resp.ProtoMajor)
		}
		rd.want("$ready")
	}
}

func TestHTTP10_IsDelimitedByTheEndOfTheConnection(t *testing.T) {
	r := start(t)
	w := r.dial().send("GET /v1/prices/A HTTP/1.0\r\n\r\n")
	head := strings.Join(w.head(), "\n")
	if !strings.HasPrefix(head, "HTTP/1.0 200 OK") || strings.Contains(head, "Transfer-Encoding") || !strings.Contains(head, "Connection: close") {
		t.Errorf("head %q", head)
	}
	d := sse.NewDecoder(w.r)
	if e, err := d.Next(); err != nil || e.Type != "$ready" {
		t.Fatalf("%+v, %v", e, err)
	}
	r.drain()
	if e, err := d.Next(); err != nil || e.Type != "$end" {
		t.Fatalf("%+v, %v", e, err)
	}
	if e, err := d.Next(); err != io.EOF {
		t.Fatalf("%+v, %v; want the end", e, err)
	}
}

func TestKeepAlive_OrdinaryAnswersLeaveTheConnectionOpen(t *testing.T) {
	r := start(t)
	w := r.dial()
	for range 3 {
		if resp := w.send("GET /nothing HTTP/1.1\r\nHost: h\r\n\r\n").answer(); resp.Close {
			t.Fatalf("closed: %v", resp.Header)
		}
	}
	w.send("GET /v1/prices/A HTTP/1.1\r\nHost: h\r\n\r\n")
	if head := w.head(); head[0] != "HTTP/1.1 200 OK" {
		t.Errorf("a stream behind other requests: %q", head)
	}
}

func TestCertificate_IsReadAgainAndTheOldOneSurvivesABadOne(t *testing.T) {
	dir := t.TempDir()
	certFile, keyFile := writeCertificate(t, dir, "first")
	name := func(r *rig) string {
		conn, err := tls.Dial("tcp", r.addr, &tls.Config{InsecureSkipVerify: true})
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		return conn.ConnectionState().PeerCertificates[0].Subject.CommonName
	}
	r := start(t, func(s *setup) { s.cfg.HTTP.TLSCertFile, s.cfg.HTTP.TLSKeyFile = certFile, keyFile })
	if got := name(r); got != "first" {
		t.Fatalf("certificate %q", got)
	}
	writeCertificate(t, dir, "second")
	eventually(t, "the second certificate", func() bool { return name(r) == "second" })
	if err := os.WriteFile(certFile, []byte("rubbish"), 0o600); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the error in the log", func() bool {
		return name(r) == "second" && strings.Contains(r.logs.String(), "of no use")
	})
	if got := r.server.CertificateState(); !strings.HasPrefix(got, "in use until ") || !strings.Contains(got, "was refused at") {
		t.Errorf("the state does not say so: %q", got)
	}
	writeCertificateUntil(t, dir, "expired", time.Now().Add(-time.Minute))
	eventually(t, "the reason", func() bool { return strings.Contains(r.server.CertificateState(), "expired") })
	if got := name(r); got != "second" {
		t.Errorf("certificate %q", got)
	}
	writeCertificate(t, dir, "third")
	eventually(t, "a state without an error, although nobody connects", func() bool { return !strings.Contains(r.server.CertificateState(), "refused") })
	if got := name(r); got != "third" {
		t.Errorf("certificate %q", got)
	}
}

// A mounted secret changes by a symbolic link, and nothing says that its versions differ in time.
func TestCertificate_OfAMountedSecretIsReadAgain(t *testing.T) {
	mount := t.TempDir()
	stamp := time.Unix(1_700_000_000, 0)
	must := func(t *testing.T, err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	version := func(name string) {
		dir := filepath.Join(mount, name)
		must(t, os.Mkdir(dir, 0o700))
		certFile, keyFile := writeCertificate(t, dir, name)
		for _, file := range []string{certFile, keyFile} {
			must(t, os.Chtimes(file, stamp, stamp))
		}
		must(t, os.Symlink(name, filepath.Join(mount, "..tmp")))
		must(t, os.Rename(filepath.Join(mount, "..tmp"), filepath.Join(mount, "..data")))
	}
	version("first")
	certFile, keyFile := writeCertificate(t, t.TempDir(), "names")
	certFile, keyFile = filepath.Join(mount, "..data", filepath.Base(certFile)), filepath.Join(mount, "..data", filepath.Base(keyFile))
	r := start(t, func(s *setup) { s.cfg.HTTP.TLSCertFile, s.cfg.HTTP.TLSKeyFile = certFile, keyFile })
	name := func() string {
		conn, err := tls.Dial("tcp", r.addr, &tls.Config{InsecureSkipVerify: true})
		must(t, err)
		defer conn.Close()
		return conn.ConnectionState().PeerCertificates[0].Subject.CommonName
	}
	if got := name(); got != "first" {
		t.Fatal(got)
	}
	version("other")
	eventually(t, "the other certificate", func() bool { return name() == "other" })
	if got := r.metric("headgate_certificate_reloads_total", "result", "taken"); got != 1 {
		t.Errorf("%v taken", got)
	}
	if r.metric("headgate_certificate_expiry_timestamp_seconds") < float64(time.Now().Unix()) {
		t.Error("it seems to have expired")
	}
}

func TestRun_FailsWithoutACertificate(t *testing.T) {
	cfg := config.DefaultConfig()
	cfg.Routes = []config.Route{feed()}
	cfg.HTTP.TLSCertFile, cfg.HTTP.TLSKeyFile = "/nonexistent.crt", "/nonexistent.key"
	s, err := gateway.New(gateway.Options{Config: cfg, Bridge: &bridge{}, Delivery: nothing{}, Limiter: &limiter{}})
	if err != nil {
		t.Fatal(err)
	}
	ln, err := gateway.Listen(t.Context(), "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	err = s.Run(t.Context(), ln)
	if err == nil || !strings.Contains(err.Error(), "HTTP_TLS_CERT_FILE=/nonexistent.crt") {
		t.Errorf("error %v", err)
	}
	if _, err := ln.Accept(); err == nil {
		t.Error("the listener is still open")
	}
}

func TestListen_SaysWhichVariableIsWrong(t *testing.T) {
	_, err := gateway.Listen(context.Background(), "256.0.0.1:1")
	if err == nil || !strings.Contains(err.Error(), "HTTP_ADDR=256.0.0.1:1") {
		t.Errorf("error %v", err)
	}
}

func TestConsole_IsMountedAndTheRootLeadsThereInDev(t *testing.T) {
	page := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { _, _ = io.WriteString(w, "page "+r.URL.Path) })
	dev := start(t, func(s *setup) { s.cfg.Dev, s.console = true, page })
	if resp := dev.get("/"); resp.StatusCode != http.StatusTemporaryRedirect || resp.Header.Get("Location") != "/console/" || resp.Header.Get("Vary") != "" {
		t.Errorf("%d %v", resp.StatusCode, resp.Header)
	}
	if resp := dev.get("/console/app.js"); resp.body != "page /console/app.js" {
		t.Errorf("%d %q", resp.StatusCode, resp.body)
	}
	plain := start(t, func(s *setup) { s.console = page; s.cfg.HTTP.BasePath = "/edge" })
	plain.get("/").problem(t, http.StatusNotFound, "not-found")
	if resp := plain.get("/edge/console/"); resp.body != "page /console/" {
		t.Errorf("%d %q", resp.StatusCode, resp.body)
	}
	without := start(t)
	without.get("/console/").problem(t, http.StatusNotFound, "not-found")
}

func TestLifetime_EndsTheStream(t *testing.T) {
	r := start(t, func(s *setup) { s.cfg.SSE.MaxAge = 300 * time.Millisecond })
	rd := r.open("/v1/prices/A")
	rd.want("$ready")
	if e := rd.want("$end"); e.Data != `{"reason":"lifetime","reconnect":true}` {
		t.Errorf("$end %s", e.Data)
	}
	eventually(t, "the counter", func() bool {
		return r.metric("headgate_stream_ends_total", "reason", delivery.Lifetime.String()) == 1
	})
}

func TestHeartbeat_IsACommentOrTheNamedEvent(t *testing.T) {
	short := func(s *setup) {
		s.cfg.Routes[0].Heartbeat, s.cfg.Routes[0].Resume.Enabled = 200*time.Millisecond, false
	}
	r := start(t, short)
	rd := r.open("/v1/prices/A")
	rd.want("$ready")
	if e, err := rd.dec.NextBlock(); err != nil || !e.Silent || len(e.Comments) != 1 {
		t.Errorf("%+v, %v; want a comment", e, err)
	}
	named := start(t, short, func(s *setup) { s.cfg.SSE.HeartbeatEvent = "ping" })
	rd = named.open("/v1/prices/A")
	rd.want("$ready")
	if e := rd.want("ping"); e.Data != "{}" {
		t.Errorf("data %q", e.Data)
	}
}
