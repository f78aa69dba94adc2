package e2e_test

import (
	"os/exec"
	"regexp"
	"strings"
	"testing"

	"headgate/e2e/internal/need"
	"headgate/e2e/internal/proc"
	"headgate/e2e/internal/stack"
)

// curl runs curl for the length of the test, unbuffered, with the response's head in its output.
func curl(t *testing.T, args ...string) *proc.Process {
	t.Helper()
	path := need.Program(t, "curl", "curl")
	return proc.StartT(t, "curl", exec.Command(path, append([]string{"-sSNi", "--noproxy", "*"}, args...)...))
}

// shows waits until the output matches a regular expression.
func shows(t *testing.T, p *proc.Process, re string) {
	t.Helper()
	ctx, cancel := soon(t)
	defer cancel()
	_, err := p.WaitOutput(ctx, regexp.MustCompile(re))
	must(t, err)
}

func TestCurl_GetsEventsOneByOneOverEveryProtocol(t *testing.T) {
	t.Parallel()
	cert := stack.NewCertificate(t)
	plain := start(t, append([]string{"HTTP_H2C", "true"}, quickLinger...)...)
	secure := startWith(t, stack.Options{Routes: routesFor("https://app.example"), TLS: cert}, quickLinger...)
	plainBefore, secureBefore := measure(t, plain.Headgate), measure(t, secure.Headgate)
	for name, c := range map[string]struct {
		gate *gate
		args []string
		head string // regular expression for the beginning of the response
	}{
		"HTTP/1.1":                    {plain, []string{"--http1.1"}, `^HTTP/1\.1 200 OK\r\n`},
		"HTTP/1.0":                    {plain, []string{"--http1.0"}, `^HTTP/1\.[01] 200 OK\r\n`},
		"HTTP/2 by prior knowledge":   {plain, []string{"--http2-prior-knowledge"}, `^HTTP/2 200 `},
		"HTTP/2 over TLS":             {secure, []string{"--http2", "--cacert", cert.CertFile}, `^HTTP/2 200 `},
		"HTTP/1.1 over TLS":           {secure, []string{"--http1.1", "--cacert", cert.CertFile}, `^HTTP/1\.1 200 OK\r\n`},
		"HTTP/1.0 over TLS":           {secure, []string{"--http1.0", "--cacert", cert.CertFile}, `^HTTP/1\.[01] 200 OK\r\n`},
		"HTTP/1.0 without ALPN":       {secure, []string{"--http1.0", "--no-alpn", "--cacert", cert.CertFile}, `^HTTP/1\.[01] 200 OK\r\n`},
		"HTTP/1.1, compression asked": {plain, []string{"--http1.1", "--compressed"}, `^HTTP/1\.1 200 OK\r\n`},
	} {
		t.Run(name, func(t *testing.T) {
			p := curl(t, append(c.args, c.gate.URL+"/v1/prices/ACME")...)
			shows(t, p, c.head)
			shows(t, p, `(?i)\ncontent-type: text/event-stream\r\n`)
			shows(t, p, `\n(event: \$ready\n|id: [^\n]+\nevent: \$ready\n)`)
			for _, price := range []string{"1", "2", "3"} { // the next one only after the last one has come
				c.gate.publish(t, "prices.ACME", price)
				shows(t, p, `\ndata: `+price+`\n`)
			}
		})
	}
	atRest(t, plain.Headgate, plainBefore) // every curl has gone with its test
	atRest(t, secure.Headgate, secureBefore)
}

func TestCurl_SeesTheHeadThatProxiesAndBrowsersNeed(t *testing.T) {
	t.Parallel()
	g := start(t)
	p := curl(t, "--http1.1", g.URL+"/v1/prices/ACME")
	shows(t, p, `\r\n\r\n`)
	head := strings.ToLower(strings.SplitN(p.Output(), "\r\n\r\n", 2)[0]) + "\r\n"
	for _, field := range []string{"content-type: text/event-stream", "cache-control: no-store, no-transform", "x-accel-buffering: no",
		"x-content-type-options: nosniff", "vary: origin", "connection: close", "date: "} {
		if !strings.Contains(head, "\r\n"+field) {
			t.Errorf("the head lacks %s:\n%s", field, head)
		}
	}
}

