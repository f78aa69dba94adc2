package gateway_test

import (
	"bytes"
	"context"
	"log/slog"
	"os"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	realbridge "headgate/bridge"
	"headgate/gateway"
	"headgate/internal/config"
	"headgate/internal/delivery"
	"headgate/ratelimit"
)

func modelSeed() uint64 {
	n, _ := strconv.ParseUint(os.Getenv("HEADGATE_MODEL_SEED"), 10, 64)
	return n
}

// replica is a whole gateway that can be ended and started again, at the same address or elsewhere.
type replica struct {
	t    testing.TB
	cfg  config.Config
	addr atomic.Pointer[string] // "" while it is away

	mu   sync.Mutex
	logs bytes.Buffer // the end of it

	bridge *realbridge.Bridge
	check  *delivery.Server
	reg    *prometheus.Registry
	stop   func()
}

func modelConfig(url string, routes []config.Route) config.Config {
	cfg := config.DefaultConfig()
	cfg.Routes = routes
	cfg.NATS.URL, cfg.NATS.Name = url, "model"
	cfg.NATS.ReconnectWait, cfg.NATS.ReconnectJitter = 20*time.Millisecond, 20*time.Millisecond
	cfg.Shutdown.Delay, cfg.Shutdown.Drain, cfg.Shutdown.Timeout = 0, 0, patience
	cfg.Limit.ConnectRate, cfg.Limit.ConnectionsPerIP = 0, 0
	cfg.SSE.BufferBytes, cfg.SSE.BufferAge = 64<<10, 2*time.Second
	cfg.JetStream.TailBytes = 300 << 10 // a few hundred messages: what is older comes from history
	return cfg
}

func startReplica(t testing.TB, cfg config.Config) *replica {
	t.Helper()
	r := &replica{t: t, cfg: cfg}
	r.start()
	t.Cleanup(func() {
		r.stop()
		if t.Failed() {
			r.mu.Lock()
			defer r.mu.Unlock()
			b := r.logs.Bytes()
			t.Logf("end of a gateway's log:\n%s", b[max(0, len(b)-8000):])
		}
	})
	return r
}

// Write implements io.Writer for the log.
func (r *replica) Write(p []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if bytes.Contains(p, []byte("stream ended")) || bytes.Contains(p, []byte("refused")) {
		return len(p), nil // every client's, all the time
	}
	return r.logs.Write(p)
}

// start runs the gateway until stop.
func (r *replica) start() {
	r.t.Helper()
	var server *gateway.Server
	r.reg = prometheus.NewRegistry()
	log := slog.New(slog.NewTextHandler(r, &slog.HandlerOptions{Level: slog.LevelDebug}))
	b, err := realbridge.New(r.cfg, log, r.reg)
	if err != nil {
		r.t.Fatal(err)
	}
	r.check = delivery.New(delivery.Config{Shards: 2, OnEnd: func(e delivery.Ended) { server.Ended(e) }, Log: log, Registerer: r.reg})
	server, err = gateway.New(gateway.Options{Config: r.cfg, Bridge: b, Delivery: r.check, Log: log, Registerer: r.reg,
		Limiter: ratelimit.New(ratelimit.Config{Streams: r.cfg.Limit.Connections, Addresses: r.cfg.Limit.Addresses, Registerer: r.reg})})
	if err != nil {
		r.t.Fatal(err)
	}
	ln, err := gateway.Listen(context.Background(), "127.0.0.1:0")
	if err != nil {
		r.t.Fatal(err)
	}
	var all, front sync.WaitGroup
	back, stopBack := context.WithCancel(context.Background())
	ctx, drain := context.WithCancel(context.Background())
	all.Go(func() {
		if err := b.Run(back); err != nil {
			r.t.Errorf("bridge: %v", err)
		}
	})
	all.Go(func() {
		if err := r.check.Run(back); err != nil {
			r.t.Errorf("delivery: %v", err)
		}
	})
	front.Go(func() {
		if err := server.Run(ctx, ln); err != nil {
			r.t.Errorf("gateway: %v", err)
		}
	})
	addr := ln.Addr().String()
	r.bridge = b
	r.addr.Store(&addr)
	r.stop = sync.OnceFunc(func() {
		none := ""
		r.addr.Store(&none)
		drain()
		front.Wait()
		stopBack()
		all.Wait()
	})
}

// ready waits until streams can be opened.
func (r *replica) ready() *replica {
	r.t.Helper()
	eventually(r.t, "the gateway", func() bool {
		filled, _ := r.bridge.Prefilled()
		return r.bridge.Health().Connected && filled
	})
	return r
}

// metric is the sum of a metric over its labels, of those that have the given label value if one is given.
func (r *replica) metric(name string, label ...string) (sum float64) {
	families, err := r.reg.Gather()
	if err != nil {
		r.t.Error(err)
	}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			match := f.GetName() == name
			if len(label) > 0 {
				match = match && len(m.GetLabel()) > 0 && m.GetLabel()[0].GetValue() == label[0]
			}
			if match {
				sum += m.GetCounter().GetValue() + m.GetGauge().GetValue()
			}
		}
	}
	return sum
}
