// Package admin is the operator's listener: probes for Kubernetes, metrics for Prometheus, profiles when asked for. Nothing of
// it is ever reachable through the public listener.
package admin

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/pprof"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

const (
	headerTimeout = 5 * time.Second
	idleTimeout   = 2 * time.Minute
	// stopTimeout is how long a scrape under way may take once Run has been told to end.
	stopTimeout = 2 * time.Second
	// scrapesAtOnce bounds what a misconfigured fleet of scrapers can cost.
	scrapesAtOnce = 4
	// maxHeader is plenty for a probe and a scraper.
	maxHeader = 16 << 10
)

// Options is what the listener shows.
type Options struct {
	Gatherer prometheus.Gatherer // what /metrics shows
	Checks   []Check             // what /readyz asks, in this order
	Pprof    bool                // serve /debug/pprof
	Walk     Walk                // what /debug/consistency does; nil: it is not there
	Log      *slog.Logger

	Documents []Document // descriptions for people and their tools
}

// Document is a JSON text under a path of its own.
type Document struct {
	Path string
	Text func() []byte // asked for at every request
}

// Server answers the admin requests.
type Server struct {
	log     *slog.Logger
	handler http.Handler
}

// New prepares the server. It starts nothing.
func New(o Options) *Server {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /livez", live)
	mux.Handle("GET /readyz", readiness(o.Checks))
	mux.Handle("GET /metrics", promhttp.HandlerFor(o.Gatherer, promhttp.HandlerOpts{
		MaxRequestsInFlight: scrapesAtOnce,
		ErrorLog:            slog.NewLogLogger(o.Log.Handler(), slog.LevelWarn),
	}))
	for _, d := range o.Documents {
		mux.HandleFunc("GET "+d.Path, d.serve)
	}
	if o.Walk != nil {
		mux.Handle("GET /debug/consistency", consistency(o.Walk))
	}
	if o.Pprof {
		mux.HandleFunc("GET /debug/pprof/", pprof.Index)
		mux.HandleFunc("GET /debug/pprof/cmdline", pprof.Cmdline)
		mux.HandleFunc("GET /debug/pprof/profile", pprof.Profile)
		mux.HandleFunc("GET /debug/pprof/symbol", pprof.Symbol)
		mux.HandleFunc("GET /debug/pprof/trace", pprof.Trace)
	}
	return &Server{log: o.Log, handler: mux}
}

// Handler is the server without its listener, for tests.
func (s *Server) Handler() http.Handler { return s.handler }

// Run serves ln until ctx ends, then lets requests under way finish for a moment. It closes ln and returns when everything it
// started is gone; the error is nil when ctx was the reason.
func (s *Server) Run(ctx context.Context, ln net.Listener) error {
	srv := &http.Server{
		Handler:           s.handler,
		ReadHeaderTimeout: headerTimeout,
		IdleTimeout:       idleTimeout,
		MaxHeaderBytes:    maxHeader,
		ErrorLog:          slog.NewLogLogger(s.log.Handler(), slog.LevelDebug),
	}
	closed := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(closed)
		// ctx has ended, so the grace needs a context of its own.
		grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopTimeout)
		defer cancel()
		if srv.Shutdown(grace) != nil {
			_ = srv.Close() // a profile of 30 s does not hold up the end of the process
		}
	})
	err := srv.Serve(ln)
	if stop() {
		_ = srv.Close()
		return fmt.Errorf("admin listener %s: %w", ln.Addr(), err)
	}
	<-closed
	if errors.Is(err, http.ErrServerClosed) {
		return nil
	}
	return fmt.Errorf("admin listener %s: %w", ln.Addr(), err)
}

// live says that the process answers, and nothing else: a liveness probe that looked at NATS would turn a short outage of NATS
// into a restart of every replica, and that into a reconnect storm.
func live(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Header().Set("Cache-Control", "no-store") // RFC 9111 section 5.2.2.5
	_, _ = w.Write([]byte("ok\n"))
}

func (d Document) serve(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "application/json") // RFC 8259, section 11
	w.Header().Set("Cache-Control", "no-cache")        // RFC 9111, section 5.2.2.4: it changes with the version and the routes
	_, _ = w.Write(d.Text())
}
