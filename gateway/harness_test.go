package gateway_test

import (
	"bytes"
	"context"
	"log/slog"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"headgate/auth"
	"headgate/gateway"
	"headgate/internal/config"
	"headgate/internal/delivery"
)

const patience = 10 * time.Second

// logs is a log that tests read.
type logs struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (l *logs) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(p)
}

func (l *logs) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.String()
}

// rig is a running gateway with a real delivery behind it and a bridge and limiter of the test's own.
type rig struct {
	t        testing.TB
	server   *gateway.Server
	delivery *delivery.Server
	bridge   *bridge
	limiter  *limiter
	logs     *logs
	reg      *prometheus.Registry
	addr     string
	cfg      config.Config
	drain    context.CancelFunc // what SIGTERM does
	done     chan struct{}      // Run has returned
}

type setup struct {
	cfg      config.Config
	console  http.Handler
	delivery func(*delivery.Server) gateway.Delivery // wraps the real one

	identities gateway.Identities
	revoked    *auth.Revocations // nil: nobody can be
}

// prices is a route the tests change.
func prices() config.Route {
	return config.Route{
		Name: "prices", Path: "/v1/prices/{symbol}", Sources: []config.Source{{Name: "prices", Type: "core", Subject: "prices.{symbol}"}},
		Data: "text", Envelope: "none", Heartbeat: 15 * time.Second, SlowConsumer: "disconnect", OnOverload: "auto", MaxEventBytes: 1 << 20,
		Resume: config.Resume{Enabled: true, MaxEvents: 64, MaxAge: time.Minute},
	}
}

// feed is a route whose clients name the subjects.
func feed() config.Route {
	r := prices()
	r.Name, r.Path = "feed", "/v1/feed"
	r.Sources = []config.Source{{Name: "feed", Type: "core", Allow: []string{"feed.>", "news.*"}}}
	return r
}

// notify is a route that publishes.
func notify() config.Route {
	return config.Route{Name: "notify", Path: "/v1/notify/{user}", AuthRequiredSaid: true, OnOverload: "auto",
		Publish: &config.Publish{Subject: "users.{user}.notify.web", MaxBytes: 1 << 10, Headers: []string{"Sse-Event"}}}
}

func start(t testing.TB, change ...func(*setup)) *rig {
	t.Helper()
	cfg := config.DefaultConfig()
	cfg.Routes = []config.Route{prices(), feed(), notify()}
	cfg.Shutdown.Delay, cfg.Shutdown.Drain = 0, 0
	cfg.Shutdown.Timeout = 5 * time.Second
	st := &setup{cfg: cfg}
	for _, c := range change {
		c(st)
	}
	r := &rig{t: t, bridge: &bridge{}, limiter: &limiter{}, logs: &logs{}, reg: prometheus.NewRegistry(), cfg: st.cfg, done: make(chan struct{})}
	log := slog.New(slog.NewTextHandler(r.logs, &slog.HandlerOptions{Level: slog.LevelDebug}))
	r.delivery = delivery.New(delivery.Config{Shards: 1, OnEnd: func(e delivery.Ended) { r.server.Ended(e) }, Log: log})
	var del gateway.Delivery = r.delivery
	if st.delivery != nil {
		del = st.delivery(r.delivery)
	}
	var err error
	options := gateway.Options{Config: st.cfg, Bridge: r.bridge, Delivery: del, Limiter: r.limiter, Identities: st.identities, Log: log,
		Registerer: r.reg, Console: st.console}
	if st.revoked != nil {
		options.Revoked = st.revoked
	}
	r.server, err = gateway.New(options)
	if err != nil {
		t.Fatal(err)
	}
	r.run()
	return r
}

// run starts both servers and stops them when the test ends: gateway first, as main does.
func (r *rig) run() {
	r.t.Helper()
	ln, err := gateway.Listen(r.t.Context(), "127.0.0.1:0")
	if err != nil {
		r.t.Fatal(err)
	}
	r.addr = ln.Addr().String()
	deliveryCtx, stopDelivery := context.WithCancel(context.Background())
	var both sync.WaitGroup
	both.Go(func() {
		if err := r.delivery.Run(deliveryCtx); err != nil {
			r.t.Errorf("delivery: %v", err)
		}
	})
	ctx, drain := context.WithCancel(context.Background())
	r.drain = drain
	both.Go(func() {
		defer close(r.done)
		if err := r.server.Run(ctx, ln); err != nil {
			r.t.Errorf("gateway: %v", err)
		}
	})
	r.t.Cleanup(func() {
		drain()
		<-r.done
		stopDelivery()
		both.Wait()
		if _, out, _ := r.limiter.balance(); out != 0 {
			r.t.Errorf("%d admissions were not released", out)
		}
		if r.limiter.second != 0 {
			r.t.Errorf("%d admissions of users were not released", r.limiter.second)
		}
		if n := r.server.Admitted(); n != 0 {
			r.t.Errorf("%d streams are left in the table", n)
		}
		for i, s := range r.bridge.sources {
			if !s.isClosed() {
				r.t.Errorf("source %d was not closed", i)
			}
		}
	})
}

func withRoutes(routes ...config.Route) func(*setup) {
	return func(s *setup) { s.cfg.Routes = routes }
}

// eventually waits for a condition that nothing announces.
func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !ok(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("waited in vain: %s", what)
		}
	}
}
