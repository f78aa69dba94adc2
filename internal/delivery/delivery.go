// Package delivery carries events to clients. It takes frames and positions and knows nothing of NATS, routes or identities.
//
// Clients belong to shards. A shard is one goroutine that alone touches the sockets of its clients: on Linux it owns the descriptor
// of every plain HTTP/1.1 stream, and a quiet client is 88 bytes in a table without pointers. Clients with the same sources and
// format form a group, whose log is encoded once; a delivery is one non-blocking send of bytes that all clients share.
package delivery

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Config is how a Server is made.
type Config struct {
	Shards     int                   // delivery loops; 0 = one less than GOMAXPROCS, at least one
	Now        func() time.Time      // nil = time.Now
	OnEnd      func(Ended)           // called by a shard for every client that ended: must not block; nil = nobody asks
	OnSlow     func(gaps int)        // called by a shard when a slow client is about to be sent so many $gap: must not block; nil = nobody asks
	OnRate     func(gaps int)        // the same of a client that is over its rate
	Log        *slog.Logger          // nil = none
	Registerer prometheus.Registerer // nil = no metrics
}

// Server is the delivery side of one process.
type Server struct {
	// fixed after New
	cfg     Config
	start   time.Time
	shards  []*shard
	metrics *metrics

	// atomic
	streams  atomic.Int64
	held     atomic.Int64 // bytes that were read for clients and that their sockets have not taken
	heldMost atomic.Int64 // see held.go; only tests change it
	next     atomic.Uint32
}

// New makes a Server. It starts nothing; clients may be handed over before Run and wait for it.
func New(cfg Config) *Server {
	if cfg.Shards <= 0 {
		cfg.Shards = max(1, runtime.GOMAXPROCS(0)-1)
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.OnEnd == nil {
		cfg.OnEnd = func(Ended) {}
	}
	if cfg.OnSlow == nil {
		cfg.OnSlow = func(int) {}
	}
	if cfg.OnRate == nil {
		cfg.OnRate = func(int) {}
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	s := &Server{cfg: cfg, start: cfg.Now()}
	s.heldMost.Store(heldBytes)
	s.metrics = newMetrics(cfg.Registerer, func() float64 { return float64(s.Streams()) }, func() float64 { return s.slowest().Seconds() },
		func() float64 { return float64(s.held.Load()) })
	for range cfg.Shards {
		s.shards = append(s.shards, newShard(s))
	}
	return s
}

// Run serves until ctx ends, then ends every client with Shutdown and returns when they are gone.
func (s *Server) Run(ctx context.Context) error {
	for n, sh := range s.shards {
		if err := sh.poll.open(); err != nil {
			for _, opened := range s.shards[:n] {
				opened.poll.close()
			}
			return fmt.Errorf("%w (is the limit of open files too low?)", err)
		}
	}
	var running sync.WaitGroup
	for _, sh := range s.shards {
		running.Go(sh.run)
	}
	<-ctx.Done()
	for _, sh := range s.shards {
		_ = sh.mail.put(op{kind: opStop})
	}
	running.Wait()
	return nil
}

func (s *Server) pick() *shard { return s.shards[s.next.Add(1)%uint32(len(s.shards))] }

// Handover takes the connection of a plain HTTP/1.1 stream: its socket belongs to a shard from then on, which writes c.Head and
// everything after it. On an error the connection is still the caller's, c.Source is open, and Config.OnEnd is not called.
func (s *Server) Handover(conn net.Conn, c Client) error {
	fd, err := takeSocket(conn)
	if err != nil {
		return fmt.Errorf("delivery: take over a connection: %w", err)
	}
	if err := s.pick().mail.put(op{kind: opJoin, arg: &joining{client: c, fd: fd}}); err != nil {
		closeHard(fd, false)
		return err
	}
	// Closes Go's descriptor and leaves its network poller; the socket lives on in ours.
	_ = conn.Close()
	return nil
}

// ending asks the shards to end clients.
type ending struct {
	match  func(tag uint64) bool
	reason Reason
	over   time.Duration
}

// EndWhere ends the clients whose tag matches, spread at random over a time. match is called by the shards, and must be quick and
// safe for concurrent use.
func (s *Server) EndWhere(match func(tag uint64) bool, r Reason, over time.Duration) {
	for _, sh := range s.shards {
		_ = sh.mail.put(op{kind: opEnd, arg: &ending{match, r, over}})
	}
}

// Streams is how many clients there are.
func (s *Server) Streams() int { return int(s.streams.Load()) }
