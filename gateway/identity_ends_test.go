package gateway_test

import (
	"context"
	"io"
	"net"
	"net/http"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"headgate/auth"
	"headgate/gateway"
	"headgate/internal/delivery"
	"headgate/internal/flow"
	"headgate/internal/sse"
)

func TestIdentity_StreamsAreToldBeforeAndEndWithIt(t *testing.T) {
	r := start(t, withIdentity(t, auth.Grants{}))
	short := token("ann", jwt.MapClaims{"exp": time.Now().Add(2 * time.Second).Unix()})
	rd := r.open("/v1/prices/A", bearer(short)...)
	rd.want("$ready")
	if e := rd.want("$expiring"); e.Data != `{"in":1}` && e.Data != `{"in":2}` {
		t.Errorf("data %s", e.Data)
	}
	r.bridge.push(sse.NewFrame("", []byte("in between")), 1)
	rd.want("message")
	rd.wantEnd("token-expired")
	rd.ended()
	eventually(t, "the token is no more", func() bool {
		resp := r.do(r.request(http.MethodHead, "/v1/prices/A", bearer(short)...))
		return resp.StatusCode == http.StatusUnauthorized
	})
}

// A body that comes slowly, or a source that opens slowly, does not carry a token over its end.
func TestIdentity_TheEndIsLookedAtAgainAfterWaiting(t *testing.T) {
	r := start(t, withIdentity(t, auth.Grants{}))
	short := token("ann", may("pub", "users.>"), jwt.MapClaims{"exp": time.Now().Add(2 * time.Second).Unix()})
	over := func() {
		eventually(t, "the token is no more", func() bool {
			return r.do(r.request(http.MethodHead, "/v1/prices/A", bearer(short)...)).StatusCode == http.StatusUnauthorized
		})
	}
	body, send := io.Pipe()
	slow := r.request(http.MethodPost, "/v1/notify/ada", bearer(short)...)
	slow.Body, slow.ContentLength = body, 2
	posted := make(chan response, 1)
	go func() { posted <- r.do(slow) }()
	if _, err := send.Write([]byte("x")); err != nil {
		t.Fatal(err)
	}
	opening := make(chan struct{})
	r.bridge.mu.Lock()
	r.bridge.open = func(context.Context, flow.Request) (flow.Opened, error) {
		close(opening)
		over()
		return r.bridge.opened(), nil
	}
	r.bridge.mu.Unlock()
	resp := r.get("/v1/prices/A", bearer(short)...)
	<-opening
	for _, got := range []response{resp, func() response { _, _ = send.Write([]byte("y")); _ = send.Close(); return <-posted }()} {
		if detail := got.problem(t, http.StatusUnauthorized, "token-invalid"); detail != "The token has expired. Get a new token." {
			t.Errorf("detail %q", detail)
		}
	}
	r.bridge.mu.Lock()
	defer r.bridge.mu.Unlock()
	if len(r.bridge.published) != 0 {
		t.Error("published with a token that was over")
	}
}

// expiries remembers what streams have for their end.
type expiries struct {
	gateway.Delivery
	clients chan delivery.Client
}

func (e expiries) Handover(conn net.Conn, c delivery.Client) error {
	e.clients <- c
	return e.Delivery.Handover(conn, c)
}

// Who is told of the end of a token still has one that is good by itself.
func TestIdentity_TheNoticeComesBeforeExp(t *testing.T) {
	for _, c := range []struct{ leeway, notice, want time.Duration }{{30 * time.Second, time.Minute, 90 * time.Second}, {0, time.Minute, time.Minute}, {time.Minute, 0, 0}} {
		seen := make(chan delivery.Client, 1)
		r := start(t, withIdentity(t, auth.Grants{}), func(s *setup) {
			s.cfg.Auth.Leeway, s.cfg.Auth.ExpiryNotice = c.leeway, c.notice
			s.delivery = func(d *delivery.Server) gateway.Delivery { return expiries{d, seen} }
		})
		r.open("/v1/prices/A", bearer(token("ann"))...).want("$ready")
		if got := <-seen; got.Notice != c.want || got.Expires.IsZero() {
			t.Errorf("leeway %v, notice %v: told %v before %v", c.leeway, c.notice, got.Notice, got.Expires)
		}
	}
}
