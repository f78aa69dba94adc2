package gateway_test

import (
	"context"
	"net/http"
	"strings"
	"testing"
	"time"

	"headgate/internal/delivery"
	"headgate/internal/flow"
)

func TestDrain_EndsEveryStreamAndTurnsNewOnesAway(t *testing.T) {
	hold := make(chan struct{})
	r := start(t, func(s *setup) {
		s.cfg.Shutdown.Drain, s.cfg.Shutdown.Timeout = 0, patience
		s.delivery = func(d *delivery.Server) gatewayDelivery { return held{d, hold} }
	})
	rd := r.open("/v1/prices/ACME")
	rd.want("$ready")
	r.drain()
	eventually(t, "draining", r.server.Draining)

	// The streams are still there, because the test holds the drain back: everything is answered, and every answer closes.
	resp := r.get("/v1/prices/ACME", "Accept", "text/event-stream")
	r.overloaded(resp, "draining")
	w := r.dial().send("GET /v1/prices/ACME HTTP/1.1\r\nHost: h\r\nAccept: application/json, */*\r\n\r\n")
	status := w.answer()
	status.problem(t, http.StatusServiceUnavailable, "draining")
	if !status.Close || status.Header.Get("Retry-After") == "" {
		t.Errorf("close %v, fields %v", status.Close, status.Header)
	}
	for _, path := range []string{"/nothing", "/v1/notify/a"} {
		if resp := r.dial().send("GET " + path + " HTTP/1.1\r\nHost: h\r\n\r\n").answer(); !resp.Close {
			t.Errorf("GET %s leaves the connection open: %v", path, resp.Header)
		}
	}
	if resp := r.post("/v1/notify/a", "x"); resp.StatusCode != http.StatusAccepted || !resp.Close {
		t.Errorf("publish while draining: %d, close %v", resp.StatusCode, resp.Close)
	}

	if n := len(r.bridge.opens()); n != 1 {
		t.Errorf("%d sources were opened, one of them before the drain", n)
	}
	close(hold)
	if e := rd.want("$end"); e.Data != `{"reason":"draining","reconnect":true}` {
		t.Errorf("$end %s", e.Data)
	}
	rd.ended()
	<-r.done
	if !strings.Contains(r.logs.String(), "reason=draining") {
		t.Error("the log does not name the reason")
	}
}

func TestDrain_IsQuickWithoutStreams(t *testing.T) {
	r := start(t, func(s *setup) { s.cfg.Shutdown.Drain = time.Hour; s.cfg.Shutdown.Timeout = 2 * time.Hour })
	r.drain()
	select {
	case <-r.done:
	case <-time.After(patience):
		t.Fatal("it waits for nobody")
	}
}

func TestDrain_KeepsTheListenerOpenForTheDelayAlsoWithoutStreams(t *testing.T) {
	const delay = 500 * time.Millisecond
	r := start(t, func(s *setup) { s.cfg.Shutdown.Delay, s.cfg.Shutdown.Timeout = delay, patience })
	began := time.Now()
	r.drain()
	eventually(t, "draining", r.server.Draining)
	r.overloaded(r.get("/v1/prices/ACME", "Accept", "text/event-stream"), "draining")
	<-r.done
	if d := time.Since(began); d < delay {
		t.Fatalf("the listener closed after %v", d)
	}
}

func TestDrain_TurnsAwayWhoIsStillWaitingForNATS(t *testing.T) {
	r := start(t)
	opening, goOn := make(chan struct{}), make(chan struct{})
	r.bridge.open = func(context.Context, flow.Request) (flow.Opened, error) {
		close(opening)
		<-goOn
		return r.bridge.opened(), nil
	}
	result := make(chan response, 1)
	go func() { result <- r.get("/v1/prices/ACME", "Accept", "text/event-stream") }()
	<-opening
	r.drain()
	eventually(t, "draining", r.server.Draining)
	close(goOn)
	r.overloaded(<-result, "draining")
}

func TestDrain_CatchesStreamsThatWereOnTheirWay(t *testing.T) {
	opening, goOn := make(chan struct{}), make(chan struct{})
	r := start(t, func(s *setup) {
		s.delivery = func(d *delivery.Server) gatewayDelivery { return slowHandover{d, opening, goOn} }
	})
	result := make(chan *reader, 1)
	go func() { result <- r.open("/v1/prices/ACME") }()
	<-opening // past the last look at Draining, before delivery knows of it
	r.drain()
	eventually(t, "draining", r.server.Draining)
	close(goOn)
	rd := <-result
	rd.want("$ready")
	rd.want("$end")
	<-r.done
}

func TestStop_CutsADrainShort(t *testing.T) {
	r := start(t, func(s *setup) { s.cfg.Shutdown.Drain = time.Hour; s.cfg.Shutdown.Timeout = 2 * time.Hour })
	rd := r.open("/v1/prices/ACME")
	rd.want("$ready")
	r.drain()
	eventually(t, "draining", r.server.Draining)
	r.server.Stop()
	rd.wantEnd("shutdown")
	select {
	case <-r.done:
	case <-time.After(patience):
		t.Fatal("Stop did not end it")
	}
	if !strings.Contains(r.logs.String(), "reason=shutdown") {
		t.Error("the log does not name the reason")
	}
}

func TestDrain_IsBoundedByTheTimeout(t *testing.T) {
	r := start(t, func(s *setup) {
		s.cfg.Shutdown.Drain, s.cfg.Shutdown.Timeout = time.Hour, 50*time.Millisecond
	})
	rd := r.open("/v1/prices/ACME")
	rd.want("$ready")
	r.drain()
	select {
	case <-r.done:
	case <-time.After(patience):
		t.Fatal("the timeout did not end it")
	}
	rd.wantEnd("shutdown")
}
