package delivery

import (
	"errors"
	"os"
	"syscall"
)

// wouldBlock says that a socket takes nothing at the moment.
func wouldBlock(err error) bool { return err == syscall.EAGAIN || err == syscall.EINTR }

// writeReason is why a stream ends when a write fails.
func writeReason(err error) Reason {
	switch {
	case errors.Is(err, syscall.EPIPE), errors.Is(err, syscall.ECONNRESET):
		return ClientGone
	case errors.Is(err, syscall.ETIMEDOUT), errors.Is(err, os.ErrDeadlineExceeded):
		return WriteTimeout
	}
	return WriteError
}

// sendAll sends buffers until one is refused.
func sendAll(fd int32, bufs [][]byte, st *stats) (sent int, err error) {
	for _, b := range bufs {
		for len(b) > 0 {
			n, err := send(fd, b)
			st.sends++
			sent += n
			b = b[n:]
			if err != nil {
				return sent, err
			}
		}
	}
	return sent, nil
}
