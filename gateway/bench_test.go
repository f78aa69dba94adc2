package gateway_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"testing"
	"time"

	"headgate/auth"
	"headgate/gateway"
	"headgate/internal/config"
	"headgate/internal/delivery"
	"headgate/internal/flow"
)

// instantly takes every connection and ends the stream at once, so that what is measured is gateway alone.
type instantly struct {
	nothing
	ended func(delivery.Ended)
}

func (d instantly) Handover(conn net.Conn, c delivery.Client) error {
	c.Source.Close()
	_ = conn.Close()
	d.ended(delivery.Ended{Tag: c.Tag, Reason: delivery.Lifetime})
	return nil
}

// instantBridge opens without asking anybody.
type instantBridge struct{ *bridge }

func (instantBridge) Open(context.Context, flow.Request) (flow.Opened, error) {
	return flow.Opened{Source: &source{}, Start: flow.Live}, nil
}

// hijackable is a ResponseWriter over one end of nothing.
type hijackable struct {
	header http.Header
	conn   net.Conn
	rw     *bufio.ReadWriter
}

func (h *hijackable) Header() http.Header         { return h.header }
func (h *hijackable) Write(p []byte) (int, error) { return len(p), nil }
func (h *hijackable) WriteHeader(int)             {}
func (h *hijackable) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	return h.conn, h.rw, nil
}

type noConn struct{ net.Conn }

func (noConn) Close() error { return nil }

// BenchmarkConnect is what gateway adds to a connect, from the parsed request to the hand-over: no sockets, no NATS.
func BenchmarkConnect(b *testing.B) {
	b.Run("nobody", func(b *testing.B) { benchmarkConnect(b, func(*setup) {}) })
	b.Run("identity", func(b *testing.B) { benchmarkConnect(b, withIdentity(b, auth.Grants{})) })
}

func benchmarkConnect(b *testing.B, change func(*setup)) {
	cfg := config.DefaultConfig()
	for n := range 50 {
		r := prices()
		r.Name, r.Path = fmt.Sprintf("r%d", n), fmt.Sprintf("/v1/r%d/{symbol}", n)
		cfg.Routes = append(cfg.Routes, r)
	}
	st := &setup{cfg: cfg}
	change(st)
	var s *gateway.Server
	s, err := gateway.New(gateway.Options{Config: st.cfg, Bridge: instantBridge{}, Limiter: &limiter{}, Identities: st.identities,
		Delivery: instantly{ended: func(e delivery.Ended) { s.Ended(e) }}, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		b.Fatal(err)
	}
	handler := s.Handler()
	w := &hijackable{conn: noConn{}, rw: bufio.NewReadWriter(bufio.NewReader(http.NoBody), bufio.NewWriter(io.Discard))}
	req, err := http.NewRequestWithContext(gateway.WithPlainConn(b.Context()), http.MethodGet, "http://h/v1/r7/ACME", nil)
	if err != nil {
		b.Fatal(err)
	}
	req.Header.Set("Accept", "text/event-stream")
	req.Header.Set("User-Agent", "bench")
	req.Header.Set("Authorization", "Bearer "+token("ann", may("sub", "prices.*")))
	req.RemoteAddr = "192.0.2.1:1234"
	b.ReportAllocs()
	for b.Loop() {
		w.header = http.Header{}
		handler.ServeHTTP(w, req)
	}
}

// BenchmarkConnectOverSockets is a whole connect, client included: dial, request, head and $ready, close.
func BenchmarkConnectOverSockets(b *testing.B) {
	r := start(b)
	request := []byte("GET /v1/prices/A HTTP/1.1\r\nHost: h\r\nAccept: text/event-stream\r\n\r\n")
	buf := make([]byte, 4096)
	b.ReportAllocs()
	for b.Loop() {
		conn, err := net.DialTimeout("tcp", r.addr, time.Second)
		if err != nil {
			b.Fatal(err)
		}
		if _, err := conn.Write(request); err != nil {
			b.Fatal(err)
		}
		if n, err := conn.Read(buf); err != nil || n < 300 {
			b.Fatal(n, err)
		}
		_ = conn.Close()
	}
}

// BenchmarkSweep is one look for streams whose identity has been revoked, by whatever has been revoked.
func BenchmarkSweep(b *testing.B) {
	for _, streams := range []int{20_000, 1_000_000} {
		b.Run(fmt.Sprint(streams), func(b *testing.B) {
			r := auth.NewRevocations(100_000, nil, nil)
			var all []auth.RevocationEntry
			for i := range 10_000 {
				all = append(all, auth.RevocationEntry{Key: auth.RevocationKey(auth.ByToken, fmt.Sprint(i)), Stored: time.Now()})
			}
			r.Replace(all)
			sweep := gateway.Sweep(streams, r, func(i int) auth.Marks { return auth.MarksOfUser(fmt.Sprint("u", i)) })
			for b.Loop() {
				sweep()
			}
		})
	}
}
