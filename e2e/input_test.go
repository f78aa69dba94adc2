package e2e_test

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"
)

// talk sends bytes on a connection of its own and reads the answer. The connection lives as long as the test.
func talk(t *testing.T, addr, request string) (net.Conn, *http.Response) {
	t.Helper()
	conn, err := net.DialTimeout("tcp", addr, brief)
	must(t, err)
	t.Cleanup(func() { conn.Close() })
	must(t, conn.SetDeadline(time.Now().Add(brief)))
	_, err = io.WriteString(conn, request)
	must(t, err)
	resp, err := http.ReadResponse(bufio.NewReader(conn), &http.Request{Method: "GET"})
	must(t, err)
	return conn, resp
}

// get is a stream request as written on the wire.
func get(target string, fields ...string) string {
	return "GET " + target + " HTTP/1.1\r\nHost: localhost\r\nAccept: text/event-stream\r\n" +
		strings.Join(append(fields, ""), "\r\n") + "\r\n"
}

// problem is the document of a refusal (RFC 9457).
type problem struct {
	Type, Title, Detail, Instance string
	Status                        int
}

func TestBadInput_GetsItsOwnClearAnswer(t *testing.T) {
	t.Parallel()
	g := start(t)
	before := measure(t, g.Headgate)
	for name, c := range map[string]struct {
		request string
		status  int
		detail  string // what the remedy talks about
	}{
		"unknown route":                       {get("/v1/nothing"), 404, "path"},
		"a route's path with a slash more":    {get("/v1/prices/ACME/"), 404, "path"},
		"parameter against its pattern":       {get("/v1/prices/acme"), 400, "symbol"},
		"wildcard in a path parameter":        {get("/v1/rooms/*"), 400, "room"},
		"full wildcard in a path parameter":   {get("/v1/rooms/%3E"), 400, "room"},
		"encoded dots in a path parameter":    {get("/v1/rooms/a%2Eb"), 400, "room"},
		"two encoded dots":                    {get("/v1/rooms/%2E%2E"), 400, "room"},
		"encoded white space":                 {get("/v1/rooms/a%20b"), 400, "room"},
		"encoded line break":                  {get("/v1/rooms/a%0D%0Ab"), 400, "room"},
		"encoded NUL":                         {get("/v1/rooms/a%00b"), 400, "room"},
		"invalid UTF-8":                       {get("/v1/rooms/%C0%AE"), 400, "room"},
		"parameter of 129 bytes":              {get("/v1/rooms/" + strings.Repeat("a", 129)), 400, "room"},
		"no subject":                          {get("/v1/feed"), 400, "subject"},
		"empty subject":                       {get("/v1/feed?subject="), 400, "subject"},
		"malformed subject":                   {get("/v1/feed?subject=feed..eu"), 400, "subject"},
		"wildcard inside a token":             {get("/v1/feed?subject=feed.a*"), 400, "subject"},
		"subject outside allow":               {get("/v1/feed?subject=prices.ACME"), 403, "subject"},
		"one allowed subject and one outside": {get("/v1/feed?subject=feed.eu&subject=users.bob"), 403, "subject"},
		"everything":                          {get("/v1/feed?subject=%3E"), 403, "subject"},
		"wildcard wider than allow":           {get("/v1/feed?subject=*.eu"), 403, "subject"},
		"JetStream's API":                     {get("/v1/feed?subject=%24JS.API.%3E"), 403, "subject"},
		"inboxes":                             {get("/v1/feed?subject=_INBOX.%3E"), 403, "subject"},
		"more subjects than a stream may have": {get("/v1/feed?subject=feed.a" + manySubjects(32)),
			400, "wildcard"},
		"since on core NATS":                   {get("/v1/prices/ACME?since=1h"), 400, "since"},
		"body on a stream request":             {get("/v1/prices/ACME", "Content-Length: 5") + "hello", 400, "body"},
		"another media type":                   {strings.Replace(get("/v1/prices/ACME"), "text/event-stream", "application/json", 1), 406, "text/event-stream"},
		"broken percent encoding in the query": {get("/v1/feed?subject=%zz"), 400, ""},
	} {
		t.Run(name, func(t *testing.T) {
			_, resp := talk(t, g.Addr, c.request)
			body, err := io.ReadAll(resp.Body)
			must(t, err)
			if resp.StatusCode != c.status {
				t.Fatalf("status %d, not %d: %s", resp.StatusCode, c.status, body)
			}
			if got := resp.Header.Get("Content-Type"); got != "application/problem+json" {
				t.Errorf("content type %q", got)
			}
			var p problem
			if err := json.Unmarshal(body, &p); err != nil {
				t.Fatalf("not a problem document: %v: %s", err, body)
			}
			if p.Status != c.status || p.Type == "" || p.Title == "" || p.Instance == "" || !strings.Contains(strings.ToLower(p.Detail), c.detail) {
				t.Errorf("the problem does not say what and how to mend it: %s", body)
			}
		})
	}
	atRest(t, g.Headgate, before)
}

// %24JS in a path parameter is one valid token; below a literal first token it reaches nothing of JetStream's.
func TestBadInput_ADollarInAParameterStaysInsideItsSubject(t *testing.T) {
	t.Parallel()
	g := start(t)
	s := open(t, g.URL+"/v1/rooms/%24JS")
	g.publish(t, "$JS.API.INFO", "not for browsers")
	g.publish(t, "rooms.$JS", "its own room")
	if got := until(t, s, "message").Data(); got != "its own room" {
		t.Errorf("the stream got %q", got)
	}
}

func TestBadInput_TooManyHeaderBytesAreRefused(t *testing.T) {
	t.Parallel()
	g := start(t)
	before := measure(t, g.Headgate)
	conn, err := net.DialTimeout("tcp", g.Addr, brief)
	must(t, err)
	defer conn.Close()
	must(t, conn.SetDeadline(time.Now().Add(brief)))
	// The server may answer and close before all has been sent, so the error of this write says nothing.
	_, _ = io.WriteString(conn, get("/v1/prices/ACME", "X-Filler: "+strings.Repeat("x", 100<<10)))
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	must(t, err)
	if resp.StatusCode != http.StatusRequestHeaderFieldsTooLarge {
		t.Errorf("status %d, not 431", resp.StatusCode)
	}
	conn.Close()
	atRest(t, g.Headgate, before)
}

func TestBadInput_APayloadOverTheLimitBecomesAGap(t *testing.T) {
	t.Parallel()
	g := start(t, "SSE_MAX_EVENT_BYTES", "1KiB")
	s := open(t, g.URL+"/v1/prices/ACME")
	g.publish(t, "prices.ACME", strings.Repeat("x", 1025))
	g.publish(t, "prices.ACME", "small")
	if b := until(t, s, "$gap", "price"); b.Event() != "$gap" || !strings.Contains(b.Data(), `"too-large"`) || !strings.Contains(b.Data(), `"certain":true`) {
		t.Errorf("instead of the large message came %s", b)
	}
	if b := until(t, s, "price"); b.Data() != "small" {
		t.Errorf("after the gap came %s", b)
	}
}

func manySubjects(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, "&subject=feed.s%d", i)
	}
	return b.String()
}
