package gateway_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"headgate/gateway"
	"headgate/internal/config"
	"headgate/internal/delivery"
	"headgate/internal/flow"
	"headgate/internal/sse"
)

// One test per weakness.

func TestHardening_NothingGetsIntoTheHeadThroughThePath(t *testing.T) {
	r := start(t)
	for _, path := range []string{"/v1/prices/a%0D%0AX-Evil:1", "/v1/feed?subject=feed.%0D%0AX-Evil:1", "/v1/%0D%0AX-Evil:1"} {
		resp := r.get(path)
		if resp.StatusCode/100 != 4 || resp.Header.Get("X-Evil") != "" {
			t.Errorf("%s: %d %v", path, resp.StatusCode, resp.Header)
		}
		if strings.ContainsAny(resp.body, "\r") || strings.Count(resp.body, "\n") != 1 {
			t.Errorf("%s: body %q", path, resp.body)
		}
	}
}

// Whatever the answer, a browser guesses no other type than it says, and tells nobody its URL.
func TestHardening_EveryAnswerIsSafeInABrowser(t *testing.T) {
	r := start(t, withCORS(false, "https://app.example"))
	rd := r.open("/v1/prices/A")
	for name, header := range map[string]http.Header{
		"stream": rd.resp.Header, "HEAD": r.do(r.request(http.MethodHead, "/v1/prices/A")).Header, "publish": r.post("/v1/notify/ada", "x").Header,
		"OPTIONS": r.do(r.request(http.MethodOptions, "/v1/prices/A")).Header, "404": r.get("/nowhere").Header, "400": r.get("/v1/prices/a.b").Header,
		"preflight": r.do(r.request(http.MethodOptions, "/v1/prices/A", "Origin", "https://app.example", "Access-Control-Request-Method", "GET")).Header,
	} {
		if header.Get("X-Content-Type-Options") != "nosniff" || header.Get("Referrer-Policy") != "no-referrer" {
			t.Errorf("%s: %v", name, header)
		}
	}
}

func TestHardening_HeaderMapCannotSplitTheHandWrittenHead(t *testing.T) {
	head := gateway.EncodeHead(http.Header{"X-A": {"a\r\nX-Evil: 1\r\n\r\nbody"}, "Bad Name": {"x"}, "X-B:\r\nX-Evil": {"1"},
		"Content-Length": {"5"}, "Transfer-Encoding": {"gzip"}, "Connection": {"keep-alive"}, "Date": {"never"}}, time.Now())
	text := string(head)
	if strings.Contains(text, "\r\nX-Evil") || strings.Contains(text, "Bad Name") || strings.Count(text, "\r\n\r\n") != 1 ||
		!bytes.HasSuffix(head, []byte("\r\n\r\n")) {
		t.Errorf("head %q", text)
	}
	for _, lost := range []string{"Content-Length", "gzip", "keep-alive", "never"} {
		if strings.Contains(text, lost) {
			t.Errorf("%q is in the head %q", lost, text)
		}
	}
}

