package gateway_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"headgate/auth"
	"headgate/gateway"
	"headgate/internal/sse"
)

// One test per weakness that limits are there for.

// verifying counts how often a token is verified.
type verifying struct {
	gateway.Identities
	asked atomic.Int64
}

func (v *verifying) Identify(ctx context.Context, token string) (*auth.Identity, error) {
	v.asked.Add(1)
	return v.Identities.Identify(ctx, token)
}

// forged are tokens that look right, each another one, signed with a key that nobody knows.
func forged(t *testing.T, n int) []string {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	list := make([]string, n)
	for i := range list {
		claims := jwt.MapClaims{"iss": "i", "aud": "headgate", "sub": "ann", "jti": i, "exp": time.Now().Add(time.Hour).Unix()}
		if list[i], err = jwt.NewWithClaims(jwt.SigningMethodES256, claims).SignedString(key); err != nil {
			t.Fatal(err)
		}
	}
	return list
}

func TestHardening_AFloodOfForgedTokensIsVerifiedAtTheRateOfItsAddress(t *testing.T) {
	const burst = 10
	count := &verifying{}
	w := startWhole(t, withIdentity(t, auth.Grants{}), func(s *setup) {
		count.Identities = s.identities
		s.identities = count
		s.cfg.Limit.ConnectRate, s.cfg.Limit.ConnectBurst, s.cfg.Limit.PublishRate = 0.001, burst, 1
	})
	var bad, over atomic.Int64
	var wg sync.WaitGroup
	for i, token := range forged(t, 300) {
		wg.Go(func() {
			resp := w.get("/v1/prices/A", bearer(token)...)
			if i%3 == 0 {
				resp = w.post("/v1/notify/ada", "x", bearer(token)...)
			}
			switch resp.StatusCode {
			case http.StatusUnauthorized:
				bad.Add(1)
			case http.StatusTooManyRequests:
				over.Add(1)
			default:
				t.Errorf("%d %s", resp.StatusCode, resp.body)
			}
		})
	}
	wg.Wait()
	// Publishes have a rate of their own, which gives a few more meanwhile.
	if n := count.asked.Load(); n > burst+patience.Milliseconds()/1000+1 || n < burst {
		t.Errorf("%d tokens were verified", n)
	}
	if over.Load() < 250 {
		t.Errorf("%d were turned away without looking, %d with", over.Load(), bad.Load())
	}
}

// Whoever has no good token uses up nothing but what his address has.
func TestHardening_ForgedTokensUseUpNobodysShare(t *testing.T) {
	w := startWhole(t, withIdentity(t, auth.Grants{}), func(s *setup) {
		s.cfg.Limit.GlobalConnectRate, s.cfg.Limit.Connections, s.cfg.Routes[0].MaxStreams = 0.001, 1, 1
		s.cfg.Limit.ConnectionsPerUser = 1
	})
	for _, token := range forged(t, 30) {
		w.get("/v1/prices/A", bearer(token)...).problem(t, http.StatusUnauthorized, "token-invalid")
	}
	w.open("/v1/prices/A", bearer(token("ann"))...).want("$ready")
}

func TestHardening_ForgedForwardedForChangesNothing(t *testing.T) {
	t.Run("from nobody who is trusted", func(t *testing.T) {
		w := startWhole(t, func(s *setup) { s.cfg.Limit.ConnectionsPerIP = 2 })
		for i := range 2 {
			w.open("/v1/prices/A", "X-Forwarded-For", fmt.Sprintf("203.0.113.%d", i)).want("$ready")
		}
		for i := range 20 {
			w.get("/v1/prices/A", "X-Forwarded-For", fmt.Sprintf("198.51.100.%d", i)).problem(t, http.StatusTooManyRequests, "cap-address")
		}
	})
	t.Run("through a trusted proxy", func(t *testing.T) {
		w := startWhole(t, func(s *setup) {
			s.cfg.Limit.ConnectionsPerIP = 2
			s.cfg.HTTP.TrustedProxies = []string{"127.0.0.1/32"}
		})
		from := func(real string, i int) []string {
			return []string{"X-Forwarded-For", fmt.Sprintf("198.51.100.%d, 10.0.0.1, unknown", i), "X-Forwarded-For", fmt.Sprintf("127.0.0.1, %s", real)}
		}
		for i := range 2 {
			w.open("/v1/prices/A", from("203.0.113.9", i)...).want("$ready")
			w.open("/v1/prices/A", from(fmt.Sprintf("2001:db8:7:7::%d", i), i)...).want("$ready")
		}
		for i := range 20 {
			w.get("/v1/prices/A", from("203.0.113.9", i)...).problem(t, http.StatusTooManyRequests, "cap-address")
			w.get("/v1/prices/A", from(fmt.Sprintf("2001:db8:7:7:%x::1", i), i)...).problem(t, http.StatusTooManyRequests, "cap-address")
		}
		w.open("/v1/prices/A", from("203.0.113.10", 1)...).want("$ready") // another one is not concerned
	})
}

