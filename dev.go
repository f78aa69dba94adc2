package main

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"strings"

	"headgate/internal/config"
	"headgate/internal/devnats"
)

// serveDev is -dev: everything on one machine. NATS is embedded unless NATS_URL names one, the demo routes are served and the demo
// publishes unless the operator has routes of his own.
func (p *program) serveDev(ctx context.Context, cfg config.Config, log *slog.Logger) int {
	own := given(p.environ, "NATS_URL")
	var values bucket
	if !own {
		nats, err := devnats.Start(devnats.Options{NextFree: true, JetStream: true})
		if err != nil {
			fmt.Fprintf(p.stderr, "headgate: %v\n", err)
			return exitUsage
		}
		defer nats.Shutdown()
		cfg.NATS.URL = nats.URL()
		if demonstrates(cfg) {
			store, err := provide(ctx, nats)
			if err != nil {
				fmt.Fprintf(p.stderr, "headgate: %v\n", err)
				return exitFailed
			}
			defer store.Close()
			values = store
		}
	} else if demonstrates(cfg) {
		log.Info("NATS_URL is yours, so the demo makes no streams in it: the routes orders, flags and job work where they exist",
			"streams", demoOrders+", "+demoJobs, "bucket", demoFlags)
	}
	natsURL := first(cfg.NATS.URL)
	return p.serve(ctx, cfg, log, &extra{
		page: func(cfg config.Config) http.Handler { return page(cfg, natsURL, p.name) },
		parts: func(s *system, ps *parts) {
			if demonstrates(cfg) {
				ps.start("demo", newDemo(s.bridge, values, s.delivery.Streams, log).run)
			}
		},
		ready: func(_ *system, l listeners) {
			banner{w: p.stdout, name: p.name, cfg: cfg, natsURL: natsURL, embedded: !own, l: l}.print()
		},
	})
}

// demonstrates says whether the demo plays the services behind the routes: only behind those that come with it.
func demonstrates(cfg config.Config) bool { return cfg.RoutesFile == "" && len(cfg.SubjectsAllow) == 0 }

// first is the first of a comma list of servers, without user and password: this one is shown.
func first(urls string) string {
	text, _, _ := strings.Cut(urls, ",")
	u, err := url.Parse(strings.TrimSpace(text))
	if err != nil {
		return ""
	}
	u.User = nil
	return u.String()
}
