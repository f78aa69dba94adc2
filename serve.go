package main

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"slices"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"

	"headgate/auth"
	"headgate/bridge"
	"headgate/gateway"
	"headgate/internal/admin"
	"headgate/internal/config"
	"headgate/internal/delivery"
	"headgate/internal/gap"
	"headgate/internal/reload"
	"headgate/ratelimit"
)

// partsTimeout is how long the parts have to end once nothing is to be waited for any more.
const partsTimeout = 5 * time.Second

// system is everything that New has made and nothing has started.
type system struct {
	cfg      config.Config
	log      *slog.Logger
	routes   atomic.Int64 // how many there are
	registry *prometheus.Registry
	bridge   *bridge.Bridge
	auth     *auth.Verifier    // nil with AUTH_MODE=none
	revoked  *auth.Revocations // nil without AUTH_REVOCATION_BUCKET
	delivery *delivery.Server
	gateway  *gateway.Server
	admin    *admin.Server
	limiter  *ratelimit.Limiter
	reloader *reload.Reloader // nil: there is no file to read again
}

// build makes the parts in the order in which they need each other.
func build(cfg config.Config, shards int, page http.Handler, log *slog.Logger) (*system, error) {
	s := &system{cfg: cfg, log: log, registry: prometheus.NewRegistry()}
	s.routes.Store(int64(len(cfg.Routes)))
	s.registry.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	var err error
	if s.bridge, err = bridge.New(cfg, log, s.registry); err != nil {
		return nil, err
	}
	s.limiter = limiter(cfg, s.registry)
	s.bridge.LimitReplays(s.limiter)
	identities, err := s.identities()
	if err != nil {
		return nil, err
	}
	s.delivery = delivery.New(delivery.Config{
		Shards: shards, Log: log, Registerer: s.registry,
		OnEnd:  func(e delivery.Ended) { s.gateway.Ended(e) }, // no client can end before there is a gateway
		OnSlow: func(gaps int) { s.bridge.Gaps().Add(gap.Slow, gaps) },
		OnRate: func(gaps int) { s.bridge.Gaps().Add(gap.Rate, gaps) },
	})
	options := gateway.Options{
		Config: cfg, Bridge: s.bridge, Delivery: s.delivery, Limiter: s.limiter, Identities: identities,
		Log: log, Registerer: s.registry, Console: page,
	}
	if s.revoked != nil {
		options.Revoked = s.revoked
	}
	if s.gateway, err = gateway.New(options); err != nil {
		return nil, err
	}
	s.operators()
	checks := []admin.Check{
		admin.RoutesLoaded(func() int { return int(s.routes.Load()) }),
		admin.NATSReached(s.natsState, cfg.ReadyNATSGrace, time.Now),
		admin.Prefilled(s.bridge.Prefilled, cfg.JetStream.PrefillTimeout, time.Now),
	}
	if s.revoked != nil {
		checks = append(checks, admin.RevocationsKnown(s.revocationsKnown))
	}
	if cfg.RoutesFile != "" {
		checks = append(checks, admin.Reloaded("reload", func() string { return s.reloader.State() }))
	}
	if s.auth != nil {
		checks = append(checks, admin.Reloaded("keys", s.auth.KeysState))
	}
	if cfg.HTTP.TLSCertFile != "" {
		checks = append(checks, admin.Reloaded("certificate", s.gateway.CertificateState))
	}
	s.admin = admin.New(admin.Options{Gatherer: s.registry, Pprof: cfg.Admin.Pprof, Log: log, Documents: s.documents(), Walk: s.walk,
		Checks: append(checks, admin.NotDraining(s.gateway.Draining))})
	return s, nil
}

// walk looks through everything that must always be so.
func (s *system) walk(ctx context.Context) ([]string, error) {
	var broken []string
	limits := func(ctx context.Context) ([]string, error) { return s.limiter.Check(ctx, s.gateway) }
	for name, check := range map[string]func(context.Context) ([]string, error){"delivery": s.delivery.Check, "gateway": s.gateway.Check,
		"bridge": s.bridge.Check, "limits": limits} {
		found, err := check(ctx)
		if err != nil {
			return broken, fmt.Errorf("%s: %w", name, err)
		}
		for _, f := range found {
			broken = append(broken, name+": "+f)
		}
	}
	slices.Sort(broken)
	return broken, nil
}

// limitsOf is what may be used of routes.
func limitsOf(routes []config.Route) map[string]ratelimit.Route {
	of := make(map[string]ratelimit.Route, len(routes))
	for _, r := range routes {
		of[r.Name] = ratelimit.Route{Streams: r.MaxStreams, StreamsPerUser: r.Limits.ConnectionsPerUser, PublishRate: r.Limits.PublishRate}
	}
	return of
}

func limiter(cfg config.Config, reg prometheus.Registerer) *ratelimit.Limiter {
	l := cfg.Limit
	return ratelimit.New(ratelimit.Config{
		Streams: l.Connections, StreamsPerAddress: l.ConnectionsPerIP, StreamsPerUser: l.ConnectionsPerUser,
		ConnectRate: l.ConnectRate, UserConnectRate: l.ConnectRatePerUser, ConnectBurst: l.ConnectBurst, GlobalConnectRate: l.GlobalConnectRate,
		PublishRate: l.PublishRate, UserPublishRate: l.PublishRatePerUser,
		Replay:     ratelimit.Replay{Events: l.ReplayEventRate, Bytes: float64(l.ReplayByteRate)},
		UserReplay: ratelimit.Replay{Events: l.ReplayEventRatePerUser, Bytes: float64(l.ReplayByteRatePerUser)},
		Addresses:  l.Addresses, Users: l.Users, Routes: limitsOf(cfg.Routes), Registerer: reg,
	})
}

