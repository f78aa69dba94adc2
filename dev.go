package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
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
	if !own {
		nats, err := devnats.Start(devnats.Options{NextFree: true, JetStream: true})
		if err != nil {
			fmt.Fprintf(p.stderr, "headgate: %v\n", err)
			return exitUsage
		}
		defer nats.Shutdown()
		cfg.NATS.URL = nats.URL()
	}
	natsURL := first(cfg.NATS.URL)
	return p.serve(ctx, cfg, log, &extra{
		page: page(cfg, natsURL),
		parts: func(s *system, ps *parts) {
			if demonstrates(cfg) {
				ps.start("demo", newDemo(s.bridge, s.delivery.Streams, log).run)
			}
		},
		ready: func(_ *system, l listeners) {
			banner{w: p.stdout, cfg: cfg, natsURL: natsURL, embedded: !own, l: l}.print()
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

// banner tells where everything is, with lines to paste.
type banner struct {
	w        io.Writer
	cfg      config.Config
	natsURL  string
	embedded bool
	l        listeners
}

func (b banner) print() {
	scheme := "http"
	if b.cfg.HTTP.TLSCertFile != "" {
		scheme = "https"
	}
	base := scheme + "://" + reachable(b.l.public.Addr())
	var out strings.Builder
	line := func(label, text string) { fmt.Fprintf(&out, "  %-9s %s\n", label, text) }
	out.WriteString("\n  headgate -dev   INSECURE: whoever reaches this machine may read and publish. Never expose it.\n\n")
	if b.cfg.Console {
		line("Console", base+fullPath(b.cfg.HTTP.BasePath, "/console/"))
	}
	for _, r := range b.cfg.Routes {
		if len(r.Sources) > 0 {
			line("Stream", fmt.Sprintf("curl -N '%s'", base+b.target(r)))
			break
		}
	}
	for _, r := range b.cfg.Routes {
		if r.Publish != nil {
			line("Publish", fmt.Sprintf(`curl -d '{"text":"Hello"}' '%s'`, base+b.target(r)))
			break
		}
	}
	if subject := b.subject(); subject != "" {
		line("", fmt.Sprintf(`nats -s %s pub '%s' '{"text":"Hello"}'`, b.natsURL, subject))
	}
	line("Admin", "http://"+reachable(b.l.admin.Addr())+"/readyz, /livez and /metrics")
	where := "yours"
	if b.embedded {
		where = "embedded, with JetStream; what it stores goes when it ends"
	}
	line("NATS", b.natsURL+" ("+where+")")
	out.WriteString("\n")
	for i, r := range b.cfg.Routes {
		line([]string{"Routes", ""}[min(i, 1)], fmt.Sprintf("%-14s %-9s %s", r.Name, methods(r), fullPath(b.cfg.HTTP.BasePath, r.Path)))
	}
	if demonstrates(b.cfg) {
		out.WriteString("\n")
		line("Demo", "publishes to demo.> on that NATS, a few messages a second")
	}
	out.WriteString("\n  Ctrl-C drains and ends, a second one ends at once.\n\n")
	_, _ = io.WriteString(b.w, out.String())
}

func methods(r config.Route) string {
	switch {
	case r.Publish == nil:
		return http.MethodGet
	case len(r.Sources) == 0:
		return http.MethodPost
	}
	return http.MethodGet + " " + http.MethodPost
}

// target is the route's path with examples in it, and a subject where the client names them.
func (b banner) target(r config.Route) string {
	path := fill(fullPath(b.cfg.HTTP.BasePath, r.Path), r)
	for _, s := range r.Sources {
		if len(s.Allow) > 0 {
			return path + "?subject=" + s.Allow[0]
		}
	}
	return path
}

// subject is what the first stream follows, for a message to appear on it.
func (b banner) subject() string {
	for _, r := range b.cfg.Routes {
		for _, s := range r.Sources {
			if s.Subject != "" {
				return strings.NewReplacer("*", "demo", ">", "demo").Replace(fill(s.Subject, r))
			}
		}
	}
	return ""
}

// fill puts examples into the placeholders of a path or a subject.
func fill(template string, r config.Route) string {
	return placeholder.ReplaceAllStringFunc(template, func(p string) string {
		name := p[1 : len(p)-1]
		if value := example(name, r.Params[name]); value != "" {
			return value
		}
		return p
	})
}

// reachable is the address with a host that a browser on this machine can use.
func reachable(addr net.Addr) string {
	tcp, ok := addr.(*net.TCPAddr)
	if ok && tcp.IP.IsUnspecified() {
		return fmt.Sprintf("localhost:%d", tcp.Port)
	}
	return addr.String()
}