func TestHardening_OriginIsNeverWrittenUnchecked(t *testing.T) {
	r := start(t, withCORS(false, "*"))
	w := r.dial().send("GET /v1/prices/A HTTP/1.1\r\nHost: h\r\nOrigin: https://a.example\x01\r\n\r\n")
	resp, err := http.ReadResponse(w.r, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if got := resp.Header.Get("Access-Control-Allow-Origin"); resp.StatusCode == http.StatusOK && got != "*" {
		t.Errorf("%d, allowed origin %q", resp.StatusCode, got)
	}
}

func TestHardening_HugeHeadersAre431(t *testing.T) {
	r := start(t)
	w := r.dial()
	go func() {
		_, _ = io.WriteString(w.Conn, "GET /v1/feed HTTP/1.1\r\nHost: h\r\nX-Big: "+strings.Repeat("x", 100_000)+"\r\n\r\n")
	}()
	if resp := w.answer(); resp.StatusCode != http.StatusRequestHeaderFieldsTooLarge {
		t.Errorf("status %d", resp.StatusCode)
	}
}

func TestHardening_HugeIDsAreCut(t *testing.T) {
	r := start(t)
	r.open("/v1/prices/A?last-event-id=" + strings.Repeat("x", 30_000)).want("$ready")
	if n := len(r.bridge.opens()[0].Cursor); n > 300 {
		t.Errorf("%d bytes of a huge id went on", n)
	}
}

func TestHardening_SlowHeadersAreCutOff(t *testing.T) {
	r := start(t, func(s *setup) { s.cfg.HTTP.HeaderTimeout = 50 * time.Millisecond })
	w := r.dial().send("GET /v1/feed HTTP/1.1\r\nHost:")
	if _, err := io.ReadAll(w.r); err != nil { // the deadline of dial would be an error
		t.Errorf("the connection was not closed: %v", err)
	}
}

func TestHardening_PipelinedRequestIs400AndNothingElse(t *testing.T) {
	r := start(t)
	for range 5 {
		w := r.dial().send("GET /v1/prices/A HTTP/1.1\r\nHost: h\r\n\r\nGET /v1/notify/x HTTP/1.1\r\nHost: h\r\n\r\n")
		resp := w.answer()
		resp.problem(t, http.StatusBadRequest, "pipelined")
		if !resp.Close {
			t.Error("the connection stays open")
		}
		if rest, err := io.ReadAll(w.r); err != nil || len(rest) != 0 {
			t.Errorf("after the answer: %q, %v", rest, err)
		}
	}
	eventually(t, "the release", func() bool { return r.server.Admitted() == 0 })
	for i, s := range r.bridge.sources {
		if !s.isClosed() {
			t.Errorf("source %d is open", i)
		}
	}
}

func TestHardening_PipelinedBytesDoNotDestroyTheAnswer(t *testing.T) {
	r := start(t)
	w := r.dial().send("GET /v1/prices/A HTTP/1.1\r\nHost: h\r\n\r\n" + strings.Repeat("x", 40_000))
	// Read only when the server has closed: were anything unread there, it would have sent RST.
	eventually(t, "the close", func() bool { return r.metric("headgate_requests_total", "outcome", "pipelined") == 1 })
	w.answer().problem(t, http.StatusBadRequest, "pipelined")
	if rest, err := io.ReadAll(w.r); err != nil || len(rest) != 0 {
		t.Errorf("after the answer: %q, %v", rest, err)
	}
}

func TestHardening_BodyOnAStreamRequestIs400(t *testing.T) {
	r := start(t)
	for _, request := range []string{
		"GET /v1/prices/A HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\nhello",
		"GET /v1/prices/A HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
		"HEAD /v1/prices/A HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\nhello",
	} {
		w := r.dial().send(request)
		resp, err := http.ReadResponse(w.r, &http.Request{Method: request[:strings.IndexByte(request, ' ')]})
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode != http.StatusBadRequest || !resp.Close {
			t.Errorf("%q: %d, close %v", request, resp.StatusCode, resp.Close)
		}
	}
	if admitted, _, _ := r.limiter.balance(); admitted != 0 {
		t.Errorf("%d admissions", admitted)
	}
}

func TestHardening_DevAnswersOnlyToLocalNames(t *testing.T) {
	r := start(t, func(s *setup) {
		s.cfg.Dev = true
		s.console = http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "page") })
	})
	for host, ok := range map[string]bool{"localhost": true, "LOCALHOST:8080": true, "127.0.0.1:1": true, "[::1]:8080": true, "[::1]": true,
		"evil.example": false, "evil.example:8080": false, "localhost.evil.example": false, "127.0.0.1.evil.example": false, "127.0.0.2": false,
		"": false, "10.0.0.1": false} {
		for _, path := range []string{"/v1/feed?subject=feed.a", "/console/", "/nothing"} {
			req := r.request(http.MethodHead, path)
			req.Host = host
			w := r.dial().send("HEAD " + path + " HTTP/1.1\r\nHost: " + host + "\r\nConnection: close\r\n\r\n")
			resp, err := http.ReadResponse(w.r, req)
			if err != nil {
				t.Fatal(err)
			}
			resp.Body.Close()
			if (resp.StatusCode != http.StatusMisdirectedRequest) != ok {
				t.Errorf("Host %q, %s: %d", host, path, resp.StatusCode)
			}
		}
	}
}

func TestHardening_WithoutDevAnyHostIsAnswered(t *testing.T) {
	r := start(t)
	req := r.request(http.MethodHead, "/v1/prices/A")
	req.Host = "sse.example"
	if resp := r.do(req); resp.StatusCode != http.StatusOK {
		t.Errorf("status %d", resp.StatusCode)
	}
}

func TestHardening_HandoverWithoutDescriptorsIsOverload(t *testing.T) {
	r := start(t, func(s *setup) { s.delivery = func(d *delivery.Server) gateway.Delivery { return full{d} } })
	resp := r.get("/v1/prices/A")
	resp.problem(t, http.StatusServiceUnavailable, "descriptors")
	if resp.Header.Get("Retry-After") == "" || !resp.Close || resp.Header.Get("X-Accel-Buffering") != "" {
		t.Errorf("fields %v", resp.Header)
	}
	r.overloaded(r.get("/v1/prices/A", "Accept", "text/event-stream"), "cap")
	eventually(t, "the release", func() bool { return r.server.Admitted() == 0 })
}

