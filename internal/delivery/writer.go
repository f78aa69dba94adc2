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
	jobs   chan [][]byte // shard -> goroutine, one at a time
	closed chan struct{} // shard -> goroutine: the client is out, reason is set
	reason Reason

	// set by the shard before the first job
	slot, gen uint32
	taken     chan struct{} // closed when they are set

	left     bool         // owned by the shard: the client went before it was taken
	progress atomic.Int64 // bytes written so far, told while a job is under way
}

// Serve carries a client's stream on the goroutine that calls it, which must have written the header, and returns when the client
// is out. gone is closed when the client has gone away. Config.OnEnd is called for it in any case.
func (s *Server) Serve(gone <-chan struct{}, out Writer, c Client) Reason {
	w := &writer{jobs: make(chan [][]byte, 1), closed: make(chan struct{}), taken: make(chan struct{})}
	sh := s.pick()
	if err := sh.mail.put(op{kind: opJoin, arg: &joining{client: c, fd: -1, writer: w}}); err != nil {
		c.Source.Close()
		s.cfg.OnEnd(Ended{Tag: c.Tag, Reason: Shutdown})
		return Shutdown
	}
	timeout := c.Policy.WriteTimeout
	for {
		select {
		case job := <-w.jobs:
			n, err := w.carryOut(out, job, timeout)
			if err != nil && !errors.Is(err, os.ErrDeadlineExceeded) && isClosed(gone) {
				err = syscall.EPIPE
			}
			// A stopped shard has closed every writer.
			_ = sh.mail.put(op{kind: opWrote, n: n, arg: wrote{w, err}})
		case <-gone:
			gone = nil
			_ = sh.mail.put(op{kind: opGone, arg: w})
		case <-w.closed:
			return w.reason
		}
	}
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
func (w *writer) carryOut(out Writer, job [][]byte, timeout time.Duration) (n int, err error) {
	for _, b := range job {
		for len(b) > 0 {
			piece := b[:min(len(b), pieceBytes)]
			k, err := within(out, timeout, func() (int, error) { return out.Write(piece) })
			n += k
			w.progress.Add(int64(k))
			if err != nil {
				return n, err
			}
			b = b[k:]
		}
	}
	_, err = within(out, timeout, func() (int, error) { return 0, out.Flush() })
	return n, err
}

// within runs one write under a deadline. What fails when the deadline has passed has failed because of it, whatever the transport calls it.
func within(out Writer, timeout time.Duration, write func() (int, error)) (int, error) {
	if timeout <= 0 {
		return write()
	}
	deadline := time.Now().Add(timeout)
	if err := out.SetWriteDeadline(deadline); err != nil && !errors.Is(err, errors.ErrUnsupported) {
		return 0, err
	}
	n, err := write()
	if err != nil && !time.Now().Before(deadline) {
		err = os.ErrDeadlineExceeded
	}
	return n, err
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
