//go:build linux

package main

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"net"
	"strconv"
	"strings"
	"time"
)

// shared is the target of a message for every client; 0 and above are the clients' own subjects.
const shared = -1

// Feed is the way from the publisher into a server. Append only collects; Flush writes everything in one go.
type Feed interface {
	Append(target int, payload []byte)
	Flush() error
	Close()
}

// subjectOf is where a target is published in NATS.
func subjectOf(target int) string {
	if target == shared {
		return "bench.shared"
	}
	return "own." + strconv.Itoa(target)
}

// pathOf is where a target is read. Every server of the suite answers the same paths.
func pathOf(target int) string {
	if target == shared {
		return "/shared"
	}
	return "/own/" + strconv.Itoa(target)
}

// natsFeed publishes to core NATS. It writes the client protocol itself, PUB lines in one write from the calling thread:
// nats.go hands every flush to another goroutine, whose scheduling would be measured with the server.
// https://docs.nats.io/reference/reference-protocols/nats-protocol
type natsFeed struct {
	conn net.Conn
	buf  []byte
	done chan struct{}
}

func dialNATS(addr string) (*natsFeed, error) {
	conn, err := net.DialTimeout("tcp", strings.TrimPrefix(addr, "nats://"), 5*time.Second)
	if err != nil {
		return nil, fmt.Errorf("NATS: %w", err)
	}
	f := &natsFeed{conn: conn, done: make(chan struct{})}
	r := bufio.NewReader(conn)
	if line, err := r.ReadString('\n'); err != nil || !strings.HasPrefix(line, "INFO ") {
		_ = conn.Close()
		return nil, fmt.Errorf("NATS: want INFO, have %q (%v)", line, err)
	}
	f.buf = append(f.buf, "CONNECT {\"verbose\":false,\"pedantic\":false,\"lang\":\"bench\",\"version\":\"1\"}\r\n"...)
	go f.pong(r)
	return f, f.Flush()
}

// pong answers the server's pings, which come every two minutes at most, until the connection is closed.
func (f *natsFeed) pong(r *bufio.Reader) {
	defer close(f.done)
	for {
		line, err := r.ReadString('\n')
		if err != nil {
			return
		}
		if strings.HasPrefix(line, "PING") {
			if _, err := f.conn.Write([]byte("PONG\r\n")); err != nil {
				return
			}
		}
	}
}

func (f *natsFeed) Append(target int, payload []byte) {
	f.buf = append(f.buf, "PUB "...)
	f.buf = append(f.buf, subjectOf(target)...)
	f.buf = append(f.buf, ' ')
	f.buf = strconv.AppendInt(f.buf, int64(len(payload)), 10)
	f.buf = append(f.buf, "\r\n"...)
	f.buf = append(f.buf, payload...)
	f.buf = append(f.buf, "\r\n"...)
}

func (f *natsFeed) Flush() error {
	if len(f.buf) == 0 {
		return nil
	}
	_, err := f.conn.Write(f.buf)
	f.buf = f.buf[:0]
	return err
}

func (f *natsFeed) Close() {
	_ = f.conn.Close()
	<-f.done
}

// bareFeed hands payloads to the bare loop: target and length, 4 bytes each, then the payload.
type bareFeed struct {
	conn net.Conn
	buf  []byte
}

func dialBare(addr string) (*bareFeed, error) {
	conn, err := net.DialTimeout("tcp", addr, 5*time.Second)
	if err != nil {
		return nil, fmt.Errorf("bare: %w", err)
	}
	return &bareFeed{conn: conn}, nil
}

func (f *bareFeed) Append(target int, payload []byte) {
	f.buf = binary.LittleEndian.AppendUint32(f.buf, uint32(int32(target)))
	f.buf = binary.LittleEndian.AppendUint32(f.buf, uint32(len(payload)))
	f.buf = append(f.buf, payload...)
}

func (f *bareFeed) Flush() error {
	if len(f.buf) == 0 {
		return nil
	}
	_, err := f.conn.Write(f.buf)
	f.buf = f.buf[:0]
	return err
}

func (f *bareFeed) Close() { _ = f.conn.Close() }
