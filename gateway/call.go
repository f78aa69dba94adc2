package gateway

import (
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"runtime/debug"
	"strconv"
	"time"
)

// call is one request on its way through the pipeline.
type call struct {
	w      http.ResponseWriter
	r      *http.Request
	began  time.Time
	number uint64
	addr   netip.Addr

	route    *route   // nil until one is found
	named    bool     // Accept names text/event-stream
	kept     *kept    // of a run that a reload has overtaken
	raw      net.Conn // the connection, after it was taken from net/http and before delivery has it
	answered bool     // a status line has been written, or is about to be
	outcome  string   // for the metrics
	counted  bool     // they have it
}

func (c *call) routeName() string {
	if c.route == nil {
		return noRoute
	}
	return c.route.name
}

// closeAfter makes the connection end with the answer (RFC 9112, section 9.6). HTTP/2 has no such field (RFC 9113, section 8.2.2),
// and net/http would end the whole connection with its other streams.
func (c *call) closeAfter() {
	if c.r.ProtoMajor == 1 {
		c.w.Header().Set("Connection", "close")
	}
}

// ServeHTTP takes every request of the public listener.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.arrived(r.Context())
	s.begin(w.Header())
	switch {
	case s.cfg.Dev && !localHost(r.Host):
		s.run(w, r, func(c *call) error {
			originHeaders(c.w, c.r, nil)
			return &refusal{kind: hostNotAllowed}
		})
	case !canonical(r.URL) || r.Method == http.MethodConnect:
		s.run(w, r, func(c *call) error { return s.dispatch(c, &endpoint{}) })
	default:
		l := &later{ResponseWriter: w}
		s.pipeline(l, r)
		for l.kept.again() {
			clear(w.Header()) // what the route of then has said of origins holds no more
			s.begin(w.Header())
			s.pipeline(l, r)
		}
		if l.do != nil {
			l.kept = kept{} // else the stream kept the routes that it began with, and whoever identified callers then, for as long as it lasts
			s.carry(l.do)
		}
	}
}

// begin is what every answer has in its head while the process goes away.
func (s *Server) begin(h http.Header) {
	if s.Draining() {
		// RFC 9112, section 9.6: the client opens its next connection elsewhere. In HTTP/2 net/http turns it into GOAWAY (RFC 9113,
		// section 6.8), which is right here.
		h.Set("Connection", "close")
	}
}

// pipeline runs a request through its endpoint. On HTTP/2, where the goroutine of a handler is new and may stay for hours, that is done on
// another one, which ends with it: the stack that the pipeline needs is gone then, and that of the handler has never grown. In HTTP/1 the
// handler's goroutine has read the request and shaken hands before, so its stack has grown anyway.
func (s *Server) pipeline(l *later, r *http.Request) {
	l.kept.table = s.current.Load()
	if r.ProtoMajor < 2 {
		l.kept.table.mux.ServeHTTP(l, r)
		return
	}
	ended := make(chan any)
	go func() {
		defer func() { // the handler is there until then
			p := recover()
			if p != nil && p != http.ErrAbortHandler {
				p = fmt.Sprintf("%v\n%s", p, debug.Stack()) // net/http shows only where it is said again
			}
			ended <- p
		}()
		l.kept.table.mux.ServeHTTP(l, r)
	}()
	if p := <-ended; p != nil {
		panic(p)
	}
}

// at is the handler of an endpoint.
func (s *Server) at(e *endpoint) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.run(w, r, func(c *call) error { return s.dispatch(c, e) })
	})
}

// run takes a request through do, answers its refusal, and counts it, once.
func (s *Server) run(w http.ResponseWriter, r *http.Request, do func(*call) error) {
	c := &call{w: w, r: r, began: s.now(), number: s.requests.Add(1), outcome: "internal", kept: &kept{}}
	l, ok := w.(*later)
	if ok {
		c.kept = &l.kept
	}
	c.addr = s.clientAddress(r)
	safeHeader(w.Header())
	defer func() { s.metrics.request(c) }()
	defer s.recovered(c)
	if r.ContentLength != 0 && !c.kept.read {
		// Whether it is read here or not: net/http reads what is left of a body before it closes the connection, and would wait for it.
		_ = http.NewResponseController(w).SetReadDeadline(time.Now().Add(bodyWait)) // transports without deadlines are tests
	}
	err := do(c)
	if err == nil || err == errGone {
		return
	}
	if ok && err == errStale {
		c.kept.stale, c.counted = true, true
		return
	}
	refused, ok := err.(*refusal)
	if !ok {
		refused = &refusal{kind: internal, cause: err}
	}
	s.refuse(c, refused)
}

// recovered turns a panic into a 500, or where an answer has begun into a broken connection.
func (s *Server) recovered(c *call) {
	p := recover()
	if p == nil {
		return
	}
	c.outcome = "internal"
	if p != http.ErrAbortHandler {
		s.metrics.panics.Inc()
		s.log.Error("panic in a request", "request", s.requestID(c.number), "route", c.routeName(), "panic", fmt.Sprint(p),
			"stack", string(debug.Stack()))
	}
	if c.answered || p == http.ErrAbortHandler {
		if c.raw != nil {
			_ = c.raw.Close()
			return
		}
		panic(http.ErrAbortHandler)
	}
	s.refuse(c, &refusal{kind: internal, cause: fmt.Errorf("panic: %v", p)})
}

// dispatch finds the route for the method.
func (s *Server) dispatch(c *call, e *endpoint) error {
	c.route = e.any()
	if c.route == nil {
		originHeaders(c.w, c.r, nil)
		return &refusal{kind: notFound}
	}
	switch m := c.r.Method; {
	case m == http.MethodOptions:
		return s.options(c, e)
	case (m == http.MethodGet || m == http.MethodHead) && e.stream != nil:
		c.route = e.stream
		originHeaders(c.w, c.r, c.route)
		return s.stream(c)
	case m == http.MethodPost && e.entry != nil:
		c.route = e.entry
		originHeaders(c.w, c.r, c.route)
		return s.publish(c)
	}
	originHeaders(c.w, c.r, c.route)
	return &refusal{kind: methodNotAllowed, allow: e.allow()}
}

// answer writes a whole response, with the fields that are in the header map, wherever the request's connection is by now.
func (s *Server) answer(c *call, status int, body []byte) {
	c.answered = true
	if c.raw != nil {
		s.answerRaw(c, status, body)
		return
	}
	c.w.Header().Set("Content-Length", strconv.Itoa(len(body))) // RFC 9110, section 8.6
	c.w.WriteHeader(status)
	_, _ = c.w.Write(body) // a client that is gone needs no answer
}
