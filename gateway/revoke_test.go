package gateway_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"headgate/auth"
	"headgate/gateway"
	"headgate/internal/delivery"
	"headgate/internal/flow"
)

// withRevocations must stand before withIdentity.
func withRevocations(r *auth.Revocations) func(*setup) {
	r.Replace(nil)
	r.Watched(true, "")
	return func(s *setup) { s.revoked = r }
}

func withControl(s *setup) { s.cfg.Control = true }

func revoke(r *auth.Revocations, k auth.RevocationKind, value, text string) {
	r.Apply([]auth.RevocationEntry{{Key: auth.RevocationKey(k, value), Value: []byte(text), Stored: time.Now()}})
}

// wantFinal reads $end with a reason that tells clients to stay away, and the end.
func (rd *reader) wantFinal(reason string) {
	rd.t.Helper()
	if e := rd.want("$end"); e.Data != `{"reason":"`+reason+`","reconnect":false}` {
		rd.t.Fatalf("$end %s, want %s", e.Data, reason)
	}
	rd.ended()
}

// connection is the id in $ready.
func (rd *reader) connection() string {
	rd.t.Helper()
	var ready struct{ Connection string }
	if err := json.Unmarshal([]byte(rd.want("$ready").Data), &ready); err != nil || ready.Connection == "" {
		rd.t.Fatalf("%+v, %v", ready, err)
	}
	return ready.Connection
}

func TestRevoke_EndsOpenStreamsAndRefusesTheNext(t *testing.T) {
	for _, c := range []struct {
		name   string
		kind   auth.RevocationKind
		value  string
		reason string
	}{
		{"token", auth.ByToken, "t-1", "revoked"}, {"user", auth.ByUser, "ann", "revoked"}, {"session", auth.BySession, "s-1", "revoked"},
		{"kick", auth.Kick, "ann", "kicked"},
	} {
		t.Run(c.name, func(t *testing.T) {
			revoked := auth.NewRevocations(100, nil, nil)
			r := start(t, withRevocations(revoked), withIdentity(t, auth.Grants{}, prices(), own(), notify()))
			ann := bearer(token("ann", jwt.MapClaims{"jti": "t-1", "sid": "s-1", "iat": time.Now().Add(-time.Minute).Unix()}, may("pub", "users.>")))
			bob := bearer(token("bob", jwt.MapClaims{"jti": "t-2", "sid": "s-2"}))
			hers, his := r.open("/v1/me", ann...), r.open("/v1/me", bob...)
			anonymous := r.open("/v1/prices/A")
			for _, rd := range []*reader{hers, his, anonymous} {
				rd.want("$ready")
			}
			revoke(revoked, c.kind, c.value, "")
			hers.wantFinal(c.reason)
			for _, path := range []string{"/v1/me", "/v1/prices/A"} {
				resp := r.get(path, ann...)
				if c.kind == auth.Kick {
					resp.problem(t, http.StatusForbidden, "kicked")
					continue
				}
				if detail := resp.problem(t, http.StatusUnauthorized, "token-invalid"); detail != "The token has been revoked. Get a new token." {
					t.Errorf("detail %q", detail)
				}
				if got := resp.Header.Get("WWW-Authenticate"); got != `Bearer realm="headgate", error="invalid_token", error_description="The token has been revoked."` {
					t.Errorf("challenge %q", got)
				}
			}
			if status := r.post("/v1/notify/ada", "x", ann...).StatusCode; status != http.StatusUnauthorized && status != http.StatusForbidden {
				t.Errorf("publish: %d", status)
			}
			// Nobody else is concerned.
			r.open("/v1/me", bob...).want("$ready")
			eventually(t, "three streams are left", func() bool { return r.server.Numbers().Streams == 3 })
		})
	}
}

