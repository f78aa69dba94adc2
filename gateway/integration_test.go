package gateway_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/prometheus/client_golang/prometheus"

	realbridge "headgate/bridge"
	"headgate/gateway"
	"headgate/internal/config"
	"headgate/internal/delivery"
	"headgate/internal/devnats"
	"headgate/internal/sse"
	"headgate/ratelimit"
)

// whole is a gateway with everything real behind it: NATS, bridge, limits, delivery, sockets.
type whole struct {
	*rig
	nats *devnats.Server
	pub  *nats.Conn
}

func startWhole(t *testing.T, change ...func(*setup)) *whole {
	t.Helper()
	ns, err := devnats.Start(devnats.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(ns.Shutdown)
	return startWholeOn(t, ns, nil, change...)
}

// realLimiter is the one that the program makes.
func realLimiter(cfg config.Config, reg prometheus.Registerer) *ratelimit.Limiter {
	routes := map[string]ratelimit.Route{}
	for _, r := range cfg.Routes {
		routes[r.Name] = ratelimit.Route{Streams: r.MaxStreams, StreamsPerUser: r.Limits.ConnectionsPerUser, PublishRate: r.Limits.PublishRate}
	}
	l := cfg.Limit
	return ratelimit.New(ratelimit.Config{Streams: l.Connections, StreamsPerAddress: l.ConnectionsPerIP, StreamsPerUser: l.ConnectionsPerUser,
		ConnectRate: l.ConnectRate, UserConnectRate: l.ConnectRatePerUser, ConnectBurst: l.ConnectBurst, GlobalConnectRate: l.GlobalConnectRate,
		PublishRate: l.PublishRate, UserPublishRate: l.PublishRatePerUser, Addresses: l.Addresses, Users: l.Users, Routes: routes, Registerer: reg})
}

// startWholeOn is startWhole on a server of the test's own, to which it publishes with the options.
func startWholeOn(t *testing.T, ns *devnats.Server, publisher []nats.Option, change ...func(*setup)) *whole {
	t.Helper()
	cfg := config.DefaultConfig()
	cfg.Routes = []config.Route{prices(), feed(), notify()}
	cfg.NATS.URL, cfg.NATS.Name = ns.URL(), "test"
	cfg.NATS.ReconnectWait, cfg.NATS.ReconnectJitter, cfg.NATS.ConfirmTimeout = 20*time.Millisecond, 20*time.Millisecond, 300*time.Millisecond
	cfg.Shutdown.Delay, cfg.Shutdown.Drain = 0, 0
	st := &setup{cfg: cfg}
	for _, c := range change {
		c(st)
	}
	w := &whole{rig: &rig{t: t, bridge: &bridge{}, limiter: &limiter{}, logs: &logs{}, reg: prometheus.NewRegistry(), cfg: st.cfg,
		done: make(chan struct{})}, nats: ns}
	log := slog.New(slog.NewTextHandler(w.logs, &slog.HandlerOptions{Level: slog.LevelDebug}))
	b, err := realbridge.New(st.cfg, log, w.reg)
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() {
		if err := b.Run(ctx); err != nil {
			t.Errorf("bridge: %v", err)
		}
	})
	t.Cleanup(func() { stop(); running.Wait() })
	w.delivery = delivery.New(delivery.Config{Shards: 2, OnEnd: func(e delivery.Ended) { w.server.Ended(e) }, Log: log, Registerer: w.reg})
	w.server, err = gateway.New(gateway.Options{Config: st.cfg, Bridge: b, Delivery: w.delivery, Log: log, Registerer: w.reg,
		Identities: st.identities, Limiter: realLimiter(st.cfg, w.reg)})
	if err != nil {
		t.Fatal(err)
	}
	w.run()
	eventually(t, "NATS", func() bool { return b.Health().Connected })
	w.pub, err = nats.Connect(ns.URL(), publisher...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(w.pub.Close)
	return w
}

func (w *whole) publish(subject, data string) {
	w.t.Helper()
	if err := w.pub.Publish(subject, []byte(data)); err != nil {
		w.t.Fatal(err)
	}
	if err := w.pub.Flush(); err != nil {
		w.t.Fatal(err)
	}
}

func TestWhole_NothingPublishedAfterReadyIsMissed(t *testing.T) {
	w := startWhole(t)
	for n := range 20 {
		rd := w.open(fmt.Sprintf("/v1/prices/S%d", n))
		rd.want("$ready")
		w.publish(fmt.Sprintf("prices.S%d", n), "first")
		if e := rd.want("message"); e.Data != "first" {
			t.Fatalf("data %q", e.Data)
		}
		rd.stop()
	}
}

func TestWhole_IntersectingSubjectsDeliverOnce(t *testing.T) {
	w := startWhole(t)
	rd := w.open("/v1/feed?subject=feed.*.x&subject=feed.y.*")
	rd.want("$ready")
	w.publish("feed.y.x", "both")
	w.publish("feed.z.x", "one")
	w.publish("feed.z.z", "none")
	w.publish("feed.y.z", "other")
	for _, want := range []string{"both", "one", "other"} {
		if e := rd.want("message"); e.Data != want {
			t.Fatalf("data %q, want %q", e.Data, want)
		}
	}
}

func TestWhole_AReconnectGetsWhatItMissed(t *testing.T) {
	w := startWhole(t)
	rd := w.open("/v1/prices/A")
	rd.want("$ready")
	w.publish("prices.A", "1")
	id := rd.want("message").ID
	rd.stop()
	watcher := w.open("/v1/prices/A")
	watcher.want("$ready")
	w.publish("prices.A", "2")
	w.publish("prices.A", "3")
	watcher.wantAll("2", "3") // headgate has them
	rd = w.open("/v1/prices/A", "Last-Event-ID", id)
	if e := rd.want("$ready"); !strings.Contains(e.Data, `"position":"replay"`) {
		t.Errorf("$ready %s", e.Data)
	}
	rd.wantAll("2", "3")
	rd.want("$live")
	w.publish("prices.A", "4")
	rd.wantAll("4")

	byQuery := w.open("/v1/prices/A?last-event-id=" + id)
	byQuery.want("$ready")
	byQuery.wantAll("2", "3")
	next := byQuery.next()
	if next.Type == "$live" { // its shard had not heard of the fourth yet, so that came live
		next = byQuery.next()
	}
	if next.Data != "4" {
		t.Errorf("%+v, want the fourth", next)
	}
}

func (rd *reader) wantAll(data ...string) {
	rd.t.Helper()
	for _, want := range data {
		if e := rd.want("message"); e.Data != want {
			rd.t.Fatalf("data %q, want %q", e.Data, want)
		}
	}
}

func TestWhole_AnUnknownPositionIsAGapNotARefusal(t *testing.T) {
	w := startWhole(t)
	for _, id := range []string{"rubbish", "1~AAAAAA.5", strings.Repeat("x", 10_000)} {
		rd := w.open("/v1/prices/A", "Last-Event-ID", id)
		rd.want("$ready")
		e := rd.want("$gap")
		var gap map[string]any
		if err := json.Unmarshal([]byte(e.Data), &gap); err != nil || gap["reason"] != "unknown-position" || gap["source"] != "prices" ||
			gap["next"] != "live" || gap["certain"] != false {
			t.Errorf("$gap %s: %v", e.Data, err)
		}
	}
}

func TestWhole_PublishAndStreamMeet(t *testing.T) {
	one := prices()
	one.Publish = &config.Publish{Subject: "prices.{symbol}", MaxBytes: 100, Headers: []string{"Sse-Event"}}
	w := startWhole(t, withRoutes(one))
	rd := w.open("/v1/prices/A")
	rd.want("$ready")
	if resp := w.post("/v1/prices/A", "hello\nworld", "Sse-Event", "note"); resp.StatusCode != http.StatusAccepted {
		t.Fatalf("%d %s", resp.StatusCode, resp.body)
	}
	if e := rd.want("note"); e.Data != "hello\nworld" {
		t.Errorf("data %q", e.Data)
	}
}

func TestWhole_NATSAwayIsOverloadAndComesBack(t *testing.T) {
	w := startWhole(t)
	rd := w.open("/v1/prices/A")
	rd.want("$ready")
	w.nats.Stop()
	eventually(t, "the refusal", func() bool {
		resp := w.get("/v1/prices/B", "Accept", "text/event-stream")
		return strings.Contains(resp.body, `"cause":"upstream"`)
	})
	w.get("/v1/prices/B").problem(t, http.StatusServiceUnavailable, "upstream")
	w.post("/v1/notify/a", "x").problem(t, http.StatusServiceUnavailable, "upstream")
	if err := w.nats.Restart(); err != nil {
		t.Fatal(err)
	}
	if e := rd.want("$gap"); !strings.Contains(e.Data, `"reason":"reconnect"`) {
		t.Errorf("$gap %s", e.Data)
	}
	eventually(t, "streams again", func() bool { return w.do(w.request(http.MethodHead, "/v1/prices/B")).StatusCode == http.StatusOK })
	eventually(t, "the publisher", w.pub.IsConnected)
	w.publish("prices.A", "again")
	rd.wantAll("again")
}

func TestWhole_LimitsPerAddressHoldAndAreGivenBack(t *testing.T) {
	w := startWhole(t, func(s *setup) { s.cfg.Limit.ConnectionsPerIP = 3 })
	var open []*reader
	for range 3 {
		rd := w.open("/v1/prices/A")
		rd.want("$ready")
		open = append(open, rd)
	}
	w.get("/v1/prices/A").problem(t, http.StatusTooManyRequests, "cap-address")
	w.overloaded(w.get("/v1/prices/A", "Accept", "text/event-stream"), "cap")
	open[0].stop()
	eventually(t, "a place", func() bool {
		resp := w.do(w.request(http.MethodHead, "/v1/prices/A"))
		return resp.StatusCode == http.StatusOK
	})
}

func TestWhole_DrainUnderLoadTellsEverybody(t *testing.T) {
	const clients = 200
	w := startWhole(t, func(s *setup) { s.cfg.Shutdown.Drain, s.cfg.Shutdown.Timeout = 300*time.Millisecond, patience })
	var wires []*wire
	for n := range clients {
		c := w.dial().send(fmt.Sprintf("GET /v1/prices/S%d HTTP/1.1\r\nHost: h\r\n\r\n", n%10))
		if head := c.head(); head[0] != "HTTP/1.1 200 OK" {
			t.Fatalf("%q", head)
		}
		wires = append(wires, c)
	}
	eventually(t, "all streams", func() bool { return w.server.Admitted() == clients })
	w.drain()
	for _, c := range wires {
		// A body that ends with the connection, with $end as its last event.
		body, err := io.ReadAll(c.r)
		if err != nil {
			t.Fatalf("cut short: %v", err)
		}
		d := sse.NewDecoder(strings.NewReader(string(body)))
		last := sse.Event{}
		for {
			e, err := d.Next()
			if err != nil {
				break
			}
			last = e
		}
		if last.Type != "$end" || !strings.Contains(last.Data, "draining") {
			t.Fatalf("last event %+v", last)
		}
	}
	<-w.done
	if got := w.metric("headgate_stream_ends_total", "reason", "draining"); got != clients {
		t.Errorf("%v ends", got)
	}
}

func TestWhole_ClientDataAfterTheRequestEndsTheStream(t *testing.T) {
	w := startWhole(t)
	c := w.dial().send("GET /v1/prices/A HTTP/1.1\r\nHost: h\r\n\r\n")
	c.head()
	eventually(t, "the stream", func() bool { return w.server.Admitted() == 1 })
	c.send(strings.Repeat("garbage ", 1024))
	eventually(t, "the end", func() bool { return w.metric("headgate_stream_ends_total", "reason", "client-data") == 1 })
}

func TestWhole_NothingIsLeftWhenEverybodyHasGone(t *testing.T) {
	w := startWhole(t)
	for range 3 {
		var readers []*reader
		for n := range 30 {
			rd := w.open(fmt.Sprintf("/v1/feed?subject=feed.%d", n))
			rd.want("$ready")
			readers = append(readers, rd)
		}
		for _, rd := range readers {
			rd.stop()
		}
		eventually(t, "nobody", func() bool { return w.server.Admitted() == 0 && w.delivery.Streams() == 0 })
	}
	if got := w.metric("headgate_streams", "route", "feed"); got != 0 {
		t.Errorf("%v streams", got)
	}
	if got := w.metric("headgate_stream_ends_total", "reason", "client-gone"); got != 90 {
		t.Errorf("%v ends", got)
	}
}