func TestCurl_EndsHTTP10StreamsByClosing(t *testing.T) {
	t.Parallel()
	g := start(t)
	p := curl(t, "--http1.0", g.URL+"/v1/prices/ACME")
	shows(t, p, `event: \$ready`)
	if head := strings.ToLower(strings.SplitN(p.Output(), "\r\n\r\n", 2)[0]); strings.Contains(head, "transfer-encoding") {
		t.Errorf("HTTP/1.0 got a transfer coding:\n%s", head)
	}
}

func TestCurl_GetsHeadsRefusalsAndMethodsAnswered(t *testing.T) {
	t.Parallel()
	g := start(t)
	run := func(t *testing.T, args ...string) string {
		t.Helper()
		p := curl(t, args...)
		ctx, cancel := soon(t)
		defer cancel()
		if _, err := p.Wait(ctx); err != nil {
			t.Fatal(err)
		}
		return strings.ToLower(p.Output())
	}
	for name, c := range map[string]struct {
		args []string
		want []string
	}{
		"HEAD":         {[]string{"--head", g.URL + "/v1/prices/ACME"}, []string{"http/1.1 200 ok", "content-type: text/event-stream"}},
		"unknown path": {[]string{g.URL + "/nowhere"}, []string{" 404 ", "content-type: application/problem+json", `"detail":`, `"instance":`}},
		"PUT":          {[]string{"-X", "PUT", g.URL + "/v1/prices/ACME"}, []string{" 405 ", "\nallow: ", "get", "application/problem+json"}},
		"POST where nothing is published": {[]string{"-d", "x", g.URL + "/v1/prices/ACME"},
			[]string{" 405 ", "\nallow: ", "application/problem+json"}},
		"Accept of something else": {[]string{"-H", "Accept: application/json", g.URL + "/v1/prices/ACME"},
			[]string{" 406 ", "application/problem+json", "text/event-stream"}},
		"preflight of an allowed origin": {[]string{"-X", "OPTIONS", "-H", "Origin: https://app.example",
			"-H", "Access-Control-Request-Method: GET", "-H", "Access-Control-Request-Headers: last-event-id", g.URL + "/v1/prices/ACME"},
			[]string{" 204 ", "access-control-allow-origin: https://app.example", "access-control-allow-headers: last-event-id"}},
	} {
		t.Run(name, func(t *testing.T) {
			out := run(t, c.args...)
			for _, want := range c.want {
				if !strings.Contains(out, want) {
					t.Errorf("no %q in\n%s", want, out)
				}
			}
		})
	}
	t.Run("preflight of another origin", func(t *testing.T) {
		out := run(t, "-X", "OPTIONS", "-H", "Origin: https://evil.example", "-H", "Access-Control-Request-Method: GET", g.URL+"/v1/prices/ACME")
		if strings.Contains(out, "access-control-allow-origin") {
			t.Errorf("a foreign origin was allowed:\n%s", out)
		}
	})
}

func TestCurl_PublishesWhatOtherClientsThenGet(t *testing.T) {
	t.Parallel()
	g := start(t)
	s := open(t, g.URL+"/v1/rooms/7")
	p := curl(t, "-d", "hello room", g.URL+"/v1/rooms/7")
	shows(t, p, `^HTTP/1\.1 202 `)
	if got := until(t, s, "message").Data(); got != "hello room" {
		t.Errorf("the room got %q", got)
	}
	foreign := curl(t, "-d", "x", "-H", "Origin: https://evil.example", g.URL+"/v1/rooms/7")
	shows(t, foreign, `^HTTP/1\.1 403 `)
	large := curl(t, "-d", strings.Repeat("x", 2000), g.URL+"/v1/rooms/7")
	shows(t, large, `^HTTP/1\.1 413 `)
	wildcard := curl(t, "-d", "x", g.URL+"/v1/rooms/%2A")
	shows(t, wildcard, `^HTTP/1\.1 400 `)
}
