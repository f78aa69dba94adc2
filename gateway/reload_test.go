package gateway_test

import (
	"context"
	"crypto/tls"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"headgate/gateway"
	"headgate/internal/config"
	"headgate/internal/delivery"
	"headgate/internal/flow"
	"headgate/internal/sse"
)

func (r *rig) reload(routes ...config.Route) gateway.Change {
	r.t.Helper()
	c, err := r.server.Reload(gateway.Next{Routes: routes})
	if err != nil {
		r.t.Fatal(err)
	}
	return c
}

func (r *rig) settled() {
	r.t.Helper()
	eventually(r.t, "the streams of old routes have ended", r.server.Settle)
}

func TestReload_EndsNoStreamWhoseRouteSaysTheSameOfStreams(t *testing.T) {
	r := start(t)
	rd := r.open("/v1/prices/ACME")
	rd.want("$ready")
	changed := prices()
	changed.CORS = config.CORS{AllowedOrigins: []string{"https://app.example"}}
	changed.OnOverload, changed.MaxStreams, changed.Line = "retry", 7, 99
	changed.Publish = &config.Publish{Subject: "prices.{symbol}", MaxBytes: 10}
	for range 20 {
		c := r.reload(changed, feed(), notify())
		if c.Streams != 0 || len(c.Added)+len(c.Changed)+len(c.Removed) > 0 {
			t.Fatalf("%+v", c)
		}
		changed.MaxStreams++
	}
	r.bridge.push(sse.NewFrame("", []byte("after")), 1)
	if e := rd.want("message"); e.Data != "after" {
		t.Errorf("%q", e.Data)
	}
	if got := r.do(r.request(http.MethodPost, "/v1/prices/ACME")).StatusCode; got != http.StatusAccepted && got != http.StatusNoContent && got != http.StatusOK {
		t.Errorf("the new entrance answers %d", got)
	}
	if got := r.get("/v1/prices/ACME", "Origin", "https://app.example", "Accept", "text/html").Header.Get("Access-Control-Allow-Origin"); got != "https://app.example" {
		t.Errorf("the new origin is answered with %q", got)
	}
	if !r.server.Settle() {
		t.Error("something is to be ended")
	}
}

func TestReload_EndsTheStreamsOfARouteThatSaysSomethingElse(t *testing.T) {
	for name, change := range map[string]func(*config.Route){
		"subject":   func(c *config.Route) { c.Sources[0].Subject = "other.{symbol}" },
		"event":     func(c *config.Route) { c.Event = "price" },
		"data":      func(c *config.Route) { c.Data = "json" },
		"envelope":  func(c *config.Route) { c.Envelope = "headgate" },
		"heartbeat": func(c *config.Route) { c.Heartbeat = time.Second },
		"params":    func(c *config.Route) { c.Params = map[string]string{"symbol": "[A-Z]+"} },
		"resume":    func(c *config.Route) { c.Resume.MaxEvents = 3 },
		"slow":      func(c *config.Route) { c.SlowConsumer = "drop_oldest" },
		"source": func(c *config.Route) {
			c.Sources = append(c.Sources, config.Source{Name: "more", Type: "core", Subject: "more.x"})
		},
	} {
		t.Run(name, func(t *testing.T) {
			r := start(t, func(s *setup) { s.cfg.RoutesSpread = 0 })
			rd, stays := r.open("/v1/prices/ACME"), r.open("/v1/feed?subject=feed.a")
			rd.want("$ready")
			stays.want("$ready")
			changed := prices()
			change(&changed)
			if c := r.reload(changed, feed(), notify()); c.Streams != 1 || !slices.Equal(c.Changed, []string{"prices"}) {
				t.Errorf("%+v", c)
			}
			if e := rd.want("$end"); e.Data != `{"reason":"route-changed","reconnect":true}` {
				t.Error(e.Data)
			}
			r.settled()
			r.bridge.push(sse.NewFrame("", []byte("after")), 1)
			stays.want("message")
			r.open("/v1/prices/ACME").want("$ready")
		})
	}
}

func TestReload_EndsTheStreamsOfARouteThatIsGoneAndForgetsIt(t *testing.T) {
	r := start(t, func(s *setup) { s.cfg.RoutesSpread = 0 })
	rd := r.open("/v1/prices/ACME")
	rd.want("$ready")
	if r.metric("headgate_streams", "route", "prices") != 1 {
		t.Fatal("no series of the route")
	}
	r.reload(feed())
	if e := rd.want("$end"); e.Data != `{"reason":"route-removed","reconnect":false}` {
		t.Error(e.Data)
	}
	r.get("/v1/prices/ACME").problem(t, http.StatusNotFound, "not-found")
	r.settled()
	for _, name := range []string{"headgate_streams", "headgate_requests_total"} {
		if got := r.metric(name, "route", "prices"); got != -1 {
			t.Errorf("%s of a route that is gone: %v", name, got)
		}
	}
	if got := r.metric("headgate_stream_ends_total", "reason", "route-removed"); got != 1 {
		t.Errorf("counted %v ends", got)
	}
	if _, out, _ := r.limiter.balance(); out != 0 {
		t.Errorf("%d admissions are out", out)
	}
	r.reload(prices(), feed())
	r.open("/v1/prices/ACME").want("$ready")
	if got := r.metric("headgate_streams", "route", "prices"); got != 1 {
		t.Errorf("back again it has %v streams", got)
	}
}

