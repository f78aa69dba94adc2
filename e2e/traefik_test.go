package e2e_test

import (
	"context"
	"crypto/tls"
	"net/http"
	"testing"
	"time"

	"headgate/e2e/internal/proc"
	"headgate/e2e/internal/stack"
	"headgate/e2e/internal/stream"
)

// traefik says that Traefik is there. It is a program that tests build for minutes, so they are run where it was asked for.
func traefik(t *testing.T) {
	t.Helper()
	if stack.Traefik() == "" {
		t.Skip("make traefik builds Traefik and runs this")
	}
}

func TestTraefik_CarriesManyStreamsOnOneConnection(t *testing.T) {
	traefik(t)
	carriesMany(t, "traefik", 300) // more than the 250 that are its default
}

// Traefik's time for a request has nothing to do with the time of a stream, over HTTP/1.1 and HTTP/2.
func TestTraefik_TheTimeForARequestEndsNoStream(t *testing.T) {
	traefik(t)
	g, cert := start(t, "SSE_HEARTBEAT", "1s"), stack.NewCertificate(t)
	front := stack.StartDocumented(t, "traefik", g.Headgate, cert, "readTimeout: 60s", "readTimeout: 2s")
	one := &http.Transport{TLSClientConfig: cert.ClientTLS(), TLSNextProto: map[string]func(string, *tls.Conn) http.RoundTripper{}}
	t.Cleanup(one.CloseIdleConnections)
	streams := map[string]*stream.Stream{"HTTP/1.1": openAt(t, &http.Client{Transport: one}, front.URL+"/v1/prices/ACME"),
		"HTTP/2.0": openAt(t, browserOf(t, cert), front.URL+"/v1/prices/ACME")}
	ctx, cancel := context.WithTimeout(t.Context(), brief)
	defer cancel()
	for proto, s := range streams {
		if s.Response.Proto != proto {
			t.Fatalf("%s in the place of %s", s.Response.Proto, proto)
		}
		for range 6 { // at least five seconds after the start
			if _, err := s.Next(ctx); err != nil {
				t.Errorf("%s: %v", proto, err)
				break
			}
		}
	}
}

// One of two replicas refuses connections, and the health check has not found out yet: nobody is told.
func TestTraefik_ARefusedConnectionIsTriedAtAnotherReplica(t *testing.T) {
	traefik(t)
	g, cert := start(t), stack.NewCertificate(t)
	front := stack.StartDocumented(t, "traefik", g.Headgate, cert, "healthCheck: {", "# {",
		`servers: [{url: "http://`+g.Addr+`"}]`, `servers: [{url: "http://`+g.Addr+`"}, {url: "http://`+proc.FreeAddr(t)+`"}]`)
	client := browserOf(t, cert)
	for range 10 {
		openAt(t, client, front.URL+"/v1/prices/ACME")
		if status, body := send(t, client, http.MethodPost, front.URL+"/v1/rooms/a", "hello"); status != http.StatusAccepted {
			t.Errorf("a publish: %d %s", status, body)
		}
	}
}

// Without a replica there is Traefik's own 503, as docs/proxies.md says, and the way opens again by itself.
func TestTraefik_TheWayOpensAgain(t *testing.T) {
	traefik(t)
	g, cert := start(t), stack.NewCertificate(t)
	front := stack.StartDocumented(t, "traefik", g.Headgate, cert)
	client := browserOf(t, cert)
	openAt(t, client, front.URL+"/v1/prices/ACME").Close()
	g.Kill()
	for deadline := time.Now().Add(brief); ; time.Sleep(50 * time.Millisecond) { // a 502 until the health check has found out
		s, err := stream.OpenWith(t.Context(), client, front.URL+"/v1/prices/ACME")
		if err == nil {
			s.Close()
			t.Fatal("a stream without a replica")
		}
		if refusedWith(err, http.StatusServiceUnavailable) {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal(err)
		}
	}
	g.Restart(t)
	for deadline := time.Now().Add(brief); !answers(t, client, front.URL+"/v1/prices/ACME"); time.Sleep(50 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("the way does not open again")
		}
	}
}
