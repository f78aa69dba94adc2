package gateway_test

import (
	"bufio"
	"context"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"headgate/internal/sse"
)

// response is an answer with its body read.
type response struct {
	*http.Response
	body string
}

func (r *rig) request(method, path string, fields ...string) *http.Request {
	r.t.Helper()
	req, err := http.NewRequestWithContext(r.t.Context(), method, "http://"+r.addr+path, nil)
	if err != nil {
		r.t.Fatal(err)
	}
	for i := 0; i+1 < len(fields); i += 2 {
		req.Header.Add(fields[i], fields[i+1])
	}
	return req
}

// do sends a request whose answer ends by itself.
func (r *rig) do(req *http.Request) response {
	r.t.Helper()
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: patience,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	resp, err := client.Do(req)
	if err != nil {
		r.t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		r.t.Fatalf("%s %s: %v", req.Method, req.URL, err)
	}
	answer := response{resp, string(body)}
	r.described(req, answer)
	return answer
}

func (r *rig) get(path string, fields ...string) response {
	r.t.Helper()
	return r.do(r.request(http.MethodGet, path, fields...))
}

// problem checks that the answer is a problem document of this kind, and returns its detail.
func (r response) problem(t *testing.T, status int, slug string) string {
	t.Helper()
	if r.StatusCode != status {
		t.Fatalf("status %d, want %d; body %q", r.StatusCode, status, r.body)
	}
	if got := r.Header.Get("Content-Type"); got != "application/problem+json" {
		t.Errorf("Content-Type %q", got)
	}
	var doc struct {
		Type, Title, Detail, Instance string
		Status                        int
	}
	d := json.NewDecoder(strings.NewReader(r.body))
	d.DisallowUnknownFields()
	if err := d.Decode(&doc); err != nil {
		t.Fatalf("body %q: %v", r.body, err)
	}
	if doc.Type != "urn:headgate:problem:"+slug || doc.Status != status {
		t.Fatalf("problem %q with status %d, want %q with %d", doc.Type, doc.Status, slug, status)
	}
	if doc.Title == "" || doc.Detail == "" || doc.Instance == "" {
		t.Errorf("an empty member in %q", r.body)
	}
	if !slices.Contains(r.Header.Values("Vary"), "Origin") {
		t.Errorf("Vary %q", r.Header.Values("Vary"))
	}
	if r.Header.Get("Cache-Control") != "no-store" {
		t.Errorf("Cache-Control %q", r.Header.Get("Cache-Control"))
	}
	return doc.Detail
}

// reader is an open stream.
type reader struct {
	t    testing.TB
	resp *http.Response
	dec  *sse.Decoder
	stop func()

	described func(sse.Event) // holds an event against the description of the route
}

// open opens a stream and leaves it open until the test ends.
func (r *rig) open(path string, fields ...string) *reader {
	r.t.Helper()
	return r.openWith(&http.Client{Transport: &http.Transport{DisableKeepAlives: true}}, r.request(http.MethodGet, path, fields...))
}

func (r *rig) openWith(client *http.Client, req *http.Request) *reader {
	r.t.Helper()
	ctx, cancel := context.WithCancel(req.Context())
	described := r.describedItems(req) // as it is when the request is sent: a reload may come before the answer
	resp, err := client.Do(req.WithContext(ctx))
	if err != nil {
		cancel()
		r.t.Fatal(err)
	}
	rd := &reader{t: r.t, resp: resp, dec: sse.NewDecoder(resp.Body), stop: func() { cancel(); _ = resp.Body.Close() }, described: described}
	r.t.Cleanup(func() { rd.stop(); client.CloseIdleConnections() })
	if resp.StatusCode != http.StatusOK {
		body, _ := io.ReadAll(resp.Body)
		r.t.Fatalf("status %d: %s", resp.StatusCode, body)
	}
	return rd
}

// next is the next event that a client dispatches.
func (rd *reader) next() sse.Event {
	rd.t.Helper()
	timer := time.AfterFunc(patience, rd.stop)
	defer timer.Stop()
	e, err := rd.dec.Next()
	if err != nil {
		rd.t.Fatalf("next event: %v", err)
	}
	rd.described(e)
	return e
}

// want reads the next event and checks its type.
func (rd *reader) want(eventType string) sse.Event {
	rd.t.Helper()
	e := rd.next()
	if e.Type != eventType {
		rd.t.Fatalf("event %q with data %q, want %q", e.Type, e.Data, eventType)
	}
	return e
}

// wantEnd reads $end with this reason.
func (rd *reader) wantEnd(reason string) {
	rd.t.Helper()
	if e := rd.want("$end"); e.Data != `{"reason":"`+reason+`","reconnect":true}` {
		rd.t.Fatalf("$end %s, want %s", e.Data, reason)
	}
}

// ended waits for the end of the stream.
func (rd *reader) ended() {
	rd.t.Helper()
	timer := time.AfterFunc(patience, rd.stop)
	defer timer.Stop()
	if e, err := rd.dec.Next(); err != io.EOF {
		rd.t.Fatalf("event %+v, error %v; want the end", e, err)
	}
}

// wire is a bare connection.
type wire struct {
	t testing.TB
	net.Conn
	r *bufio.Reader
}

func (r *rig) dial() *wire {
	r.t.Helper()
	conn, err := (&net.Dialer{}).DialContext(r.t.Context(), "tcp", r.addr)
	if err != nil {
		r.t.Fatal(err)
	}
	_ = conn.SetDeadline(time.Now().Add(patience))
	r.t.Cleanup(func() { _ = conn.Close() })
	return &wire{r.t, conn, bufio.NewReader(conn)}
}

func (w *wire) send(text string) *wire {
	w.t.Helper()
	if _, err := io.WriteString(w.Conn, text); err != nil {
		w.t.Fatal(err)
	}
	return w
}

// answer reads a whole response.
func (w *wire) answer() response {
	w.t.Helper()
	resp, err := http.ReadResponse(w.r, nil)
	if err != nil {
		w.t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		w.t.Fatal(err)
	}
	return response{resp, string(body)}
}

// head reads raw lines up to the blank one.
func (w *wire) head() []string {
	w.t.Helper()
	var lines []string
	for {
		line, err := w.r.ReadString('\n')
		if err != nil {
			w.t.Fatalf("after %q: %v", lines, err)
		}
		line = strings.TrimSuffix(line, "\r\n")
		if line == "" {
			return lines
		}
		lines = append(lines, line)
	}
}
