package gateway

import (
	"context"
	"errors"
	"net"
	"net/http"
	"sync"
	"time"

	"headgate/internal/delivery"
)

// drainPoll is how often the drain looks whether the last stream has ended.
const drainPoll = 20 * time.Millisecond

// Run serves the listeners until ctx ends, then drains, and returns when nothing it started is left. It closes them. It ends at once
// after Stop, and no later than SHUTDOWN_TIMEOUT after ctx; a listener that fails ends it too.
func (s *Server) Run(ctx context.Context, lns ...net.Listener) error {
	srv, err := s.newHTTPServer()
	if err != nil {
		for _, ln := range lns {
			_ = ln.Close()
		}
		return err
	}
	var wait sync.WaitGroup
	defer wait.Wait()
	logging, endLogging := context.WithCancel(context.Background()) // outlives ctx: streams end while we drain
	defer endLogging()
	wait.Go(func() { s.endings.run(logging) })
	wait.Go(func() { s.sweep(logging) })

	served := make(chan error, len(lns))
	serve := server(srv)
	for _, ln := range lns {
		wait.Go(func() { served <- serve(ln) })
	}
	select {
	case err := <-served:
		_ = srv.Close()
		return err
	case <-s.stopped:
	case <-ctx.Done():
		s.drain()
	}
	s.cut()
	s.close(srv)
	for range lns {
		if failed := <-served; !errors.Is(failed, http.ErrServerClosed) {
			err = errors.Join(err, failed)
		}
	}
	return err
}

func everyone(uint64) bool { return true }

// drain ends all streams, spread over SHUTDOWN_DRAIN, while the listener stays open: readiness fails, and who still comes here is told
// to come back, which by then leads to another instance. Closing the listener first would answer them with a refused connection; so it
// stays open for SHUTDOWN_DELAY at least, also when no stream is left, until the load balancers have seen that readiness fails.
func (s *Server) drain() {
	s.draining.Store(true)
	over := s.cfg.Shutdown.Drain
	s.delivery.EndWhere(everyone, delivery.Draining, over)
	began := time.Now()
	ticker := time.NewTicker(drainPoll)
	defer ticker.Stop()
	for again := began.Add(over); s.drainsOn(began); {
		select {
		case <-ticker.C:
		case <-s.stopped:
			return
		}
		// Who was on the way into delivery when the spread was planned is ended now.
		if time.Now().After(again) {
			s.delivery.EndWhere(everyone, delivery.Draining, 0)
			again = time.Now().Add(time.Second)
		}
	}
}

// drainsOn says whether a drain that began then has something to wait for.
func (s *Server) drainsOn(began time.Time) bool {
	elapsed, limits := time.Since(began), s.cfg.Shutdown
	return elapsed < limits.Timeout && (s.streams.count() > 0 || elapsed < limits.Delay)
}

// cutTimeout is how long streams that are cut may take to accept $end.
const cutTimeout = 3 * time.Second

// cut ends at once what a drain has not ended, because of Stop or SHUTDOWN_TIMEOUT.
func (s *Server) cut() {
	s.draining.Store(true)
	ticker := time.NewTicker(drainPoll)
	defer ticker.Stop()
	began := time.Now()
	for again := began; s.streams.count() > 0 && time.Since(began) < cutTimeout; <-ticker.C {
		if now := time.Now(); !now.Before(again) {
			s.delivery.EndWhere(everyone, delivery.Shutdown, 0)
			again = now.Add(time.Second)
		}
	}
}

// closeTimeout is for requests that are still being answered when the streams are gone: publishes, mostly.
const closeTimeout = 5 * time.Second

// close ends the listener and gives what is left of ordinary requests a moment, unless Stop says otherwise.
func (s *Server) close(srv *http.Server) {
	select {
	case <-s.stopped:
	default:
		ctx, cancel := context.WithTimeout(context.Background(), closeTimeout)
		defer cancel()
		_ = srv.Shutdown(ctx)
	}
	_ = srv.Close()
}