// The old path is answered with 404, so nobody is to come back to it.
func TestReload_ARouteThatMovesIsGoneFromItsOldPath(t *testing.T) {
	r := start(t, func(s *setup) { s.cfg.RoutesSpread = 0 })
	rd, renamed := r.open("/v1/prices/ACME"), r.open("/v1/feed?subject=feed.a")
	rd.want("$ready")
	renamed.want("$ready")
	moved, other := prices(), feed()
	moved.Path, other.Name = "/v2/prices/{symbol}", "news"
	r.reload(moved, other)
	rd.wantFinal("route-removed")
	renamed.wantEnd("route-changed") // its path is still there
	r.settled()
}

func TestReload_SpreadsTheEnds(t *testing.T) {
	const spread = time.Second
	r := start(t, func(s *setup) { s.cfg.RoutesSpread = spread })
	var all []*reader
	for range 40 {
		rd := r.open("/v1/prices/ACME")
		rd.want("$ready")
		all = append(all, rd)
	}
	began := time.Now()
	r.reload(feed())
	ended := make(chan time.Duration, len(all))
	for _, rd := range all {
		go func() { rd.want("$end"); ended <- time.Since(began) }()
	}
	early := 0
	for range all {
		if <-ended < spread/2 {
			early++
		}
	}
	if early == 0 || early == len(all) {
		t.Errorf("%d of %d ended in the first half", early, len(all))
	}
	r.settled()
}

func TestReload_ARequestOnItsWayIsWaitedForAndBeginsAgain(t *testing.T) {
	r := start(t, func(s *setup) { s.cfg.RoutesSpread = time.Hour })
	opening, goOn := make(chan struct{}), make(chan struct{})
	r.bridge.open = func(context.Context, flow.Request) (flow.Opened, error) {
		close(opening)
		<-goOn
		return r.bridge.opened(), nil
	}
	result := make(chan response, 1)
	go func() { result <- r.get("/v1/prices/ACME") }()
	<-opening
	r.reload(feed())
	for range 3 {
		if r.server.Settle() {
			t.Fatal("a request with the old route is on its way")
		}
	}
	close(goOn)
	resp := <-result
	resp.problem(t, http.StatusNotFound, "not-found")
	r.settled()
}

func TestReload_FindsARequestThatIsBeingHandedOver(t *testing.T) {
	opening, goOn := make(chan struct{}), make(chan struct{})
	r := start(t, func(s *setup) {
		s.cfg.RoutesSpread = time.Hour
		s.delivery = func(d *delivery.Server) gatewayDelivery { return slowHandover{d, opening, goOn} }
	})
	result := make(chan *reader, 1)
	go func() { result <- r.open("/v1/prices/ACME") }()
	<-opening
	changed := prices()
	changed.Event = "price"
	r.reload(changed)
	close(goOn)
	rd := <-result
	rd.want("$ready")
	rd.wantEnd("route-changed")
	r.settled()
}

func TestReload_WithAnErrorChangesNothing(t *testing.T) {
	r := start(t)
	rd := r.open("/v1/prices/ACME")
	rd.want("$ready")
	twice, broken := prices(), feed()
	twice.Name = "twice"
	broken.Params = map[string]string{"x": "("}
	_, err := r.server.Reload(gateway.Next{Routes: []config.Route{twice, prices(), broken}})
	if err == nil || !strings.Contains(err.Error(), `"twice"`) || !strings.Contains(err.Error(), `"feed"`) {
		t.Errorf("the error does not name both: %v", err)
	}
	r.bridge.push(sse.NewFrame("", []byte("after")), 1)
	rd.want("message")
	r.open("/v1/feed?subject=feed.a").want("$ready")
	if !r.server.Settle() {
		t.Error("something is to be ended")
	}
}

func TestReload_IsRefusedWhileDraining(t *testing.T) {
	r := start(t, func(s *setup) { s.cfg.Shutdown.Drain, s.cfg.Shutdown.Timeout = time.Hour, 2*time.Hour })
	rd := r.open("/v1/prices/ACME")
	rd.want("$ready")
	r.drain()
	eventually(t, "draining", r.server.Draining)
	if _, err := r.server.Reload(gateway.Next{Routes: []config.Route{feed()}}); err == nil {
		t.Error("a reload while draining")
	}
	r.server.Stop()
	rd.wantEnd("shutdown")
}

