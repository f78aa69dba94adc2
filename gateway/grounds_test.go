package gateway_test

import (
	"context"
	"crypto/x509"
	"encoding/pem"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"headgate/auth"
	"headgate/gateway"
	"headgate/internal/config"
	"headgate/internal/delivery"
	"headgate/internal/flow"
	"headgate/internal/sse"
)

// trusted is a rig whose issuers, i and j, can be others after a reload.
type trusted struct {
	*rig
	verifier *auth.Verifier
	i, j     auth.Issuer
	routes   []config.Route
}

func startTrusted(t *testing.T, change ...func(*setup)) *trusted {
	t.Helper()
	der, err := x509.MarshalPKIXPublicKey(signer.Public())
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "key.pem")
	if err := os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}), 0o600); err != nil {
		t.Fatal(err)
	}
	private := prices()
	private.AuthRequired = true
	public := prices()
	public.Name, public.Path = "public", "/v1/public/{symbol}"
	entrance := notify()
	entrance.AuthRequired = true
	w := &trusted{i: auth.Issuer{Name: "i", Audience: []string{"headgate"}, KeyFile: file}, routes: []config.Route{private, public, entrance}}
	w.j = w.i
	w.j.Name = "j"
	if w.verifier, err = auth.New(auth.Options{Issuers: []auth.Issuer{w.i, w.j}, PermissionsClaim: "nats"}); err != nil {
		t.Fatal(err)
	}
	if err := w.verifier.Load(); err != nil {
		t.Fatal(err)
	}
	w.rig = start(t, append([]func(*setup){func(s *setup) {
		s.identities, s.cfg.Auth.Mode, s.cfg.Routes, s.cfg.RoutesSpread = w.verifier, "jwt", w.routes, 0
	}}, change...)...)
	return w
}

// trust reloads with other issuers, as main does.
func (w *trusted) trust(t auth.Trust) gateway.Change {
	w.t.Helper()
	t.PermissionsClaim = "nats"
	next, err := w.verifier.Next(context.Background(), t)
	if err != nil {
		w.t.Error(err)
		return gateway.Change{}
	}
	outdated := map[uint32]delivery.Reason{}
	for _, o := range next.Over(w.verifier) {
		outdated[o.Ground] = delivery.RouteChanged
		if o.Gone {
			outdated[o.Ground] = delivery.Revoked
		}
	}
	c, err := w.server.Reload(gateway.Next{Routes: w.routes, Identities: next, Outdated: outdated})
	if err != nil {
		w.t.Error(err)
	}
	next.Use()
	w.verifier = next
	return c
}

func from(issuer string) []string { return bearer(token("ann", jwt.MapClaims{"iss": issuer})) }

func TestReload_AnIssuerThatIsGoneEndsItsStreamsAtOnce(t *testing.T) {
	w := startTrusted(t, func(s *setup) { s.cfg.RoutesSpread = time.Hour })
	ofI, ofJ, nobody := w.open("/v1/prices/A", from("i")...), w.open("/v1/prices/A", from("j")...), w.open("/v1/public/A")
	byChoice := w.open("/v1/public/A", from("i")...)
	for _, rd := range []*reader{ofI, ofJ, nobody, byChoice} {
		rd.want("$ready")
	}
	if c := w.trust(auth.Trust{Issuers: []auth.Issuer{w.j}}); c.Streams != 2 || c.Revoked != 2 {
		t.Errorf("%+v", c)
	}
	ofI.wantFinal("revoked")
	byChoice.wantFinal("revoked") // who shows a token that is no good is refused, also where none is needed
	w.settled()
	w.get("/v1/prices/A", from("i")...).problem(t, http.StatusUnauthorized, "token-invalid")
	w.bridge.push(sse.NewFrame("", []byte("after")), 1)
	for _, rd := range []*reader{ofJ, nobody} {
		if e := rd.want("message"); e.Data != "after" {
			t.Errorf("%q", e.Data)
		}
	}
}

func TestReload_OtherRulesOfAnIssuerEndItsStreamsSpread(t *testing.T) {
	w := startTrusted(t, func(s *setup) { s.cfg.RoutesSpread = 200 * time.Millisecond })
	ofI, ofJ, nobody := w.open("/v1/prices/A", from("i")...), w.open("/v1/prices/A", from("j")...), w.open("/v1/public/A")
	for _, rd := range []*reader{ofI, ofJ, nobody} {
		rd.want("$ready")
	}
	w.i.Audience = []string{"headgate", "others"}
	if c := w.trust(auth.Trust{Issuers: []auth.Issuer{w.i, w.j}}); c.Streams != 1 || c.Revoked != 0 {
		t.Errorf("%+v", c)
	}
	ofI.wantEnd("route-changed")
	w.open("/v1/prices/A", from("i")...).want("$ready")
	if c := w.trust(auth.Trust{Issuers: []auth.Issuer{w.i, w.j}, Anonymous: auth.Grants{Sub: auth.Permissions{Deny: []string{"prices.A"}}}}); c.Streams != 1 {
		t.Errorf("%+v", c)
	}
	nobody.wantEnd("route-changed")
	if got := w.get("/v1/public/A").StatusCode; got != http.StatusUnauthorized {
		t.Errorf("who may not read it any more: %d", got)
	}
	w.settled()
	w.bridge.push(sse.NewFrame("", []byte("after")), 1)
	ofJ.want("message")
}

