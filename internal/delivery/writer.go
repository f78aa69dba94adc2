package delivery

import (
	"errors"
	"os"
	"sync/atomic"
	"syscall"
	"time"
)

// Writer is a response that is written by its handler's goroutine: HTTP/2, TLS, HTTP/1.0, and everything that is not Linux.
type Writer interface {
	Write([]byte) (int, error)
	Flush() error
	SetWriteDeadline(time.Time) error
}

// writer joins a handler's goroutine to a shard. The shard decides what is sent and when, as for a socket; the goroutine only
// carries it out.
type writer struct {
	shard   *shard
	timeout time.Duration // of a write; 0 = none
	jobs    chan [][]byte // shard -> goroutine, one at a time
	closed  chan struct{} // shard -> goroutine: the client is out, reason is set
	reason  Reason

	// set by the shard before the first job
	slot, gen uint32
	taken     chan struct{} // closed when they are set

	left     bool         // owned by the shard: the client went before it was taken
	progress atomic.Int64 // bytes written so far, told while a job is under way
}

// Serve carries a client's stream on the goroutine that calls it, which must have written the header, and returns when the client
// is out. gone is closed when the client has gone away. Config.OnEnd is called for it in any case. *c is read at the beginning only.
//
// The goroutine stays for as long as the stream does, and its stack with it. What it does here and in net/http fits into 4 KB as long as
// nothing large is put on it, so everything large is done by functions of their own: TestStack_OfAStreamOnHTTP2.
func (s *Server) Serve(gone <-chan struct{}, out Writer, c *Client) Reason {
	w := s.bring(c)
	if w == nil {
		return Shutdown
	}
	for {
		select {
		case job := <-w.jobs:
			w.work(out, job, gone)
		case <-gone:
			gone = nil
			w.tell(opGone, 0, w)
		case <-w.closed:
			return w.reason
		}
	}
}

// bring hands the client to a shard. nil: the server has stopped.
func (s *Server) bring(c *Client) *writer {
	w := &writer{shard: s.pick(), timeout: c.Policy.WriteTimeout, jobs: make(chan [][]byte, 1), closed: make(chan struct{}), taken: make(chan struct{})}
	if err := w.shard.mail.put(op{kind: opJoin, arg: &joining{client: *c, fd: -1, writer: w}}); err != nil {
		c.Source.Close()
		s.cfg.OnEnd(Ended{Tag: c.Tag, Reason: Shutdown})
		return nil
	}
	return w
}

// tell sends the shard a message. A stopped shard has closed every writer, so nobody waits for an answer.
//
//go:noinline
func (w *writer) tell(o opKind, n int, arg any) { _ = w.shard.mail.put(op{kind: o, n: n, arg: arg}) }

// work carries out one job and tells the shard.
func (w *writer) work(out Writer, job [][]byte, gone <-chan struct{}) {
	n, err := w.carryOut(out, job)
	if err != nil && !errors.Is(err, os.ErrDeadlineExceeded) && isClosed(gone) {
		err = syscall.EPIPE
	}
	w.tell(opWrote, n, wrote{w, err})
}

// wrote is a writer's answer.
type wrote struct {
	writer *writer
	err    error
}

// pieceBytes is how much a ResponseWriter is given at a time. Each piece has the write timeout for itself, since a client that is slow but
// steady is not one that takes nothing.
const pieceBytes = 32 << 10

// carryOut writes one job.
func (w *writer) carryOut(out Writer, job [][]byte) (n int, err error) {
	for _, b := range job {
		for len(b) > 0 {
			k, err := w.write(out, b[:min(len(b), pieceBytes)])
			n += k
			w.progress.Add(int64(k))
			if err != nil {
				return n, err
			}
			b = b[k:]
		}
	}
	_, err = w.write(out, nil)
	return n, err
}

// write writes a piece, or nil to flush, under a deadline. What fails when the deadline has passed has failed because of it, whatever
// the transport calls it.
func (w *writer) write(out Writer, piece []byte) (n int, err error) {
	deadline, err := w.limit(out)
	if err != nil {
		return 0, err
	}
	if piece == nil {
		err = out.Flush()
	} else {
		n, err = out.Write(piece)
	}
	if err != nil && w.timeout > 0 && !time.Now().Before(deadline) {
		err = os.ErrDeadlineExceeded
	}
	return n, err
}

// limit sets the deadline of the next write.
//
//go:noinline
func (w *writer) limit(out Writer) (deadline time.Time, err error) {
	if w.timeout <= 0 {
		return deadline, nil
	}
	deadline = time.Now().Add(w.timeout)
	if err := out.SetWriteDeadline(deadline); err != nil && !errors.Is(err, errors.ErrUnsupported) {
		return deadline, err
	}
	return deadline, nil
}

func isClosed(c <-chan struct{}) bool {
	if c == nil {
		return true // it was, and has been reported
	}
	select {
	case <-c:
		return true
	default:
		return false
	}
}
