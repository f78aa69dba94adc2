package gateway_test

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"headgate/auth"
)

// 3,000 connects from one address, as fast as they come: it gets its rate, and what others do does not become slow.
func TestHardening_AConnectFloodGetsTheRateOfItsAddress(t *testing.T) {
	const flood, burst = 3000, 20
	w := startWhole(t, func(s *setup) {
		s.cfg.NATS.ConfirmTimeout = patience // a crowd on a busy machine
		s.cfg.Limit.ConnectRate, s.cfg.Limit.ConnectBurst = 0.001, burst
		s.cfg.HTTP.TrustedProxies = []string{"127.0.0.1/32"}
	})
	var opened, refused atomic.Int64
	var wg sync.WaitGroup
	for range 16 {
		wg.Go(func() {
			for range flood / 16 {
				conn, err := net.Dial("tcp", w.addr)
				if err != nil {
					t.Error(err)
					return
				}
				_, _ = io.WriteString(conn, "GET /v1/prices/A HTTP/1.1\r\nHost: h\r\nX-Forwarded-For: 203.0.113.66\r\n\r\n")
				head := make([]byte, 12)
				_ = conn.SetReadDeadline(time.Now().Add(patience))
				if _, err := io.ReadFull(conn, head); err != nil {
					t.Error(err)
				}
				switch string(head) {
				case "HTTP/1.1 200":
					opened.Add(1)
				case "HTTP/1.1 429":
					refused.Add(1)
				default:
					t.Errorf("%q", head)
				}
				_ = conn.Close()
			}
		})
	}
	for i := range 15 {
		began := time.Now()
		rd := w.open("/v1/prices/A", "X-Forwarded-For", fmt.Sprintf("203.0.113.%d", i))
		rd.want("$ready")
		rd.stop()
		if took := time.Since(began); took > patience/2 {
			t.Errorf("another client waited %v", took)
		}
	}
	wg.Wait()
	if n := opened.Load(); n > burst+1 || refused.Load() < flood/16*16-burst-1 {
		t.Errorf("%d streams, %d refusals", n, refused.Load())
	}
	if got := w.metric("headgate_limit_refusals_total", "limit", "connect_rate_per_address"); int64(got) != refused.Load() {
		t.Errorf("%v refusals counted, %d seen", got, refused.Load())
	}
}

// The caps hold whoever comes at the same time, are reached, and everything is given back.
func TestHardening_CapsHoldWhenHundredsConnectAtOnce(t *testing.T) {
	for _, test := range []struct {
		name   string
		change func(*setup)
		most   int
		slug   string
	}{
		{"user", func(s *setup) { s.cfg.Limit.ConnectionsPerUser = 7 }, 7, "cap-user"},
		{"user on a route", func(s *setup) { s.cfg.Routes[0].Limits.ConnectionsPerUser = 5 }, 5, "cap-user"},
		{"address", func(s *setup) { s.cfg.Limit.ConnectionsPerIP = 11 }, 11, "cap-address"},
		{"route", func(s *setup) { s.cfg.Routes[0].MaxStreams = 13 }, 13, "cap-process"},
		{"process", func(s *setup) { s.cfg.Limit.Connections = 17 }, 17, "cap-process"},
	} {
		t.Run(test.name, func(t *testing.T) {
			w := startWhole(t, withIdentity(t, auth.Grants{}), func(s *setup) {
				s.cfg.NATS.ConfirmTimeout = patience // a crowd on a busy machine
				s.cfg.Limit.ConnectionsPerUser = 0
				test.change(s)
			})
			const crowd = 300
			request := "GET /v1/prices/A HTTP/1.1\r\nHost: h\r\nAuthorization: Bearer " + token("ann") + "\r\n\r\n"
			var opened, refused atomic.Int64
			var wg sync.WaitGroup
			wires := make([]*wire, crowd)
			for i := range wires {
				wires[i] = w.dial()
			}
			for _, c := range wires {
				wg.Go(func() {
					if _, err := c.Write([]byte(request)); err != nil {
						t.Error(err)
						return
					}
					resp, err := http.ReadResponse(c.r, nil)
					if err != nil {
						t.Error(err)
						return
					}
					if resp.StatusCode == http.StatusOK {
						opened.Add(1)
						return
					}
					refused.Add(1)
					buf := make([]byte, 200)
					n, _ := resp.Body.Read(buf)
					if !strings.Contains(string(buf[:n]), test.slug) {
						t.Errorf("%d %s, want %s", resp.StatusCode, buf[:n], test.slug)
					}
				})
			}
			wg.Wait()
			if int(opened.Load()) != test.most || refused.Load() != crowd-int64(test.most) || w.server.Admitted() != test.most {
				t.Errorf("%d streams, %d refusals, %d admitted; want %d", opened.Load(), refused.Load(), w.server.Admitted(), test.most)
			}
			for _, c := range wires {
				c.Close()
			}
			eventually(t, "all given back", func() bool { return w.server.Admitted() == 0 })
			w.open("/v1/prices/A", bearer(token("ann"))...).want("$ready")
		})
	}
}