// A request that has identified its caller by what a reload takes away begins again: by the new rules, or it is refused.
func TestReload_ACallerWhoWasIdentifiedBeforeIsIdentifiedAgain(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*trusted) auth.Trust
		status int
	}{
		"gone": {func(w *trusted) auth.Trust { return auth.Trust{Issuers: []auth.Issuer{w.j}} }, http.StatusUnauthorized},
		"changed": {func(w *trusted) auth.Trust {
			w.i.Type = ""
			w.i.Algorithms = []string{"ES256"}
			return auth.Trust{Issuers: []auth.Issuer{w.i}}
		}, http.StatusOK},
		"narrow": {func(w *trusted) auth.Trust {
			w.i.Audience = []string{"others"}
			return auth.Trust{Issuers: []auth.Issuer{w.i}}
		}, http.StatusUnauthorized},
	} {
		t.Run(name, func(t *testing.T) {
			w := startTrusted(t)
			reloaded := false
			w.bridge.open = func(context.Context, flow.Request) (flow.Opened, error) {
				if !reloaded {
					reloaded = true
					w.trust(c.change(w))
				}
				return w.bridge.opened(), nil
			}
			if c.status == http.StatusOK {
				rd := w.open("/v1/prices/A", from("i")...)
				rd.want("$ready")
				w.bridge.push(sse.NewFrame("", []byte("1")), 1)
				rd.want("message")
			} else {
				w.get("/v1/prices/A", from("i")...).problem(t, c.status, "token-invalid")
			}
			if n := w.server.Admitted(); n > 1 {
				t.Errorf("%d admitted", n)
			}
			if got := w.limiter.taken(); got != (tokens{connects: 1, users: 1}) {
				t.Errorf("beginning again has cost %+v", got)
			}
			w.settled()
		})
	}
}

// A stream that is being handed over while its issuer goes is neither in delivery yet nor refused any more.
func TestReload_FindsAStreamOfAnIssuerThatIsGoneWhileItIsHandedOver(t *testing.T) {
	opening, goOn := make(chan struct{}), make(chan struct{})
	w := startTrusted(t, func(s *setup) {
		s.cfg.RoutesSpread = time.Hour
		s.delivery = func(d *delivery.Server) gatewayDelivery { return slowHandover{d, opening, goOn} }
	})
	result := make(chan *reader, 1)
	go func() { result <- w.open("/v1/prices/A", from("i")...) }()
	<-opening
	w.trust(auth.Trust{Issuers: []auth.Issuer{w.j}})
	close(goOn)
	rd := <-result
	rd.want("$ready")
	rd.wantFinal("revoked")
	w.settled()
}

func TestReload_NeedsIdentitiesWithTheModeAndOnlyThen(t *testing.T) {
	if _, err := startTrusted(t).server.Reload(gateway.Next{Routes: []config.Route{prices()}}); err == nil {
		t.Error("nobody is identified any more")
	}
	r := start(t)
	if _, err := r.server.Reload(gateway.Next{Routes: []config.Route{prices()}, Identities: &auth.Verifier{}}); err == nil {
		t.Error("with AUTH_MODE=none callers have identities")
	}
}

// Whatever a request is in the middle of when its issuer goes, no stream of it is left.
func TestReload_UnderLoadLeavesNoStreamOfAnIssuerThatIsGone(t *testing.T) {
	w := startTrusted(t, func(s *setup) { s.cfg.RoutesSpread = time.Hour })
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	stop, asked := make(chan struct{}), make(chan int, 1<<16)
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				resp, err := client.Do(w.request(http.MethodGet, "/v1/prices/A", from("i")...))
				if err != nil {
					t.Error(err)
					return
				}
				asked <- resp.StatusCode
				if resp.StatusCode == http.StatusOK {
					all.Go(func() { _, _ = io.Copy(io.Discard, resp.Body); _ = resp.Body.Close() }) // until it is ended
				} else {
					_ = resp.Body.Close()
				}
			}
		})
	}
	seen := map[int]int{}
	for range 20 {
		w.trust(auth.Trust{Issuers: []auth.Issuer{w.i, w.j}})
		for range 30 {
			seen[<-asked]++
		}
		w.trust(auth.Trust{Issuers: []auth.Issuer{w.j}})
		for range 10 {
			seen[<-asked]++
		}
	}
	close(stop)
	w.settled()
	eventually(t, "no stream of the issuer is left", func() bool { return w.server.Admitted() == 0 })
	all.Wait()
	if seen[http.StatusOK] < 100 || seen[http.StatusUnauthorized] < 50 || len(seen) != 2 {
		t.Errorf("the answers: %v", seen)
	}
}