func TestHardening_PanicIs500AndCounted(t *testing.T) {
	r := start(t)
	r.bridge.open = func(context.Context, flow.Request) (flow.Opened, error) { panic("broken") }
	resp := r.get("/v1/prices/A", "Accept", "text/event-stream")
	resp.problem(t, http.StatusInternalServerError, "internal")
	if strings.Contains(resp.body, "broken") {
		t.Errorf("the client sees the panic: %s", resp.body)
	}
	if got := r.metric("headgate_request_panics_total"); got != 1 {
		t.Errorf("panics %v", got)
	}
	eventually(t, "the release", func() bool { return r.server.Admitted() == 0 })
}

func TestHardening_PanicInThePageIsInTheLog(t *testing.T) {
	r := start(t, func(s *setup) {
		s.console = http.HandlerFunc(func(http.ResponseWriter, *http.Request) { panic("broken page") })
	})
	w := r.dial().send("GET /console/ HTTP/1.1\r\nHost: h\r\n\r\n")
	if got, err := io.ReadAll(w.r); err != nil || len(got) != 0 {
		t.Errorf("%q, %v", got, err)
	}
	eventually(t, "the line", func() bool {
		return strings.Contains(r.logs.String(), "level=ERROR") && strings.Contains(r.logs.String(), "broken page")
	})
}

// On HTTP/2 the pipeline has a goroutine of its own, where nobody would stop a panic.
func TestHardening_PanicOnHTTP2EndsItsRequestAlone(t *testing.T) {
	r := start(t, withTLS(t, nil), func(s *setup) {
		s.console = http.HandlerFunc(func(http.ResponseWriter, *http.Request) { panic("broken page") })
	})
	client := tlsClient(true)
	rd := r.openWith(client, r.requestTLS(http.MethodGet, "/v1/prices/A"))
	rd.want("$ready")
	r.bridge.mu.Lock()
	opened := r.bridge.open
	r.bridge.open = func(context.Context, flow.Request) (flow.Opened, error) { panic("broken") }
	r.bridge.mu.Unlock()
	resp, err := client.Do(r.requestTLS(http.MethodGet, "/v1/prices/B"))
	if err != nil || resp.StatusCode != http.StatusInternalServerError {
		t.Fatalf("%v, %v", resp, err)
	}
	resp.Body.Close()
	r.bridge.mu.Lock()
	r.bridge.open = opened
	r.bridge.mu.Unlock()
	if resp, err := client.Do(r.requestTLS(http.MethodGet, "/console/")); err == nil {
		resp.Body.Close()
		t.Errorf("a broken page is answered with %s", resp.Status)
	}
	eventually(t, "the line", func() bool {
		return strings.Contains(r.logs.String(), "broken page") && strings.Contains(r.logs.String(), "hardening_test.go")
	})
	r.bridge.push(sse.NewFrame("price", []byte("1")), 1)
	rd.want("price") // on the same connection
}

func TestHardening_PanicInDeliveryLeavesNothingBehind(t *testing.T) {
	r := start(t, func(s *setup) { s.delivery = func(d *delivery.Server) gateway.Delivery { return panicking{d} } })
	r.get("/v1/prices/A").problem(t, http.StatusInternalServerError, "internal")
	w := r.dial().send("GET /v1/prices/A HTTP/1.0\r\n\r\n")
	_, _ = io.Copy(io.Discard, w.r)
	eventually(t, "the release", func() bool { return r.server.Admitted() == 0 })
	if got := r.metric("headgate_streams", "route", "prices"); got != 0 {
		t.Errorf("%v streams", got)
	}
}

func TestHardening_ClientGoneWhileOpeningIsNobodysFault(t *testing.T) {
	r := start(t)
	waiting := make(chan struct{})
	r.bridge.open = func(ctx context.Context, _ flow.Request) (flow.Opened, error) {
		close(waiting)
		<-ctx.Done()
		return flow.Opened{}, fmt.Errorf("subscribe: %w", ctx.Err())
	}
	w := r.dial().send("GET /v1/prices/A HTTP/1.1\r\nHost: h\r\n\r\n")
	<-waiting
	_ = w.Close()
	eventually(t, "the release", func() bool { return r.server.Admitted() == 0 })
	eventually(t, "the outcome", func() bool {
		return r.metric("headgate_requests_total", "route", "prices", "outcome", "client-gone") == 1
	})
}