// A client without a token that rotates the addresses of its network is one user, for history as for the limits.
func TestHardening_OneNetworkIsOneReader(t *testing.T) {
	r := start(t, func(s *setup) { s.cfg.HTTP.TrustedProxies = []string{"127.0.0.1/32"} })
	for i := range 3 {
		r.open("/v1/prices/A", "X-Forwarded-For", fmt.Sprintf("2001:db8:7:7:%x::1", i)).want("$ready")
	}
	for _, req := range r.bridge.opens() {
		if a, err := netip.ParseAddr(req.User); err != nil || a != netip.MustParseAddr("2001:db8:7:7::") {
			t.Errorf("user %q", req.User)
		}
	}
}

// closedByPeer says whether a connection has been closed at the other end by now.
func closedByPeer(c net.Conn) bool {
	_ = c.SetReadDeadline(time.Now().Add(time.Millisecond))
	_, err := c.Read(make([]byte, 1))
	return err != nil && !errors.Is(err, os.ErrDeadlineExceeded)
}

// Half-open connections of every kind fill a bounded room, and the newest pushes the oldest out: who sends his request at once is served
// all the time.
func TestHardening_ConnectionsThatSayNothingPushEachOtherOut(t *testing.T) {
	const room, crowd = 40, 150
	gateway.SetWaitingAge(t, 0)
	for _, kind := range []struct {
		name string
		tls  bool
		say  func(c net.Conn) net.Conn
	}{
		{"nothing", false, func(c net.Conn) net.Conn { return c }},
		{"half a request", false, func(c net.Conn) net.Conn {
			_, _ = io.WriteString(c, "GET /v1/prices/A HTTP/1.1\r\nHost: h\r\nX-Slow: ")
			return c
		}},
		{"a request, and is kept alive", false, func(c net.Conn) net.Conn {
			_, _ = io.WriteString(c, "GET /nowhere HTTP/1.1\r\nHost: h\r\n\r\n")
			_, _ = c.Read(make([]byte, 1))
			return c
		}},
		{"half a handshake", true, func(c net.Conn) net.Conn {
			_, _ = c.Write([]byte{22, 3, 1, 2, 0, 1})
			return c
		}},
		{"a handshake, and nothing of HTTP/2", true, func(c net.Conn) net.Conn {
			secured := tls.Client(c, &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"h2"}})
			_ = secured.Handshake()
			return secured
		}},
		{"half a header block of HTTP/2", true, func(c net.Conn) net.Conn {
			secured := tls.Client(c, &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"h2"}})
			// RFC 9113, sections 3.4, 6.5 and 6.2: the preface, an empty SETTINGS, HEADERS without END_HEADERS.
			_, _ = io.WriteString(secured, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00\x00\x00\x01\x01\x00\x00\x00\x00\x01\x82")
			return secured
		}},
	} {
		t.Run(kind.name, func(t *testing.T) {
			change := func(*setup) {}
			if kind.tls {
				change = withTLS(t, nil)
			}
			r := start(t, change, func(s *setup) {
				s.cfg.HTTP.HeaderTimeout, s.cfg.Limit.WaitingConnections = time.Minute, room
			})
			open := func(path string) *reader {
				if kind.tls {
					return r.openWith(tlsClient(true), r.requestTLS(http.MethodGet, path))
				}
				return r.open(path)
			}
			before := open("/v1/prices/A")
			before.want("$ready")
			conns := make([]net.Conn, crowd)
			for i := range conns {
				conns[i] = kind.say(r.dial().Conn)
				if i%50 == 49 {
					open("/v1/prices/B").want("$ready")
				}
			}
			closed := 0
			eventually(t, "the oldest to be closed", func() bool {
				closed = 0
				for _, c := range conns {
					if closedByPeer(c) {
						closed++
					}
				}
				return closed >= crowd-room
			})
			if n := r.server.Waiting(); n > room || closed > crowd-room+5 {
				t.Errorf("%d wait, %d of %d were closed", n, closed, crowd)
			}
			if closedByPeer(conns[crowd-1]) {
				t.Error("the newest was closed")
			}
			if got := r.metric("headgate_waiting_connections_closed_total"); int(got) < crowd-room {
				t.Errorf("%v closed connections counted", got)
			}
			r.bridge.push(sse.NewFrame("", []byte("still here")), 1)
			if e := before.next(); e.Data != "still here" {
				t.Errorf("an open stream got %+v", e)
			}
		})
	}
}

