package gateway

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"runtime/debug"
	"strconv"
	"time"

	"headgate/internal/delivery"
)

// deliver gives the client to delivery: plain HTTP/1.1 by its connection, everything else through the ResponseWriter. It sets *taken
// as soon as the admission and the source are delivery's.
func (s *Server) deliver(c *call, client delivery.Client, taken *bool) error {
	if c.r.ProtoMajor == 1 && c.r.ProtoMinor == 1 && plainConn(c.r.Context()) {
		return s.handover(c, client, taken)
	}
	s.serve(c, client, taken)
	return nil
}

// handover takes the connection away from net/http. From the moment Handover has it, nothing here touches it again.
func (s *Server) handover(c *call, client delivery.Client, taken *bool) error {
	rc := http.NewResponseController(c.w)
	header := c.w.Header()
	conn, rw, err := rc.Hijack()
	if err != nil {
		return &refusal{kind: internal, cause: fmt.Errorf("taking the connection: %w", err)}
	}
	c.raw = conn
	if rw.Reader.Buffered() > 0 {
		return &refusal{kind: pipelined}
	}
	streamHeader(header)
	client.Head = encodeHead(header, s.now())
	c.route.life.open.Inc() // before Ended can count it down
	defer func() {
		if !*taken {
			c.route.life.open.Dec()
		}
	}()
	if err := s.delivery.Handover(conn, client); err != nil {
		refused := &refusal{kind: descriptors, cause: fmt.Errorf("handing the connection over: %w", err)}
		if s.Draining() {
			refused.kind = draining // delivery has stopped
		}
		return refused
	}
	*taken, c.raw, c.answered = true, nil, true
	s.opened(c)
	return nil
}

// opened counts a stream that has begun.
func (s *Server) opened(c *call) {
	c.outcome = outcomeOpened
	s.metrics.connect.Observe(s.now().Sub(c.began).Seconds())
	s.metrics.request(c)
}

// serve keeps the request in its handler, which alone writes, until the client is gone: TLS, HTTP/2, HTTP/1.0.
func (s *Server) serve(c *call, client delivery.Client, taken *bool) {
	streamHeader(c.w.Header())
	c.closeAfter()
	rc := http.NewResponseController(c.w)
	// The deadlines of ordinary answers do not hold for a stream. Transports without deadlines have none to lift.
	_ = rc.SetReadDeadline(time.Time{})
	_ = rc.SetWriteDeadline(time.Time{})
	c.route.life.open.Inc()
	*taken, c.answered = true, true
	c.w.WriteHeader(http.StatusOK)
	if c.r.ProtoMajor >= 2 {
		_ = rc.Flush() // not on the handler's goroutine, since it takes a deep stack, see pipeline; who is gone is found out later
	}
	s.opened(c)
	opened := served{tag: client.Tag, began: c.began, gone: c.r.Context().Done(), client: &client, out: responseWriter{c.w, rc}}
	if l, ok := c.w.(*later); ok {
		l.do = &opened
		return
	}
	s.carry(&opened)
}

// later is a ResponseWriter with what is to be done when the pipeline has returned. A stream stays with its handler for hours; without
// the pipeline's frames below it, its goroutine gets by with half the stack.
type later struct {
	http.ResponseWriter
	do   *served
	kept kept
}

// Unwrap is for http.ResponseController.
func (l *later) Unwrap() http.ResponseWriter { return l.ResponseWriter }

// served is a stream that stays with its handler.
type served struct {
	tag    uint64
	began  time.Time
	gone   <-chan struct{}
	client *delivery.Client
	out    responseWriter
}

// carry lets delivery write until the client is gone.
func (s *Server) carry(o *served) {
	defer func() {
		// Delivery settles it by Ended, unless it panicked.
		if p := recover(); p != nil {
			s.metrics.panics.Inc()
			s.log.Error("panic in a stream", "panic", fmt.Sprint(p), "stack", string(debug.Stack()))
			s.Ended(delivery.Ended{Tag: o.tag, Reason: delivery.Internal, Duration: s.now().Sub(o.began)})
			panic(http.ErrAbortHandler)
		}
	}()
	client := o.client
	o.client = nil // nothing of it is needed for as long as the stream lasts
	s.delivery.Serve(o.gone, o.out, client)
}

// responseWriter is what delivery sees of a ResponseWriter.
type responseWriter struct {
	io.Writer
	rc *http.ResponseController
}

// Flush also lifts the write deadline: net/http resets an HTTP/2 stream whose deadline passes, idle or not.
func (w responseWriter) Flush() error {
	if err := w.rc.Flush(); err != nil {
		return err
	}
	_ = w.rc.SetWriteDeadline(time.Time{}) // what cannot have one has none
	return nil
}

func (w responseWriter) SetWriteDeadline(t time.Time) error { return w.rc.SetWriteDeadline(t) }

const (
	rawTimeout = 5 * time.Second        // to write an answer to a connection taken from net/http
	rawLinger  = 500 * time.Millisecond // for the client to read it, when it has sent what we did not read
	rawUnread  = 64 << 10               // how much of that is read
)

// answerRaw answers on a connection that was taken from net/http, and closes it. What the client has sent is read away for a moment,
// because closing with unread bytes sends RST, which can destroy the answer on its way.
func (s *Server) answerRaw(c *call, status int, body []byte) {
	conn := c.raw
	defer func() { _ = conn.Close() }()
	var b bytes.Buffer
	b.WriteString("HTTP/1.1 " + strconv.Itoa(status) + " " + http.StatusText(status) + "\r\nDate: ")
	b.WriteString(s.now().UTC().Format(http.TimeFormat))
	b.WriteString("\r\n")
	_ = c.w.Header().WriteSubset(&b, handWritten) // a Buffer does not fail
	b.WriteString("Connection: close\r\nContent-Length: " + strconv.Itoa(len(body)) + "\r\n\r\n")
	b.Write(body)
	_ = conn.SetWriteDeadline(time.Now().Add(rawTimeout))
	if _, err := conn.Write(b.Bytes()); err != nil {
		return
	}
	if half, ok := conn.(interface{ CloseWrite() error }); ok && half.CloseWrite() == nil {
		_ = conn.SetReadDeadline(time.Now().Add(rawLinger))
		_, _ = io.CopyN(io.Discard, conn, rawUnread)
	}
}
