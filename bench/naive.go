//go:build linux

package main

import (
	"fmt"
	"net"
	"net/http"
	"net/http/pprof"
	"runtime/debug"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
)

// The naive server is what a Go developer writes by hand: net/http, and for each client a goroutine, a channel and a NATS
// subscription, a flush per message, a ticker for heartbeats. Its role "hub" is the other thing people write: one
// subscription per subject and a map of channels to fan out to.
const (
	naiveChannel   = 64
	naiveHeartbeat = 15 * time.Second
)

// follow makes messages of a subject arrive in a channel until stop is called.
type follow func(subject string) (messages <-chan *nats.Msg, stop func(), err error)

func runNaive(spec roleSpec, ready chan<- roleReady) error {
	nc, err := nats.Connect(spec.NATS, nats.MaxReconnects(-1))
	if err != nil {
		return fmt.Errorf("naive: %w", err)
	}
	follow := subscribeEach(nc)
	if spec.Role == "hub" {
		follow = newHub(nc).follow
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /shared", func(w http.ResponseWriter, r *http.Request) { naiveStream(w, r, follow, subjectOf(shared)) })
	mux.HandleFunc("GET /own/{id}", func(w http.ResponseWriter, r *http.Request) { naiveStream(w, r, follow, "own."+r.PathValue("id")) })
	mux.HandleFunc("GET /debug/free", func(http.ResponseWriter, *http.Request) { debug.FreeOSMemory() })
	mux.HandleFunc("GET /debug/pprof/heap", pprof.Handler("heap").ServeHTTP)
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return fmt.Errorf("naive: %w", err)
	}
	ready <- roleReady{Addr: ln.Addr().String()}
	if spec.CertFile != "" {
		return http.ServeTLS(ln, mux, spec.CertFile, spec.KeyFile)
	}
	return http.Serve(ln, mux)
}

func naiveStream(w http.ResponseWriter, r *http.Request, follow follow, subject string) {
	flusher, ok := w.(http.Flusher)
	if !ok {
		http.Error(w, "streaming unsupported", http.StatusInternalServerError)
		return
	}
	messages, stop, err := follow(subject)
	if err != nil {
		http.Error(w, "subscribe failed", http.StatusServiceUnavailable)
		return
	}
	defer stop()
	w.Header().Set("Content-Type", "text/event-stream")
	w.Header().Set("Cache-Control", "no-cache")
	w.WriteHeader(http.StatusOK)
	flusher.Flush()
	heartbeat := time.NewTicker(naiveHeartbeat)
	defer heartbeat.Stop()
	for {
		select {
		case <-r.Context().Done():
			return
		case <-heartbeat.C:
			_, err = fmt.Fprint(w, ":\n\n")
		case m := <-messages:
			_, err = fmt.Fprintf(w, "data: %s\n\n", m.Data)
		}
		if err != nil {
			return
		}
		flusher.Flush()
	}
}

func subscribeEach(nc *nats.Conn) follow {
	return func(subject string) (<-chan *nats.Msg, func(), error) {
		messages := make(chan *nats.Msg, naiveChannel)
		sub, err := nc.ChanSubscribe(subject, messages)
		if err != nil {
			return nil, nil, err
		}
		return messages, func() { _ = sub.Unsubscribe() }, nil
	}
}

// hub fans out in the process.
type hub struct {
	nc *nats.Conn

	mu       sync.Mutex
	audience map[string]map[chan *nats.Msg]struct{}
	subs     map[string]*nats.Subscription
}

func newHub(nc *nats.Conn) *hub {
	return &hub{nc: nc, audience: map[string]map[chan *nats.Msg]struct{}{}, subs: map[string]*nats.Subscription{}}
}

func (h *hub) follow(subject string) (<-chan *nats.Msg, func(), error) {
	messages := make(chan *nats.Msg, naiveChannel)
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.subs[subject] == nil {
		sub, err := h.nc.Subscribe(subject, func(m *nats.Msg) { h.broadcast(subject, m) })
		if err != nil {
			return nil, nil, err
		}
		h.subs[subject] = sub
		h.audience[subject] = map[chan *nats.Msg]struct{}{}
	}
	h.audience[subject][messages] = struct{}{}
	return messages, func() { h.leave(subject, messages) }, nil
}

func (h *hub) leave(subject string, messages chan *nats.Msg) {
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.audience[subject], messages)
	if len(h.audience[subject]) == 0 && h.subs[subject] != nil {
		_ = h.subs[subject].Unsubscribe()
		delete(h.subs, subject)
	}
}

// broadcast drops a message for clients whose channel is full, as hubs do.
func (h *hub) broadcast(subject string, m *nats.Msg) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for c := range h.audience[subject] {
		select {
		case c <- m:
		default:
		}
	}
}
