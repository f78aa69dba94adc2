package main

import (
	"context"
	"log/slog"
	"net/http"
	"os"
	"syscall"
	"time"

	"headgate/gateway"
	"headgate/internal/config"
	"headgate/internal/reload"
)

// keepTimeout is for the feeds that no route needs any more to end.
const keepTimeout = 5 * time.Second

// reloading makes a running system take other routes.
type reloading struct {
	*system
	load func(content []byte) (config.Config, []config.Warning, error)
	page func(config.Config) http.Handler
	cfg  config.Config // what is in use
	// leaving are the issuers of streams that an earlier reload has given time to end, by ground. Should one go meanwhile, so do they.
	leaving map[uint32]string
}

// watch makes the system read its routes file again, if it has one. It must be called before anything runs.
func (s *system) watch(load func([]byte) (config.Config, []config.Warning, error), page func(config.Config) http.Handler) {
	if s.cfg.RoutesFile == "" {
		return
	}
	r := &reloading{system: s, load: load, page: page, cfg: s.cfg}
	s.reloader = reload.New(reload.Config{File: s.cfg.RoutesFile, Hash: reload.Hash(s.cfg.RoutesText), Every: s.cfg.RoutesReload, Take: r.take,
		Settle: r.settle, Log: s.log, Registerer: s.registry})
}

// take makes the routes of a file take effect, all of them or none. It does what -check does, makes sure that what they read is in
// memory, and only then lets them have requests. Settings of the process are those of its start, whatever the file is checked against.
func (r *reloading) take(ctx context.Context, content []byte) error {
	cfg, warnings, err := r.load(content)
	if err != nil {
		return err
	}
	if err := dryRun(cfg); err != nil {
		return err
	}
	callers, err := r.callers(ctx, cfg.Auth)
	if err != nil {
		return err
	}
	late, err := r.prepare(ctx, cfg)
	if err != nil {
		return err
	}
	r.limiter.SetRoutes(limitsOf(cfg.Routes))
	change, err := r.gateway.Reload(gateway.Next{Routes: cfg.Routes, Console: r.page(cfg), Identities: callers.identities(), Outdated: callers.outdated})
	if err != nil {
		r.limiter.SetRoutes(limitsOf(r.cfg.Routes))
		return err
	}
	r.cfg = cfg
	r.use(callers)
	r.routes.Store(int64(len(cfg.Routes)))
	for _, w := range warnings {
		r.log.Warn(w.Text, "where", w.Where)
	}
	if len(late) > 0 {
		r.log.Warn("routes were taken before their streams could be read: they answer when NATS does", "streams", late,
			"waited", cfg.JetStream.PrefillTimeout.String())
	}
	r.log.Info("the routes have been read again", "routes", len(cfg.Routes), "added", orNone(change.Added), "changed", orNone(change.Changed),
		"removed", orNone(change.Removed), "ending", change.Streams, "revoked", change.Revoked, "over", cfg.RoutesSpread.String(), "hash", reload.Hash(content)[:12])
	return nil
}

// orNone is a list that the log shows as [], where nil would be null.
func orNone(names []string) []string {
	if names == nil {
		return []string{}
	}
	return names
}

// prepare waits for what the routes read, as readiness does at the start.
func (r *reloading) prepare(ctx context.Context, cfg config.Config) (late []string, err error) {
	limited, cancel := context.WithTimeout(ctx, cfg.JetStream.PrefillTimeout)
	defer cancel()
	late, err = r.bridge.Prepare(limited, cfg.Routes)
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	return late, err
}

// settle clears up behind a reload: streams of routes that are gone, then what only they have read.
func (r *reloading) settle(ctx context.Context) bool {
	if !r.gateway.Settle() {
		return false
	}
	r.leaving = nil
	ctx, cancel := context.WithTimeout(ctx, keepTimeout)
	defer cancel()
	done, err := r.bridge.Keep(ctx, r.cfg.Routes)
	if err != nil {
		r.log.Warn("what no route needs any more is still read; headgate tries again", "error", err)
	}
	return done && err == nil
}

// loader reads the configuration with another content of the routes file. Everything else is as it was at the start, but for files that the
// environment names.
func (p *program) loader(file string, dev bool) func([]byte) (config.Config, []config.Warning, error) {
	return func(content []byte) (config.Config, []config.Warning, error) {
		return p.loadWith(dev, func(name string) ([]byte, error) {
			if name == file {
				return content, nil
			}
			return os.ReadFile(name)
		})
	}
}

// reloads says whether a signal asks for the routes file to be read again, and passes that on. With -dev, and without such a file, SIGHUP
// means what it means to every program in a terminal that is closed.
func (s *system) reloads(sig os.Signal, log *slog.Logger) bool {
	if sig != syscall.SIGHUP || s.reloader == nil || s.cfg.Dev {
		return false
	}
	log.Info("SIGHUP: looking at the routes file", "file", s.cfg.RoutesFile)
	s.reloader.Ask()
	return true
}