// In a storm of reconnects nobody is pushed out who has come a moment ago.
func TestHardening_AStormOfReconnectsPushesNobodyOut(t *testing.T) {
	gateway.SetWaitingAge(t, time.Hour)
	r := start(t, func(s *setup) { s.cfg.Limit.WaitingConnections = 5 })
	var wires []*wire
	for range 50 {
		wires = append(wires, r.dial())
	}
	eventually(t, "all connections", func() bool { return r.server.Waiting() == len(wires) })
	for _, w := range wires {
		w.send("GET /v1/prices/A HTTP/1.1\r\nHost: h\r\n\r\n")
		if head := w.head(); head[0] != "HTTP/1.1 200 OK" {
			t.Fatalf("%q", head)
		}
	}
	if n := r.server.Waiting(); n != 0 {
		t.Errorf("%d wait", n)
	}
}

// A stream, and a request that is being answered, are nobody's to push out; when they are over, nothing of them is left.
func TestHardening_WaitingConnectionsAreForgotten(t *testing.T) {
	gateway.SetWaitingAge(t, 0)
	for _, secured := range []bool{false, true} {
		change := func(*setup) {}
		if secured {
			change = withTLS(t, nil)
		}
		r := start(t, change, func(s *setup) { s.cfg.Limit.WaitingConnections = 1 })
		var open []*reader
		for range 5 {
			rd := func() *reader {
				if secured {
					return r.openWith(tlsClient(true), r.requestTLS(http.MethodGet, "/v1/prices/A"))
				}
				return r.open("/v1/prices/A")
			}()
			rd.want("$ready")
			open = append(open, rd)
		}
		if n := r.server.Waiting(); n != 0 {
			t.Errorf("%d connections with a stream wait", n)
		}
		for _, rd := range open {
			rd.stop()
		}
		eventually(t, "all gone", func() bool { return r.server.Admitted() == 0 && r.server.Waiting() <= 1 && r.server.Known() <= 1 })
	}
}

// A handshake that never ends is cut off as slow headers are.
func TestHardening_SlowHandshakesAreCutOff(t *testing.T) {
	r := start(t, withTLS(t, nil), func(s *setup) { s.cfg.HTTP.HeaderTimeout = 50 * time.Millisecond })
	for _, text := range []string{"", "\x16\x03\x01"} {
		c := r.dial().send(text)
		if _, err := io.ReadAll(c.r); err != nil && !strings.Contains(err.Error(), "reset") { // the deadline of dial would be another error
			t.Errorf("after %q the connection was not closed: %v", text, err)
		}
	}
}

// Over TLS too: the head of a request that drips in is cut off, and one that is too large is refused.
func TestHardening_SlowAndHugeHeadersOverTLS(t *testing.T) {
	r := start(t, withTLS(t, nil), func(s *setup) { s.cfg.HTTP.HeaderTimeout = 200 * time.Millisecond })
	dial := func() *tls.Conn {
		c := tls.Client(r.dial().Conn, &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"http/1.1"}})
		if err := c.Handshake(); err != nil {
			t.Fatal(err)
		}
		return c
	}
	c := dial()
	_, _ = io.WriteString(c, "GET /v1/feed HTTP/1.1\r\nHost:")
	began := time.Now()
	if _, err := io.ReadAll(c); errors.Is(err, os.ErrDeadlineExceeded) || time.Since(began) > patience/2 {
		t.Errorf("the connection was not closed: %v", err)
	}
	c = dial()
	go func() {
		_, _ = io.WriteString(c, "GET /v1/feed HTTP/1.1\r\nHost: h\r\nX-Big: "+strings.Repeat("x", 100_000)+"\r\n\r\n")
	}()
	answer, _ := io.ReadAll(c)
	if !strings.HasPrefix(string(answer), "HTTP/1.1 431 ") {
		t.Errorf("%.40q", answer)
	}
	// HTTP/2: more than is allowed is refused, by a status or by the end of the connection (RFC 9113, section 10.5.1).
	req := r.requestTLS(http.MethodGet, "/v1/prices/A")
	req.Header.Set("X-Big", strings.Repeat("x", 100_000))
	if resp, err := tlsClient(true).Do(req); err == nil {
		resp.Body.Close()
		if resp.StatusCode != http.StatusRequestHeaderFieldsTooLarge {
			t.Errorf("HTTP/2: %d", resp.StatusCode)
		}
	}
}
