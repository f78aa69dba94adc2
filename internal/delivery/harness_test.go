package delivery_test

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"headgate/internal/cursor"
	"headgate/internal/delivery"
	"headgate/internal/sse"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// rig is a delivery server behind a real net/http server, on one of the two transports.
type rig struct {
	t         *testing.T
	server    *delivery.Server
	topic     *topic
	buckets   *buckets // not nil: what clients follow instead
	policy    *delivery.Policy
	transport string
	addr      string
	offset    atomic.Int64 // of the clock
	tags      atomic.Uint64
	lifetime  time.Duration
	expires   time.Duration // from when a client comes
	notice    time.Duration
	slow      atomic.Int64 // gaps that were announced
	rate      atomic.Int64 // the same of clients that were over their rate
	key       func(r *http.Request) string

	mu    sync.Mutex
	ended []delivery.Ended
}

var transports = []string{"socket", "writer"}

// onBoth runs a test of the contract on both transports.
func onBoth(t *testing.T, f func(t *testing.T, r *rig)) {
	for _, tr := range transports {
		t.Run(tr, func(t *testing.T) {
			if tr == "socket" && !socketsHere {
				t.Skip("sockets are taken over on Linux only")
			}
			r := newRig(t, tr)
			f(t, r)
		})
	}
}

func newRig(t *testing.T, transport string) *rig {
	r := &rig{t: t, topic: newTopic(), transport: transport, policy: &delivery.Policy{Heartbeat: time.Minute, IDs: true,
		BufferBytes: 1 << 20, BufferAge: time.Minute, WriteTimeout: 10 * time.Second}}
	r.server = delivery.New(delivery.Config{Shards: 2, OnEnd: r.onEnd, OnSlow: func(n int) { r.slow.Add(int64(n)) }, OnRate: func(n int) { r.rate.Add(int64(n)) },
		Now: func() time.Time { return time.Now().Add(time.Duration(r.offset.Load())) }})
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- r.server.Run(ctx) }()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	r.addr = ln.Addr().String()
	hs := &http.Server{Handler: http.HandlerFunc(r.handle)}
	go hs.Serve(ln)
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
		hs.Close()
		if n := r.server.Streams(); n != 0 {
			t.Errorf("%d streams left", n)
		}
		if n := r.topic.balance(); n != 0 {
			t.Errorf("%d sources left open", n)
		}
		http.DefaultClient.CloseIdleConnections()
	})
	return r
}

func (r *rig) onEnd(e delivery.Ended) {
	r.mu.Lock()
	r.ended = append(r.ended, e)
	r.mu.Unlock()
}

// ends are the reasons so far.
func (r *rig) ends() []delivery.Ended {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]delivery.Ended(nil), r.ended...)
}

// forward moves the clock and makes the shards notice.
//
// A ResponseWriter may be in the middle of a write then, so tests that use it have no write timeout.
func (r *rig) forward(d time.Duration) {
	r.offset.Add(int64(d))
	r.server.Wake()
}

func (r *rig) handle(w http.ResponseWriter, req *http.Request) {
	tag := r.tags.Add(1)
	c := delivery.Client{Tag: tag, Key: "k", Policy: r.policy, Retry: 2 * time.Second, Ready: readyFrame(tag), Lifetime: r.lifetime}
	if r.buckets == nil {
		c.Source = r.topic.open()
	} else {
		c.Source = r.buckets.open()
	}
	if r.expires != 0 {
		c.Expires, c.Notice = time.Now().Add(time.Duration(r.offset.Load())+r.expires), r.notice
	}
	if r.key != nil {
		c.Key = r.key(req)
	}
	if id := req.Header.Get("Last-Event-ID"); r.buckets != nil && id == snapshotWanted {
		c.From, c.State, c.Bare = r.buckets.beginning(), owedParts{0: true, 1: true}, true
	} else if id == snapshotWanted {
		c.From, c.State, c.Bare = cursor.Position{{Tag: cursor.MakeTag("test")}}, snapshotWanted, true
	} else if id != "" {
		p, err := cursor.Parse(id)
		if err != nil {
			panic(err)
		}
		c.From = p
	}
	if r.transport == "writer" {
		w.Header().Set("Content-Type", "text/event-stream")
		w.WriteHeader(200)
		r.server.Serve(req.Context().Done(), responseWriter{w, http.NewResponseController(w)}, &c)
		return
	}
	c.Head = []byte("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n")
	conn, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		panic(err)
	}
	delivery.Tune(conn)
	if err := r.server.Handover(conn, c); err != nil {
		c.Source.Close()
		conn.Close()
	}
}

