package gateway

import (
	"context"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"headgate/internal/delivery"
)

// waiting knows the connections on which no request is under way, the one that has waited longest first: those that have sent nothing yet,
// or half a request, those in the middle of a TLS handshake, those that are kept alive. Each of them costs a descriptor, a goroutine and
// buffers, for as long as HTTP_HEADER_TIMEOUT or HTTP_IDLE_TIMEOUT. When there are too many, the oldest is closed: a client that means it
// sends its request at once, so whoever fills the room with connections that say nothing displaces his own. One that has waited for less than
// waitingAge is left alone: in a storm of reconnects it is we who have not read its request yet, and to close it would make another.
type waiting struct {
	most   int           // 0: no limit
	age    time.Duration // waitingAge
	closed prometheus.Counter

	mu    sync.Mutex
	first connection // guarded by mu; the ring's fixed point: its next is the oldest
	count int        // guarded by mu
}

// waitingAge is how long a connection waits at least before it is closed because there are too many.
var waitingAge = time.Second

// connection is what is known of a connection before it is a stream.
type connection struct {
	conn       net.Conn  // below TLS: to close it sends no alert, which could wait
	plain      bool      // it can be handed over
	since      time.Time // it waits
	prev, next *connection
}

func newWaiting(most int, reg prometheus.Registerer) (*waiting, error) {
	w := &waiting{most: most, age: waitingAge}
	w.first.prev, w.first.next = &w.first, &w.first
	w.closed = prometheus.NewCounter(prometheus.CounterOpts{Name: "headgate_waiting_connections_closed_total",
		Help: "Connections without a request that were closed because there were more than LIMIT_WAITING_CONNECTIONS."})
	now := prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "headgate_waiting_connections",
		Help: "Connections on which no request is under way."}, func() float64 { return float64(w.len()) })
	if reg == nil {
		return w, nil
	}
	if err := reg.Register(w.closed); err != nil {
		return nil, err
	}
	return w, reg.Register(now)
}

func (w *waiting) len() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.count
}

// enter notes that a connection waits, and closes the oldest where that is one too many, or two, if there have been too many young ones.
func (w *waiting) enter(c *connection) {
	now := time.Now()
	w.mu.Lock()
	if c.next == nil {
		c.since = now
		last := w.first.prev
		c.prev, c.next = last, &w.first
		last.next, w.first.prev = c, c
		w.count++
	}
	first, second := w.takeOldest(now), w.takeOldest(now)
	w.mu.Unlock()
	for _, oldest := range []*connection{first, second} {
		if oldest != nil {
			_ = oldest.conn.Close()
			w.closed.Inc()
		}
	}
}

// takeOldest takes out the one that has waited longest, if there are too many. The caller holds mu.
func (w *waiting) takeOldest(now time.Time) *connection {
	oldest := w.first.next
	if w.most <= 0 || w.count <= w.most || now.Sub(oldest.since) < w.age {
		return nil
	}
	w.remove(oldest)
	return oldest
}

// leave notes that a request is under way on it, or that it is no more.
func (w *waiting) leave(c *connection) {
	w.mu.Lock()
	w.remove(c)
	w.mu.Unlock()
}

// remove takes it out if it is in. The caller holds mu.
func (w *waiting) remove(c *connection) {
	if c.next == nil {
		return
	}
	c.prev.next, c.next.prev = c.next, c.prev
	c.prev, c.next = nil, nil
	w.count--
}

type connectionKey struct{}

// connContext begins a connection: net/http calls it when it has accepted one.
func (s *Server) connContext(ctx context.Context, conn net.Conn) context.Context {
	c := &connection{conn: conn, plain: delivery.CanHandover(conn)}
	if secured, ok := conn.(interface{ NetConn() net.Conn }); ok {
		c.conn = secured.NetConn() // of a tls.Conn
	}
	delivery.Tune(c.conn)
	s.conns.Store(conn, c)
	s.waiting.enter(c)
	return context.WithValue(ctx, connectionKey{}, c)
}

// connState follows it. That a byte has come (StateActive) says nothing: the rest of the request may never come.
func (s *Server) connState(conn net.Conn, state http.ConnState) {
	switch state {
	case http.StateIdle:
		if c, ok := s.conns.Load(conn); ok {
			s.waiting.enter(c.(*connection))
		}
	case http.StateClosed, http.StateHijacked:
		if c, ok := s.conns.LoadAndDelete(conn); ok {
			s.waiting.leave(c.(*connection))
		}
	}
}

// arrived notes that the whole head of a request is there.
func (s *Server) arrived(ctx context.Context) {
	if c, ok := ctx.Value(connectionKey{}).(*connection); ok {
		s.waiting.leave(c)
	}
}

// plainConn says whether the connection of a request can be handed over.
func plainConn(ctx context.Context) bool {
	c, ok := ctx.Value(connectionKey{}).(*connection)
	return ok && c.plain
}
