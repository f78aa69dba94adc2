package e2e_test

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"headgate/e2e/internal/stack"
	"headgate/e2e/internal/stream"
)

func TestHostile_APipelinedRequestIsRefused(t *testing.T) {
	t.Parallel()
	g := start(t)
	_, resp := talk(t, g.Addr, get("/v1/prices/ACME")+get("/v1/prices/OTHER"))
	body, _ := io.ReadAll(resp.Body)
	if resp.StatusCode != 400 || !strings.Contains(string(body), "urn:headgate:problem:pipelined") {
		t.Errorf("status %d: %s", resp.StatusCode, body)
	}
}

func TestHostile_WhatAClientSendsAfterItsRequestIsDroppedAndTooMuchEndsTheStream(t *testing.T) {
	t.Parallel()
	g := start(t, quickLinger...)
	before := measure(t, g.Headgate)
	conn, resp := talk(t, g.Addr, get("/v1/prices/ACME"))
	body := bufio.NewReader(resp.Body)
	waitEvent(t, body, "$ready")
	_, err := io.WriteString(conn, "a little garbage\r\n\r\n")
	must(t, err)
	g.publish(t, "prices.ACME", "still here")
	waitEvent(t, body, "price")
	_, _ = io.WriteString(conn, strings.Repeat("garbage ", 2000)) // the stream may be over before all is sent
	if _, err := io.Copy(io.Discard, body); errors.Is(err, net.ErrClosed) {
		t.Fatal(err)
	}
	ended(t, g, "client-data", 1)
	conn.Close()
	atRest(t, g.Headgate, before)
}

// waitEvent reads until an event of that type.
func waitEvent(t *testing.T, r *bufio.Reader, eventType string) stream.Block {
	t.Helper()
	for {
		b, err := stream.ReadBlock(r)
		if err != nil {
			t.Fatalf("waiting for %s: %v", eventType, err)
		}
		if b.HasData() && b.Event() == eventType {
			return b
		}
	}
}

// ended waits until so many streams have ended for that reason.
func ended(t *testing.T, g *gate, reason string, want float64) {
	t.Helper()
	ctx, cancel := soon(t)
	defer cancel()
	must(t, stack.Poll(ctx, func() error {
		n, err := g.Metric(ctx, "headgate_stream_ends_total", `reason="`+reason+`"`)
		if err == nil && n != want {
			err = errors.New("headgate_stream_ends_total of " + reason + " is not there yet")
		}
		return err
	}))
}

// Sixteen clients that never read must not slow the one that does.
func TestHostile_ClientsThatNeverReadAreEndedAndHinderNobody(t *testing.T) {
	const sleepers = 16
	g := start(t, append([]string{"SSE_BUFFER_BYTES", "256KiB", "SSE_WRITE_TIMEOUT", "2s", "SSE_BUFFER_AGE", "2s"}, quickLinger...)...)
	before := measure(t, g.Headgate)
	reader := open(t, g.URL+"/v1/prices/ACME")
	for range sleepers {
		conn := dialNarrow(t, g.Addr)
		_, err := io.WriteString(conn, get("/v1/prices/ACME"))
		must(t, err)
	}
	ctx, cancel := stack.Deadline(t, time.Minute)
	defer cancel()
	must(t, stack.Poll(ctx, func() error { return streams(ctx, g, sleepers+1) }))

	large := strings.Repeat("x", 100_000)
	over := false
	for i := 0; !over; i++ {
		begun := time.Now()
		g.publish(t, "prices.ACME", large)
		if b := until(t, reader, "price", "$gap", "$end"); b.Event() != "price" {
			t.Fatalf("the client that reads got %s", b.String())
		}
		if took := time.Since(begun); took > 5*time.Second {
			t.Fatalf("event %d took %s to the client that reads", i, took)
		}
		over = streams(ctx, g, 1) == nil
		must(t, ctx.Err())
	}
	slow, err := g.Metric(ctx, "headgate_stream_ends_total", `reason="slow-consumer"`)
	must(t, err)
	timeouts, err := g.Metric(ctx, "headgate_stream_ends_total", `reason="write-timeout"`)
	must(t, err)
	if slow+timeouts != sleepers {
		t.Errorf("%v ended as slow-consumer and %v by write-timeout, of %d", slow, timeouts, sleepers)
	}
	reader.Close()
	atRest(t, g.Headgate, before)
}