// Many reloads leave nothing: numbers of routes are used again, and streams of one life are never in a group of another.
func TestReload_ManyTimesLeavesNothing(t *testing.T) {
	r := start(t, func(s *setup) { s.cfg.RoutesSpread = 0 })
	stays := r.open("/v1/feed?subject=feed.a")
	stays.want("$ready")
	for n := range 200 {
		changed := prices()
		changed.Event = fmt.Sprintf("price%d", n)
		extra := prices()
		extra.Name, extra.Path = fmt.Sprintf("extra%d", n), fmt.Sprintf("/extra/%d", n)
		extra.Sources = []config.Source{{Name: "x", Type: "core", Subject: "extra.x"}}
		r.reload(changed, feed(), extra)
		rd := r.open("/v1/prices/ACME")
		rd.want("$ready")
		if n%10 == 0 {
			r.settled()
		}
	}
	r.reload(feed())
	r.settled()
	if n := r.server.Lives(); n != 1 {
		t.Errorf("%d routes are remembered, one is left", n)
	}
	families, err := r.reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		if len(f.Metric) > 100 {
			t.Errorf("%s has %d series", f.GetName(), len(f.Metric))
		}
	}
	r.bridge.push(sse.NewFrame("", []byte("after")), 1)
	stays.want("message")
}

// A request that has found its route, and is admitted only after that was given up, begins again with the routes that there are by then.
func TestReload_ALateRequestBeginsAgain(t *testing.T) {
	r := start(t, func(s *setup) { s.cfg.RoutesSpread = 0 })
	changed := prices()
	changed.Event = "price"
	for _, c := range []struct {
		routes []config.Route
		status int
	}{{[]config.Route{changed}, http.StatusOK}, {[]config.Route{feed()}, http.StatusNotFound}} {
		r.reload(prices())
		r.settled()
		r.limiter.mu.Lock()
		r.limiter.tokens = tokens{}
		r.limiter.hook = func() {
			r.reload(c.routes...)
			r.settled()
		}
		r.limiter.mu.Unlock()
		if c.status == http.StatusOK {
			rd := r.open("/v1/prices/ACME")
			rd.want("$ready")
			r.bridge.push(sse.NewFrame("price", []byte("1")), 1)
			rd.want("price")
		} else if got := r.get("/v1/prices/ACME").StatusCode; got != c.status {
			t.Errorf("status %d", got)
		}
		if got := r.limiter.taken(); got.connects != 1 {
			t.Errorf("beginning again has cost %+v", got)
		}
	}
	if n := r.server.Admitted(); n > 1 {
		t.Errorf("%d admitted", n)
	}
}

// closed says whether a source is closed, by number.
func (b *bridge) closed(n int) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.sources[n].isClosed()
}

// While the streams of the old route are ending, those of the new one must not be given the old one's events.
func TestReload_StreamsOfTheNewRouteAreNotInAGroupWithThoseOfTheOld(t *testing.T) {
	r := start(t, func(s *setup) { s.cfg.RoutesSpread = time.Hour })
	r.open("/v1/prices/ACME").want("$ready")
	r.open("/v1/prices/ACME").want("$ready")
	if !r.bridge.closed(1) {
		t.Fatal("two streams of one route have two groups: this shows nothing")
	}
	changed := prices()
	changed.Event = "price"
	r.reload(changed)
	r.open("/v1/prices/ACME").want("$ready")
	if r.bridge.closed(2) {
		t.Error("they share a group")
	}
}

func TestCheck_SeesAStreamWhoseRouteIsNotKnown(t *testing.T) {
	r := start(t, withRoutes(prices()))
	rd := r.open("/v1/prices/ACME")
	rd.want("$ready")
	if broken, err := r.server.Check(t.Context()); err != nil || len(broken) > 0 {
		t.Errorf("%v, %v", broken, err)
	}
	find := r.server.Lose()
	broken, err := r.server.Check(t.Context())
	find()
	if err != nil || len(broken) != 2 { // the route has lost its number, the stream its route
		t.Errorf("%q, %v", broken, err)
	}
}

// Streams that stay with their handler, and requests that find their route given up on HTTP/2, where the pipeline has a goroutine of its own.
func TestReload_OnHTTP2(t *testing.T) {
	certFile, keyFile := writeCertificate(t, t.TempDir(), "localhost")
	r := start(t, func(s *setup) {
		s.cfg.RoutesSpread = 0
		s.cfg.HTTP.TLSCertFile, s.cfg.HTTP.TLSKeyFile = certFile, keyFile
	})
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, ForceAttemptHTTP2: true}}
	open := func(path string) *reader {
		req := r.request(http.MethodGet, path)
		req.URL.Scheme = "https"
		rd := r.openWith(client, req)
		if rd.resp.ProtoMajor != 2 {
			t.Fatalf("HTTP/%d", rd.resp.ProtoMajor)
		}
		rd.want("$ready")
		return rd
	}
	stays, ends := open("/v1/feed?subject=feed.a"), open("/v1/prices/ACME")
	changed := prices()
	changed.Event = "price"
	r.reload(changed, feed())
	ends.wantEnd("route-changed")
	r.settled()
	r.limiter.mu.Lock()
	r.limiter.hook = func() {
		r.reload(prices(), feed())
		r.settled()
	}
	r.limiter.mu.Unlock()
	open("/v1/prices/ACME")
	r.bridge.push(sse.NewFrame("", []byte("after")), 1)
	stays.want("message")
}
