package e2e_test

import (
	"bufio"
	"crypto/tls"
	"fmt"
	"net"
	"os"
	"regexp"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"headgate/e2e/internal/stack"
)

// resident is the resident memory of a process, in bytes.
func resident(t *testing.T, pid int) int {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	must(t, err)
	m := regexp.MustCompile(`VmRSS:\s+(\d+) kB`).FindSubmatch(text)
	if m == nil {
		t.Fatalf("no VmRSS in %s", text)
	}
	kb, err := strconv.Atoi(string(m[1]))
	must(t, err)
	return kb << 10
}

// quietStream opens a stream over TLS and HTTP/1.1, a connection of its own, and returns when it is ready.
func quietStream(t *testing.T, addr string, conf *tls.Config) net.Conn {
	t.Helper()
	conf = conf.Clone()
	conf.NextProtos = []string{"http/1.1"}
	conn, err := tls.DialWithDialer(&net.Dialer{Timeout: brief}, "tcp", addr, conf)
	must(t, err)
	_, err = fmt.Fprintf(conn, "GET /v1/prices/ACME HTTP/1.1\r\nHost: %s\r\nAccept: text/event-stream\r\n\r\n", addr)
	must(t, err)
	must(t, conn.SetReadDeadline(time.Now().Add(brief)))
	lines := bufio.NewReaderSize(conn, 512)
	for {
		line, err := lines.ReadString('\n')
		must(t, err)
		if strings.HasPrefix(line, "event: $ready") {
			return conn
		}
	}
}

// What a quiet stream takes of the proxies' memory, with their documented files, TLS to the browser and HTTP/1.1 on both sides: the figures of
// docs/capacity.md. HEADGATE_PROXY_STREAMS says how many streams there are; with few of them the figures are coarse.
func TestProxies_MemoryOfAQuietStream(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("resident memory is read from /proc")
	}
	streams := 200
	if text := os.Getenv("HEADGATE_PROXY_STREAMS"); text != "" {
		n, err := strconv.Atoi(text)
		must(t, err)
		streams = n
	}
	room := strconv.Itoa(2*streams + 1000)
	larger := map[string][]string{
		"nginx":   {"worker_rlimit_nofile 4000", "worker_rlimit_nofile " + room, "worker_connections 2000", "worker_connections " + room},
		"haproxy": {"maxconn 4000", "maxconn " + room},
	}
	for _, name := range documentedProxies {
		t.Run(name, func(t *testing.T) {
			g, cert := start(t), stack.NewCertificate(t)
			front := stack.StartDocumented(t, name, g.Headgate, cert, larger[name]...)
			quietStream(t, front.Addr, cert.ClientTLS()).Close() // what the first one needs once
			before := resident(t, front.PID())
			for range streams {
				conn := quietStream(t, front.Addr, cert.ClientTLS())
				t.Cleanup(func() { conn.Close() })
			}
			each := (resident(t, front.PID()) - before) / streams
			t.Logf("%s: %d streams, %d bytes each", name, streams, each)
			if each <= 0 || each > 500<<10 {
				t.Errorf("%d bytes of the proxy's memory for a stream", each)
			}
		})
	}
}