// dialNarrow connects with a small receive buffer, so that a client that does not read is noticed soon.
func dialNarrow(t *testing.T, addr string) net.Conn {
	t.Helper()
	d := net.Dialer{Timeout: brief, Control: func(_, _ string, c syscall.RawConn) error {
		return c.Control(func(fd uintptr) { _ = syscall.SetsockoptInt(socketOf(fd), syscall.SOL_SOCKET, syscall.SO_RCVBUF, 4096) })
	}}
	conn, err := d.DialContext(t.Context(), "tcp", addr)
	must(t, err)
	t.Cleanup(func() { conn.Close() })
	return conn
}

func streams(ctx context.Context, g *gate, want float64) error {
	n, err := g.Metric(ctx, "headgate_delivery_streams")
	if err == nil && n != want {
		err = errors.New("the number of streams is not yet as expected")
	}
	return err
}

// Connections that say nothing or half of a request, and between them streams that leave at once.
func TestHostile_ConnectionsThatAreGivenUpLeaveNothingBehind(t *testing.T) {
	const total, at = 5_000, 100
	g := start(t, append([]string{"HTTP_TRUSTED_PROXIES", "private", "LIMIT_CONNECT_RATE", "50", "LIMIT_CONNECT_BURST", "50",
		"LIMIT_CONNECTIONS_PER_IP", "100", "SSE_OVERLOAD_RETRY", "1s", "SSE_OVERLOAD_JITTER", "1s"}, quickLinger...)...)
	before := measure(t, g.Headgate)
	var live, turned, other atomic.Int64
	var work sync.WaitGroup
	jobs := make(chan int, at)
	begun := time.Now()
	for range at {
		work.Go(func() {
			for i := range jobs {
				switch answer := flood(g.Addr, i); answer {
				case "$ready":
					live.Add(1)
				case "$end":
					turned.Add(1)
				case "hung up":
				default:
					if other.Add(1) < 10 {
						t.Errorf("connection %d: %s", i, answer)
					}
				}
			}
		})
	}
	for i := range total {
		jobs <- i
	}
	close(jobs)
	work.Wait()
	t.Logf("%d connections in %s: %d streams, %d turned away", total, time.Since(begun), live.Load(), turned.Load())
	if live.Load() == 0 || turned.Load() < live.Load() {
		t.Errorf("the limit does not bite: %d streams, %d turned away", live.Load(), turned.Load())
	}
	open(t, g.URL+"/v1/prices/ACME", "X-Forwarded-For", "203.0.113.9").Close() // somebody else gets in
	atRest(t, g.Headgate, before)
}

// flood makes one connection: nine of ten say nothing, or hang up in the middle of a request; the tenth asks for a stream and leaves
// after its first event.
func flood(addr string, i int) string {
	conn, err := net.DialTimeout("tcp", addr, brief)
	if err != nil {
		return err.Error()
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(brief))
	switch {
	case i%10 != 0 && i%2 == 0:
		return "hung up"
	case i%10 != 0:
		_, _ = io.WriteString(conn, get("/v1/prices/ACME")[:20])
		return "hung up"
	}
	if _, err := io.WriteString(conn, get("/v1/prices/ACME")); err != nil {
		return err.Error()
	}
	r := bufio.NewReader(conn)
	for {
		line, err := r.ReadString('\n')
		if err != nil {
			return err.Error()
		}
		if event, ok := strings.CutPrefix(strings.TrimSpace(line), "event: "); ok {
			return event
		}
	}
}
