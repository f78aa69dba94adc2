// Package gateway is everything HTTP: it takes a request from the public listener, decides whether and what it may read, and hands the
// stream over to delivery or the message to NATS. It knows no sockets beyond the hand-over and no NATS at all. What clients see of it
// is docs/protocol.md.
package gateway

import (
	"context"
	"crypto/rand"
	"encoding/base32"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/time/rate"

	"headgate/auth"
	"headgate/internal/config"
	"headgate/internal/delivery"
	"headgate/internal/flow"
	"headgate/ratelimit"
)

// Bridge opens sources and publishes. Open returns when NATS has confirmed the interest, or fails with one of the flow.Err values.
type Bridge interface {
	Open(ctx context.Context, req flow.Request) (flow.Opened, error)
	Publish(ctx context.Context, subject string, header map[string][]string, body []byte) (flow.Ack, error)
}

// Delivery takes streams. Every client it has taken comes back once through Server.Ended.
type Delivery interface {
	Handover(conn net.Conn, c delivery.Client) error
	Serve(gone <-chan struct{}, w delivery.Writer, c *delivery.Client) delivery.Reason
	EndWhere(match func(tag uint64) bool, r delivery.Reason, over time.Duration)
}

// Limiter says how much may be used.
type Limiter interface {
	StreamLimiter
	PublishLimiter
}

// StreamLimiter admits streams in two steps. Every Connect that answered true is followed by one Release, which says whether there was an
// Admit that answered true in between. A request that begins again has paid for the rates.
type StreamLimiter interface {
	Connect(addr netip.Addr, paid bool) (ratelimit.Refusal, bool)
	Admit(user ratelimit.User, route string, paid bool) (ratelimit.Counted, ratelimit.Refusal, bool)
	Release(ratelimit.Admission)
}

// PublishLimiter admits publishes in two steps.
type PublishLimiter interface {
	Publish(addr netip.Addr) (ratelimit.Refusal, bool)
	PublishAs(user ratelimit.User, route string) (ratelimit.Refusal, bool)
}

// Revocations say whose identity has been withdrawn. Changed is ready when there may be more of them.
type Revocations interface {
	FindAll(list []auth.Marks, verdicts []auth.Verdict)
	Connections(prefix string) []string
	Changed() <-chan struct{}
}

// Options is what New needs. Bridge, Delivery and Limiter must be there; the rest has a default.
type Options struct {
	Config     config.Config
	Bridge     Bridge
	Delivery   Delivery
	Limiter    Limiter
	Identities Identities            // needed with AUTH_MODE=jwt, and only then
	Revoked    Revocations           // nil: nobody can be revoked
	Log        *slog.Logger          // nil: none
	Registerer prometheus.Registerer // nil: metrics are kept and shown nowhere
	Console    http.Handler          // nil: no page. It gets paths that begin with /console/
	Now        func() time.Time      // nil: time.Now
}

// Server is the public side of a process.
type Server struct {
	// Fixed after New.
	cfg      config.Config
	bridge   Bridge
	delivery Delivery
	limiter  Limiter
	log      *slog.Logger
	revoked  Revocations // nil: nobody can be revoked
	now      func() time.Time
	proxies  []netip.Prefix
	metrics  *metrics
	instance string // begins every connection id of this process

	// Safe for everyone.
	lives      lives
	streams    streams
	conns      sync.Map // net.Conn -> *connection, until it is a stream or closed
	waiting    *waiting
	condemned  condemned
	endings    *endlog
	nowAndThen [kinds]rate.Sometimes // by what is refused: warnings that would otherwise come with every request

	// Owned by whoever calls Reload and Settle.
	retired  []retired
	outdated map[uint32]outdated // by ground
	lived    uint64              // lives that there have been

	// Atomic.
	current   atomic.Pointer[table]
	cert      atomic.Pointer[certificate] // nil without TLS, and before Run
	draining  atomic.Bool
	requests  atomic.Uint64 // number of the last request
	forwarded atomic.Bool   // the warning about X-Forwarded-For has been given

	stopOnce sync.Once
	stopped  chan struct{} // closed by Stop
}

// New compiles the routes. It does no I/O and starts nothing. Its error names every route at fault.
func New(o Options) (*Server, error) {
	if o.Bridge == nil || o.Delivery == nil || o.Limiter == nil {
		return nil, errors.New("gateway: Bridge, Delivery and Limiter are needed")
	}
	if (o.Config.Auth.Mode == "jwt") != (o.Identities != nil) {
		return nil, errIdentities
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	s := &Server{
		cfg: o.Config, bridge: o.Bridge, delivery: o.Delivery, limiter: o.Limiter, revoked: o.Revoked, log: o.Log, now: o.Now,
		proxies: o.Config.HTTP.Prefixes(), instance: newInstance(), endings: newEndlog(o.Log), stopped: make(chan struct{}),
		outdated: map[uint32]outdated{},
	}
	for k := range s.nowAndThen {
		s.nowAndThen[k].First, s.nowAndThen[k].Interval = 1, 10*time.Second
	}
	s.streams.init(o.Identities != nil && (o.Revoked != nil || o.Config.Control), o.Config.Control)
	s.condemned.init()
	first, err := s.newTable(Next{Routes: o.Config.Routes, Console: o.Console, Identities: o.Identities})
	if err != nil {
		return nil, err
	}
	if s.metrics, err = newMetrics(o.Registerer); err != nil {
		return nil, err
	}
	s.install(first)
	s.waiting, err = newWaiting(o.Config.Limit.WaitingConnections, o.Registerer)
	return s, err
}

var errIdentities = errors.New("gateway: with AUTH_MODE=jwt, and only with it, Identities are needed")

// newInstance is a short random name for this process, so that connection ids of replicas differ.
func newInstance() string {
	var b [5]byte
	_, _ = rand.Read(b[:]) // never fails: see crypto/rand
	return strings.ToLower(base32.HexEncoding.EncodeToString(b[:]))[:6]
}

// requestID names the request, and later the stream, with this number.
func (s *Server) requestID(number uint64) string {
	return s.instance + "-" + strconv.FormatUint(number, 36)
}

// Instance is the name of this process. The ids of its connections begin with it.
func (s *Server) Instance() string { return s.instance }

// Draining says whether the process is going away: /readyz fails, and new streams are turned away.
func (s *Server) Draining() bool { return s.draining.Load() }

// Stop ends Run at once, also in the middle of a drain. It does not wait.
func (s *Server) Stop() { s.stopOnce.Do(func() { close(s.stopped) }) }

// Handler serves requests as Run does, without a listener. Without a connection that Run has accepted no stream is handed over;
// all of them stay with their handler.
func (s *Server) Handler() http.Handler { return http.HandlerFunc(s.ServeHTTP) }

// Ended settles a stream that delivery has ended. It never blocks; the log line is written by another goroutine.
func (s *Server) Ended(e delivery.Ended) {
	st, ok := s.streams.give(e.Tag)
	if !ok {
		return
	}
	rt := s.lives.at(st.route)
	s.limiter.Release(st.admission(rt.name))
	rt.open.Dec()
	s.metrics.ended(e)
	s.endings.put(ending{stream: st, ended: e, route: rt.name, id: s.requestID(st.number)})
}