type responseWriter struct {
	http.ResponseWriter
	c *http.ResponseController
}

func (w responseWriter) Flush() error                       { return w.c.Flush() }
func (w responseWriter) SetWriteDeadline(t time.Time) error { return w.c.SetWriteDeadline(t) }

// stream is a client's end.
type stream struct {
	t    *testing.T
	conn net.Conn
	body io.Reader
	dec  *sse.Decoder
	id   string
}

// connect opens a stream and reads nothing of it.
func (r *rig) connect(id string) *stream {
	r.t.Helper()
	conn, err := net.Dial("tcp", r.addr)
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() { conn.Close() })
	fmt.Fprintf(conn, "GET /x HTTP/1.1\r\nHost: test\r\n")
	if id != "" {
		fmt.Fprintf(conn, "Last-Event-ID: %s\r\n", id)
	}
	fmt.Fprint(conn, "\r\n")
	return &stream{t: r.t, conn: conn}
}

// start reads the head.
func (s *stream) start() *stream {
	s.t.Helper()
	resp, err := http.ReadResponse(bufio.NewReader(s.conn), nil)
	if err != nil {
		s.t.Fatal(err)
	}
	if resp.StatusCode != 200 || resp.Header.Get("Content-Type") != "text/event-stream" {
		s.t.Fatalf("got %s %v", resp.Status, resp.Header)
	}
	s.body = resp.Body
	s.dec = sse.NewDecoder(resp.Body)
	return s
}

// next is the next event; every other block is passed over, but its id is noted.
func (s *stream) next() (sse.Event, error) {
	s.conn.SetReadDeadline(time.Now().Add(10 * time.Second))
	e, err := s.dec.Next()
	if err == nil {
		s.id = e.ID
	}
	return e, err
}

func (s *stream) expect(typ, data string) sse.Event {
	s.t.Helper()
	e, err := s.next()
	if err != nil {
		s.t.Fatalf("waiting for %s %q: %v", typ, data, err)
	}
	if e.Type != typ || data != "" && e.Data != data {
		s.t.Fatalf("got %s %q, want %s %q", e.Type, e.Data, typ, data)
	}
	return e
}

func (s *stream) expectEOF() {
	s.t.Helper()
	if e, err := s.next(); !errors.Is(err, io.EOF) {
		s.t.Fatalf("got %v %v, want the end of the response", e, err)
	}
}

// silence lets time pass until a heartbeat has come. Once is not always enough: a ResponseWriter may report a write late, which then
// counts as traffic.
func (r *rig) silence(s *stream, want string) string {
	r.t.Helper()
	beat := make(chan struct{})
	defer close(beat)
	go func() {
		for {
			r.forward(16 * time.Second)
			select {
			case <-beat:
				return
			case <-time.After(500 * time.Millisecond):
			}
		}
	}()
	return s.raw(want)
}

// raw reads until the text has been seen.
func (s *stream) raw(want string) string {
	s.t.Helper()
	s.conn.SetReadDeadline(time.Now().Add(10 * time.Second))
	var got bytes.Buffer
	buf := make([]byte, 4096)
	for !strings.Contains(got.String(), want) {
		n, err := s.body.Read(buf)
		got.Write(buf[:n])
		if err != nil {
			s.t.Fatalf("got %q, then %v; want %q", got.String(), err, want)
		}
	}
	return got.String()
}

func dial(addr string) (net.Conn, error) { return net.DialTimeout("tcp", addr, 10*time.Second) }

// readResponse reads the head of a response.
func readResponse(conn net.Conn) (*http.Response, error) {
	conn.SetReadDeadline(time.Now().Add(10 * time.Second))
	return http.ReadResponse(bufio.NewReader(conn), nil)
}
