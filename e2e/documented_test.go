package e2e_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"regexp"
	"strings"
	"testing"
	"time"

	"headgate/e2e/internal/stack"
	"headgate/e2e/internal/stream"
)

// The files in deploy/proxies, as they are documented. Traefik's are tested by traefik_test.go.
var documentedProxies = []string{"nginx", "haproxy", "caddy"}

// browserOf is a client with one HTTP/2 connection, as a browser has it for all its tabs.
func browserOf(t *testing.T, cert *stack.Certificate) *http.Client {
	t.Helper()
	transport := &http.Transport{TLSClientConfig: cert.ClientTLS(), ForceAttemptHTTP2: true, MaxConnsPerHost: 1, DisableCompression: true}
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport}
}

func openAt(t *testing.T, client *http.Client, url string) *stream.Stream {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	late := time.AfterFunc(brief, cancel) // without room for another stream the connection would be waited for
	s, err := stream.OpenWith(ctx, client, url, "Accept-Encoding", "gzip")
	must(t, err)
	late.Stop()
	t.Cleanup(s.Close)
	t.Cleanup(cancel)
	until(t, s, "$ready")
	return s
}

// Many streams of one browser, each event at once, nothing compressed; and publishes go through.
func TestDocumentedProxies_CarryManyStreamsOnOneConnection(t *testing.T) {
	t.Parallel()
	for _, name := range documentedProxies {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			carriesMany(t, name, 130) // more than the 100 and 128 that are the defaults of HAProxy and nginx
		})
	}
}

func carriesMany(t *testing.T, name string, streams int) {
	t.Helper()
	g, cert := start(t), stack.NewCertificate(t)
	front := stack.StartDocumented(t, name, g.Headgate, cert)
	client := browserOf(t, cert)
	var all []*stream.Stream
	for range streams {
		s := openAt(t, client, front.URL+"/v1/prices/ACME")
		if s.Response.ProtoMajor != 2 || s.Response.Header.Get("Content-Encoding") != "" || s.Response.Header.Get("X-Accel-Buffering") != "" && name == "nginx" {
			t.Fatalf("%s %v", s.Response.Proto, s.Response.Header)
		}
		all = append(all, s)
	}
	for i := range 3 { // the next one only after everybody has had the last one
		g.publish(t, "prices.ACME", fmt.Sprint(i))
		for _, s := range all {
			if got := until(t, s, "price").Data(); got != fmt.Sprint(i) {
				t.Fatalf("event %d is %q", i, got)
			}
		}
	}
	status, body := send(t, client, http.MethodPost, front.URL+"/v1/rooms/a", "hello")
	if status != http.StatusAccepted {
		t.Errorf("a publish: %d %s", status, body)
	}
}

func send(t *testing.T, client *http.Client, method, url, body string) (int, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, url, strings.NewReader(body))
	must(t, err)
	resp, err := client.Do(req)
	must(t, err)
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	must(t, err)
	return resp.StatusCode, string(text)
}

// What the comments in the files say of silence: a stream lives as long as heartbeats come within the timeout, and no longer. The timeout is
// shortened for the test.
func TestDocumentedProxies_HeartbeatsKeepStreamsAlive(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"nginx", "haproxy"} { // Caddy has no timeout for silence
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			beating, silent, cert := start(t, "SSE_HEARTBEAT", "1s"), start(t, "SSE_HEARTBEAT", "1m"), stack.NewCertificate(t)
			short := []string{"60s", "3s"}
			alive := openAt(t, browserOf(t, cert), stack.StartDocumented(t, name, beating.Headgate, cert, short...).URL+"/v1/prices/ACME")
			cut := openAt(t, browserOf(t, cert), stack.StartDocumented(t, name, silent.Headgate, cert, short...).URL+"/v1/prices/ACME")
			ctx, cancel := context.WithTimeout(t.Context(), brief)
			defer cancel()
			if b, err := cut.Next(ctx); err == nil || errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("a silent stream goes on: %v %v", b, err)
			}
			for range 6 { // at least five seconds after the start
				if _, err := alive.Next(ctx); err != nil {
					t.Fatalf("a stream with heartbeats: %v", err)
				}
			}
		})
	}
}

// When headgate is away, an EventSource is told to come back, and everybody else that there is nothing.
func TestDocumentedProxies_AnEventSourceComesBackWhenAllReplicasAreAway(t *testing.T) {
	t.Parallel()
	for _, name := range documentedProxies {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g, cert := start(t), stack.NewCertificate(t)
			front := stack.StartDocumented(t, name, g.Headgate, cert)
			client := browserOf(t, cert)
			openAt(t, client, front.URL+"/v1/prices/ACME").Close()
			if _, err := stream.OpenWith(t.Context(), client, front.URL+"/nowhere"); !refusedWith(err, http.StatusNotFound) {
				t.Errorf("an answer of headgate's own: %v", err)
			}
			g.Kill()
			s, err := stream.OpenWith(t.Context(), client, front.URL+"/v1/prices/ACME", "Origin", "https://app.example")
			must(t, err)
			defer s.Close()
			h := s.Response.Header
			if got := next(t, s).String(); !regexp.MustCompile(`^retry: [0-9]{4,5}$`).MatchString(got) || h.Get("Content-Type") != "text/event-stream" ||
				h.Get("Access-Control-Allow-Origin") != "https://app.example" || h.Get("Access-Control-Allow-Credentials") != "true" {
				t.Errorf("%q %v", got, h)
			}
			if status, body := send(t, client, http.MethodPost, front.URL+"/v1/rooms/a", "x"); status < 500 {
				t.Errorf("a publish: %d %s", status, body)
			}
			if _, err := stream.OpenWith(t.Context(), client, front.URL+"/v1/prices/ACME", "Accept", "*/*"); err == nil {
				t.Error("a client that can read a status got none")
			}
			g.Restart(t)
			for deadline := time.Now().Add(brief); !answers(t, client, front.URL+"/v1/prices/ACME"); time.Sleep(100 * time.Millisecond) {
				if time.Now().After(deadline) {
					t.Fatal("the way does not open again")
				}
			}
		})
	}
}

func refusedWith(err error, want int) bool {
	var e *stream.StatusError
	return errors.As(err, &e) && e.Status == want
}

// answers says whether a stream begins.
func answers(t *testing.T, client *http.Client, url string) bool {
	s, err := stream.OpenWith(t.Context(), client, url)
	if err != nil {
		return false
	}
	defer s.Close()
	ctx, cancel := soon(t)
	defer cancel()
	_, err = s.Until(ctx, "$ready")
	return err == nil
}