func (s *system) natsState() admin.NATSState {
	h := s.bridge.Health()
	return admin.NATSState{Connected: h.Connected, EverConnected: h.EverConnected, Since: h.Since, Detail: h.Detail}
}

// dryRun builds everything and starts nothing, which finds what only the parts themselves can know to be wrong.
func dryRun(cfg config.Config) error {
	_, err := build(cfg, 1, plainPage(cfg), slog.New(slog.DiscardHandler))
	return err
}

// extra is what -dev adds to the running system.
type extra struct {
	page  func(config.Config) http.Handler
	ready func(s *system, l listeners) // everything is listening
	parts func(s *system, ps *parts)   // more parts
}

// serve runs until a signal, the end of ctx, or the failure of a part. It then drains and ends the parts in order.
func (p *program) serve(ctx context.Context, cfg config.Config, log *slog.Logger, dev *extra) int {
	shards := tune(p.environ, cfg.SSE.Shards, log)
	if dev == nil {
		dev = &extra{page: plainPage, ready: func(*system, listeners) {}, parts: func(*system, *parts) {}}
	}
	s, err := build(cfg, shards, dev.page(cfg), log)
	if err != nil {
		fmt.Fprintf(p.stderr, "headgate: %v\n", err)
		return exitUsage
	}
	s.watch(p.loader(cfg.RoutesFile, cfg.Dev), dev.page)
	l, err := p.listen(ctx, cfg)
	if err != nil {
		fmt.Fprintf(p.stderr, "headgate: %v\n", err)
		return exitFailed
	}
	ps := newParts(log)
	ps.start("admin", func(ctx context.Context) error { return s.admin.Run(ctx, l.admin) })
	ps.start("bridge", s.bridge.Run)
	if s.auth != nil {
		ps.start("auth", s.auth.Run)
	}
	ps.start("delivery", s.delivery.Run)
	ps.start("janitor", newJanitor(s.delivery.Streams, log).run)
	dev.parts(s, ps)
	ps.start("gateway", func(ctx context.Context) error { return s.gateway.Run(ctx, l.all()...) })
	if s.reloader != nil {
		ps.start("reload", s.reloader.Run) // behind the gateway, so that it ends before the drain begins
	}
	log.Info("headgate is listening", "version", versionText(), "http", l.public.Addr().String(), "more", l.moreAddrs(), "admin", l.admin.Addr().String(),
		"routes", len(cfg.Routes), "shards", shards, "pid", os.Getpid())
	dev.ready(s, l)
	return p.end(ctx, s, ps)
}

// end waits for a reason to end, and ends.
func (p *program) end(ctx context.Context, s *system, ps *parts) int {
	code := p.reason(ctx, s, ps)
	finished, hurry := make(chan struct{}), make(chan struct{})
	go p.hasten(s, finished, hurry)
	err := ps.stop(hurry)
	close(finished)
	<-hurry
	if err != nil {
		s.log.Error("stopped with something left", "error", err)
		return exitFailed
	}
	s.log.Info("stopped")
	return code
}

// reason waits for a reason to end, and says which exit code it is.
func (p *program) reason(ctx context.Context, s *system, ps *parts) int {
	for {
		select {
		case sig := <-p.signals:
			if s.reloads(sig, s.log) {
				continue
			}
			s.log.Info("draining; a second signal stops at once", "signal", sig.String(), "streams", s.delivery.Streams(), "over", s.cfg.Shutdown.Drain.String())
		case <-ctx.Done():
			s.log.Info("draining", "streams", s.delivery.Streams(), "over", s.cfg.Shutdown.Drain.String())
		case err := <-ps.failed:
			s.log.Error("a part has failed, so the process ends", "error", err)
			return exitFailed
		}
		return exitOK
	}
}

// hasten cuts the drain short at SHUTDOWN_TIMEOUT or a second signal, and closes hurry some time later, or when all is finished.
func (p *program) hasten(s *system, finished <-chan struct{}, hurry chan<- struct{}) {
	defer close(hurry)
	late := time.NewTimer(s.cfg.Shutdown.Timeout)
	defer late.Stop()
	for waiting := true; waiting; {
		select {
		case <-finished:
			return
		case sig := <-p.signals:
			if waiting = s.reloads(sig, s.log); !waiting {
				s.log.Warn("second signal: stopping at once", "streams", s.delivery.Streams())
			}
		case <-late.C:
			s.log.Warn("SHUTDOWN_TIMEOUT has passed: stopping at once", "streams", s.delivery.Streams(), "timeout", s.cfg.Shutdown.Timeout.String())
			waiting = false
		}
	}
	s.gateway.Stop()
	last := time.NewTimer(partsTimeout)
	defer last.Stop()
	select {
	case <-finished:
	case <-last.C:
	}
}