func TestHardening_UnusualRequestTargets(t *testing.T) {
	r := start(t)
	for request, status := range map[string]int{
		"CONNECT h:80 HTTP/1.1":                      404,
		"CONNECT /v1/feed HTTP/1.1":                  404,
		"GET http://h/v1/prices/A%2E HTTP/1.1":       400,
		"GET /v1/prices/%2E%2E/%2E%2E HTTP/1.1":      404,
		"GET /v1/prices/%2e%2e HTTP/1.1":             400,
		"GET /v1/../v1/feed?subject=feed.a HTTP/1.1": 404,
		"GET /v1/prices/%zz HTTP/1.1":                400,
		"GET * HTTP/1.1":                             404,
	} {
		w := r.dial().send(request + "\r\nHost: h\r\nConnection: close\r\n\r\n")
		resp, err := http.ReadResponse(w.r, nil)
		if err != nil {
			t.Fatalf("%s: %v", request, err)
		}
		resp.Body.Close()
		if resp.StatusCode != status {
			t.Errorf("%s: %d, want %d", request, resp.StatusCode, status)
		}
	}
}

func TestCanonical_TakesOnlyPathsTheMuxWouldNotRedirect(t *testing.T) {
	for path, want := range map[string]bool{"/": true, "/a": true, "/a/": true, "/a/b": true, "/%2E%2E/a": true, "/a/%2E": true, "/a%2F%2Fb": true,
		"": false, "a": false, "//": false, "//a": false, "/a//b": false, "/a//": false, "/./a": false, "/a/..": false, "/a/../b": false, "/a/.": false} {
		u, err := url.ParseRequestURI("http://h" + path)
		if path == "a" {
			u, err = &url.URL{Path: "a"}, nil
		}
		if err != nil {
			t.Fatal(err)
		}
		if gateway.Canonical(u) != want {
			t.Errorf("%q: %v", path, !want)
		}
	}
}

func TestHardening_ForwardedForFromAStrangerIsIgnored(t *testing.T) {
	r := start(t)
	r.open("/v1/prices/A", "X-Forwarded-For", "198.51.100.7").want("$ready")
	r.open("/v1/prices/A", "X-Forwarded-For", "198.51.100.8").want("$ready")
	if _, _, addrs := r.limiter.balance(); len(addrs) != 2 || addrs[0].String() != "127.0.0.1" || addrs[1] != addrs[0] {
		t.Errorf("addresses %v", addrs)
	}
	if n := strings.Count(r.logs.String(), "HTTP_TRUSTED_PROXIES=private"); n != 1 {
		t.Errorf("%d warnings with the remedy, want one", n)
	}
}

func TestTrustedProxies_AreBelieved(t *testing.T) {
	r := start(t, func(s *setup) { s.cfg.HTTP.TrustedProxies = []string{"private"} })
	for given, want := range map[string]string{"198.51.100.7": "198.51.100.7", "2001:db8::7": "2001:db8::7", "::ffff:198.51.100.8": "198.51.100.8"} {
		rd := r.open("/v1/prices/A", "X-Forwarded-For", "1.1.1.1, "+given)
		rd.want("$ready")
		if _, _, addrs := r.limiter.balance(); len(addrs) != 1 || addrs[0].String() != want {
			t.Errorf("addresses %v, want %s", addrs, want)
		}
		rd.stop()
		// Released for the same address, or it would stay in the list.
		eventually(t, "the release", func() bool { _, _, addrs := r.limiter.balance(); return len(addrs) == 0 })
	}
	if strings.Contains(r.logs.String(), "X-Forwarded-For") {
		t.Error("a warning about a trusted proxy")
	}
}

func TestConfig_StaysWhatItWas(t *testing.T) {
	cfg := config.DefaultConfig()
	cfg.Routes = []config.Route{feed()}
	if _, err := gateway.New(gateway.Options{Config: cfg}); err == nil {
		t.Error("New goes without its parts")
	}
}

// net/http reads the rest of a body before it closes a connection, and would wait for one that never comes, whatever was answered.
func TestHardening_ABodyThatNeverComesDoesNotKeepItsConnection(t *testing.T) {
	gateway.SetBodyWait(t, 300*time.Millisecond)
	r := start(t)
	for _, head := range []string{"GET /v1/prices/ACME", "GET /nowhere", "HEAD /v1/prices/ACME", "DELETE /v1/prices/ACME", "POST /v1/notify/u"} {
		conn, err := net.Dial("tcp", r.addr)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		fmt.Fprintf(conn, "%s HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\n", head)
		_ = conn.SetReadDeadline(time.Now().Add(patience))
		if _, err := io.Copy(io.Discard, conn); err != nil {
			t.Errorf("%s: the connection is still open: %v", head, err)
		}
	}
}
