package delivery

import (
	"errors"
	"net"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// notSentLowWater bounds what the kernel holds for a client that does not read: beyond it the socket refuses bytes
// (tcp(7), TCP_NOTSENT_LOWAT). Without it the kernel keeps up to 4 MB each. With tiny events it takes more than twice as much memory as
// it holds bytes: this keeps a client below 64 KB of it.
const notSentLowWater = 24 << 10

// userTimeout is after which time without an acknowledgement the kernel gives a peer up (tcp(7), TCP_USER_TIMEOUT): dead machines,
// and live ones that do not read.
const userTimeout = 30 * time.Second

// CanHandover says whether a connection's socket can be taken over: plain TCP.
func CanHandover(conn net.Conn) bool {
	_, ok := conn.(*net.TCPConn)
	return ok
}

// takeSocket gives a descriptor of our own for the connection's socket. The connection must be closed by its owner then: its
// finalizer and Go's network poller must never meet the socket again. Whoever accepted the connection has tuned it.
func takeSocket(conn net.Conn) (int32, error) {
	tcp, ok := conn.(*net.TCPConn)
	if !ok {
		return -1, errors.New("delivery: not a plain TCP connection")
	}
	raw, err := tcp.SyscallConn()
	if err != nil {
		return -1, err
	}
	fd := -1
	var dupErr error
	err = raw.Control(func(p uintptr) { fd, dupErr = unix.FcntlInt(p, unix.F_DUPFD_CLOEXEC, 0) })
	if err = errors.Join(err, dupErr); err != nil {
		return -1, err
	}
	return int32(fd), nil
}

// Tune makes the kernel hold little for a client that does not read, and give up one that is dead. It is for every connection that may
// carry a stream; those that are not plain TCP stay as they are.
func Tune(conn net.Conn) {
	tcp, ok := conn.(*net.TCPConn)
	if !ok {
		return
	}
	raw, err := tcp.SyscallConn()
	if err != nil {
		return // it is closed already
	}
	_ = raw.Control(func(p uintptr) {
		// Failing to set these costs memory or time, not correctness.
		_ = unix.SetsockoptInt(int(p), unix.IPPROTO_TCP, unix.TCP_NOTSENT_LOWAT, notSentLowWater)
		_ = unix.SetsockoptInt(int(p), unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, int(userTimeout/time.Millisecond))
	})
}

// send is one non-blocking send. It bypasses the scheduler's bookkeeping for system calls, which costs more than the call's own
// overhead, and is allowed because the call never waits.
func send(fd int32, b []byte) (int, error) {
	n, _, e := syscall.RawSyscall6(unix.SYS_SENDTO, uintptr(fd), uintptr(unsafe.Pointer(unsafe.SliceData(b))), uintptr(len(b)),
		unix.MSG_DONTWAIT|unix.MSG_NOSIGNAL, 0, 0)
	if e != 0 {
		return 0, e
	}
	return int(n), nil
}

// recv reads what a client sent. 0 without error is the end of its side.
func recv(fd int32, b []byte) (int, error) {
	n, _, e := syscall.RawSyscall6(unix.SYS_RECVFROM, uintptr(fd), uintptr(unsafe.Pointer(unsafe.SliceData(b))), uintptr(len(b)),
		unix.MSG_DONTWAIT, 0, 0)
	if e != 0 {
		return 0, e
	}
	return int(n), nil
}

// closeFriendly closes so that what was written still arrives: one unread byte in the receive queue would turn the close into a
// reset, which destroys it.
func closeFriendly(fd int32, scratch []byte) {
	for range 16 {
		if n, err := recv(fd, scratch); n <= 0 || err != nil {
			break
		}
	}
	unix.Close(int(fd))
}

// closeHard closes; with reset, what is still in the kernel is thrown away at once.
func closeHard(fd int32, reset bool) {
	if reset {
		_ = unix.SetsockoptLinger(int(fd), unix.SOL_SOCKET, unix.SO_LINGER, &unix.Linger{Onoff: 1})
	}
	unix.Close(int(fd))
}