func TestRevoke_AConnectionOfAnybody(t *testing.T) {
	revoked := auth.NewRevocations(100, nil, nil)
	r := start(t, withRevocations(revoked), withIdentity(t, auth.Grants{}, prices()))
	one, other := r.open("/v1/prices/A"), r.open("/v1/prices/A")
	id := one.connection()
	other.want("$ready")
	revoke(revoked, auth.ByConnection, id, "")
	one.wantFinal("revoked")
	eventually(t, "the other one alone is left", func() bool { return r.server.Numbers().Streams == 1 })
}

func TestRevoke_WhileAStreamIsBeingOpened(t *testing.T) {
	revoked := auth.NewRevocations(100, nil, nil)
	r := start(t, withRevocations(revoked), withIdentity(t, auth.Grants{}))
	r.bridge.mu.Lock()
	r.bridge.open = func(context.Context, flow.Request) (flow.Opened, error) {
		revoke(revoked, auth.ByUser, "ann", "")
		return r.bridge.opened(), nil
	}
	r.bridge.mu.Unlock()
	r.get("/v1/prices/A", bearer(token("ann"))...).problem(t, http.StatusUnauthorized, "token-invalid")
}

// overtaken revokes between the last look at the identity and the hand-over: the order to end then reaches the shards before the stream.
type overtaken struct {
	gateway.Delivery
	before func()
}

func (d overtaken) Handover(conn net.Conn, c delivery.Client) error {
	d.before()
	return d.Delivery.Handover(conn, c)
}

func (d overtaken) Serve(gone <-chan struct{}, w delivery.Writer, c *delivery.Client) delivery.Reason {
	d.before()
	return d.Delivery.Serve(gone, w, c)
}

func TestRevoke_DuringTheHandOver(t *testing.T) {
	for name, path := range map[string]string{"HTTP/1.1": "HTTP/1.1", "HTTP/1.0": "HTTP/1.0"} {
		t.Run(name, func(t *testing.T) {
			revoked := auth.NewRevocations(100, nil, nil)
			swept := make(chan struct{}, 100)
			r := start(t, withRevocations(revoked), withIdentity(t, auth.Grants{}), func(s *setup) {
				s.delivery = func(d *delivery.Server) gateway.Delivery {
					return overtaken{sweeps{d, swept}, func() {
						revoke(revoked, auth.ByUser, "ann", "")
						<-swept // the order to end it has been given
					}}
				}
			})
			w := r.dial().send("GET /v1/prices/A " + path + "\r\nHost: x\r\nAuthorization: Bearer " + token("ann") + "\r\n\r\n")
			body, err := io.ReadAll(w.r)
			if err != nil || !strings.Contains(string(body), `{"reason":"revoked","reconnect":false}`) {
				t.Errorf("%v: %s", err, body)
			}
		})
	}
}

// sweeps tells of orders to end streams.
type sweeps struct {
	gateway.Delivery
	told chan struct{}
}

func (s sweeps) EndWhere(match func(uint64) bool, why delivery.Reason, over time.Duration) {
	s.Delivery.EndWhere(match, why, over)
	select {
	case s.told <- struct{}{}:
	default:
	}
}

// However streams and revocations meet, no stream of a revoked user is left.
func TestRevoke_RacesWithStreamsThatBegin(t *testing.T) {
	revoked := auth.NewRevocations(1000, nil, nil)
	r := start(t, withRevocations(revoked), withIdentity(t, auth.Grants{}))
	var opening sync.WaitGroup
	var opened, refused atomic.Int32
	for u := range 40 {
		mine := token(fmt.Sprint("u", u))
		for range 3 {
			opening.Go(func() {
				w := r.dial().send("GET /v1/prices/A HTTP/1.1\r\nHost: x\r\nConnection: close\r\nAuthorization: Bearer " + mine + "\r\n\r\n")
				body, err := io.ReadAll(w.r) // each is refused, or ended
				switch {
				case err != nil:
					t.Errorf("a stream of a revoked user goes on: %v", err)
				case strings.Contains(string(body), `"reason":"revoked"`):
					opened.Add(1)
				case strings.Contains(string(body), "token-invalid"):
					refused.Add(1)
				default:
					t.Errorf("%s", body)
				}
			})
		}
		opening.Go(func() {
			time.Sleep(rand.N(15 * time.Millisecond)) // so that it meets streams at all stages
			revoke(revoked, auth.ByUser, fmt.Sprint("u", u), "")
		})
	}
	opening.Wait()
	t.Logf("%d were opened and ended, %d refused", opened.Load(), refused.Load())
}

func TestKick_EndsWhatFitsAndRemembersNothing(t *testing.T) {
	r := start(t, withControl, withIdentity(t, auth.Grants{Sub: auth.Permissions{Allow: []string{"prices.*"}}}, prices(), own()))
	ann := bearer(token("ann"))
	open := func() (a, b, c *reader, id string) {
		a, b, c = r.open("/v1/me", ann...), r.open("/v1/me", bearer(token("bob"))...), r.open("/v1/prices/A")
		a.want("$ready")
		b.want("$ready")
		return a, b, c, c.connection()
	}
	a, b, c, id := open()
	for _, f := range []gateway.Filter{{User: "carl"}, {Connection: "zzzzzz-1"}, {Connection: id + "0"}, {Connection: strings.ToUpper(id)}, {Route: "prices", User: "ann"},
		{Route: "none"}, {Subject: "orders.>"}, {User: "ann", Issuer: "j"}, {Route: "prices", Issuer: "i"}} {
		if n := r.server.Kick(f); n != 0 {
			t.Errorf("%+v ended %d", f, n)
		}
	}
	if n := r.server.Kick(gateway.Filter{User: "ann", Issuer: "i"}); n != 1 {
		t.Errorf("%d", n)
	}
	a.wantFinal("kicked")
	r.open("/v1/me", ann...).want("$ready") // as before
	if n := r.server.Kick(gateway.Filter{Connection: id}); n != 1 {
		t.Errorf("%d", n)
	}
	c.wantFinal("kicked")
	if n := r.server.Kick(gateway.Filter{Subject: "users.bob.>", Route: "own"}); n != 1 {
		t.Errorf("%d", n)
	}
	b.wantFinal("kicked")
}

func TestConnections_ArePagedAndFiltered(t *testing.T) {
	r := start(t, withControl, withIdentity(t, auth.Grants{Sub: auth.Permissions{Allow: []string{"prices.*"}}}, prices(), own()))
	const each = 7
	for n := range each {
		r.open("/v1/me", bearer(token("ann"))...).want("$ready")
		r.open(fmt.Sprintf("/v1/prices/S%d", n)).want("$ready")
	}
	seen := map[string]bool{}
	pages := 0
	for from, more := uint32(0), true; more; pages++ {
		list, next := r.server.Connections(gateway.Filter{}, from, 4)
		for _, c := range list {
			if seen[c.ID] {
				t.Errorf("%s is there twice", c.ID)
			}
			seen[c.ID] = true
			if !c.Client.IsLoopback() || time.Since(c.Since) > time.Minute || len(c.Subjects) != 1 || (c.User == "ann" && c.Issuer == "i") != (c.Route == "own") {
				t.Errorf("%+v", c)
			}
		}
		from, more = next, next != 0
	}
	if len(seen) != 2*each || pages != 4 {
		t.Errorf("%d connections on %d pages", len(seen), pages)
	}
	for f, n := range map[gateway.Filter]int{{User: "ann"}: each, {Subject: "prices.S3"}: 1, {Route: "prices"}: each, {User: "bob"}: 0, {Issuer: "i"}: each, {Issuer: "j"}: 0} {
		if list, next := r.server.Connections(f, 0, 100); len(list) != n || next != 0 {
			t.Errorf("%+v: %d connections, next %d", f, len(list), next)
		}
	}
	if n := r.server.Numbers(); n.Streams != 2*each || n.Routes["own"] != each || n.Instance == "" || n.Draining {
		t.Errorf("%+v", n)
	}
}
