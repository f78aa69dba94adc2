//go:build linux

package main

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"runtime"
	"runtime/debug"
	"strconv"
	"sync"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// The bare loop is the ceiling: accepted sockets, a response head, and sends. No parser, no NATS, no memory per client but
// the descriptor. Payloads come in ready-made over a control connection; each becomes a frame and is sent to its target.
type bare struct {
	epfd     int
	listener int
	coalesce bool

	mu  sync.Mutex    // held for a round
	all []int32       // descriptors of the shared stream
	own map[int]int32 // by number

	// Owned by the loop.
	in  []byte // control bytes that are not a whole record yet
	out []byte // frames of the round
}

const bareHead = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nCache-Control: no-store\r\nConnection: close\r\n\r\n"

func runBare(spec roleSpec, ready chan<- roleReady) error {
	debug.SetGCPercent(-1)
	runtime.GOMAXPROCS(2)
	b := &bare{coalesce: spec.Coalesce, own: map[int]int32{}}
	addr, err := b.listen()
	if err != nil {
		return err
	}
	control, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return fmt.Errorf("bare: %w", err)
	}
	failed := make(chan error, 2)
	go func() { failed <- b.serve() }()
	go func() { failed <- b.loop(control) }()
	ready <- roleReady{Addr: addr, Control: control.Addr().String()}
	return <-failed
}

func (b *bare) listen() (addr string, err error) {
	if b.epfd, err = unix.EpollCreate1(unix.EPOLL_CLOEXEC); err != nil {
		return "", fmt.Errorf("bare: epoll: %w", err)
	}
	if b.listener, err = unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0); err != nil {
		return "", fmt.Errorf("bare: socket: %w", err)
	}
	err = errors.Join(unix.Bind(b.listener, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}), unix.Listen(b.listener, 4096), b.watch(b.listener))
	if err != nil {
		return "", fmt.Errorf("bare: listen: %w", err)
	}
	name, err := unix.Getsockname(b.listener)
	if err != nil {
		return "", fmt.Errorf("bare: %w", err)
	}
	return net.JoinHostPort("127.0.0.1", strconv.Itoa(name.(*unix.SockaddrInet4).Port)), nil
}

func (b *bare) watch(fd int) error {
	return unix.EpollCtl(b.epfd, unix.EPOLL_CTL_ADD, fd, &unix.EpollEvent{Events: unix.EPOLLIN, Fd: int32(fd)})
}

// serve accepts clients. It rests while the loop is measured.
func (b *bare) serve() error {
	events := make([]unix.EpollEvent, 256)
	buf := make([]byte, 16<<10)
	for {
		n, err := unix.EpollWait(b.epfd, events, -1)
		if err != nil && !errors.Is(err, unix.EINTR) {
			return fmt.Errorf("bare: epoll wait: %w", err)
		}
		for _, ev := range events[:max(n, 0)] {
			if int(ev.Fd) != b.listener {
				b.open(int(ev.Fd), buf)
				continue
			}
			if err := b.accept(b.listener); err != nil {
				return fmt.Errorf("bare: %w", err)
			}
		}
	}
}

// loop reads what is to be sent and sends it.
func (b *bare) loop(control net.Listener) error {
	conn, err := control.Accept()
	if err != nil {
		return fmt.Errorf("bare: %w", err)
	}
	file, err := conn.(*net.TCPConn).File() // blocking again
	if err != nil {
		return fmt.Errorf("bare: %w", err)
	}
	defer file.Close()
	fd, buf := int(file.Fd()), make([]byte, 256<<10)
	for {
		n, err := rawRead(fd, buf)
		if err != nil || n == 0 {
			return errors.Join(errors.New("bare: control connection ended"), err)
		}
		b.round(buf[:n])
	}
}

// rawRead blocks without telling Go's scheduler: the ceiling is a C program's, and Go's poller adds 15 µs to every wait of
// a loop that has nothing else to do. Nothing may need this processor meanwhile: runBare gives the rest another one and
// switches the collector off.
func rawRead(fd int, buf []byte) (int, error) {
	for {
		n, _, errno := syscall.RawSyscall(syscall.SYS_READ, uintptr(fd), uintptr(unsafe.Pointer(&buf[0])), uintptr(len(buf)))
		switch errno {
		case 0:
			return int(n), nil
		case syscall.EINTR:
		default:
			return 0, errno
		}
	}
}

func (b *bare) accept(listener int) error {
	for {
		fd, _, err := unix.Accept4(listener, unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC)
		if errors.Is(err, unix.EAGAIN) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("accept: %w", err)
		}
		_ = unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1)
		if err := b.watch(fd); err != nil {
			return err
		}
	}
}

// open reads the request, answers the head and stops watching the socket: an idle client costs nothing.
func (b *bare) open(fd int, buf []byte) {
	n, err := unix.Read(fd, buf)
	_ = unix.EpollCtl(b.epfd, unix.EPOLL_CTL_DEL, fd, nil)
	if err != nil || n == 0 {
		_ = unix.Close(fd)
		return
	}
	if _, err := unix.Write(fd, []byte(bareHead)); err != nil {
		_ = unix.Close(fd)
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if rest, ok := bytes.CutPrefix(buf[:n], []byte("GET /own/")); ok {
		number, _, _ := bytes.Cut(rest, []byte(" "))
		if id, err := strconv.Atoi(string(number)); err == nil {
			b.own[id] = int32(fd)
		}
		return
	}
	b.all = append(b.all, int32(fd))
}

// round sends everything that has come in: coalesced into one send per client, or one send per frame.
func (b *bare) round(data []byte) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.in = append(b.in, data...)
	b.out = b.out[:0]
	rest := b.in
	for len(rest) >= 8 {
		target := int(int32(binary.LittleEndian.Uint32(rest)))
		size := int(binary.LittleEndian.Uint32(rest[4:]))
		if len(rest) < 8+size {
			break
		}
		frame := len(b.out)
		b.out = appendEvent(b.out, rest[8:8+size])
		rest = rest[8+size:]
		switch {
		case target != shared:
			b.send(b.own[target], b.out[frame:])
			b.out = b.out[:frame]
		case !b.coalesce:
			b.sendAll(b.out)
			b.out = b.out[:0]
		}
	}
	b.in = append(b.in[:0], rest...)
	if len(b.out) > 0 {
		b.sendAll(b.out)
	}
}

// appendEvent frames a payload as one event. The body ends with the connection, as headgate's does.
func appendEvent(dst, payload []byte) []byte {
	dst = append(dst, "data: "...)
	dst = append(dst, payload...)
	return append(dst, "\n\n"...)
}

func (b *bare) sendAll(data []byte) {
	for i := 0; i < len(b.all); i++ {
		if !b.send(b.all[i], data) {
			_ = unix.Close(int(b.all[i]))
			b.all[i] = b.all[len(b.all)-1]
			b.all = b.all[:len(b.all)-1]
			i--
		}
	}
}

// send waits out a full socket: the loop has no other way, and in a closed loop none fills. False when the client is gone.
func (b *bare) send(fd int32, data []byte) bool {
	for len(data) > 0 {
		n, _, errno := syscall.RawSyscall6(syscall.SYS_SENDTO, uintptr(fd), uintptr(unsafe.Pointer(&data[0])), uintptr(len(data)),
			unix.MSG_DONTWAIT|unix.MSG_NOSIGNAL, 0, 0)
		switch errno {
		case 0:
			data = data[n:]
		case syscall.EAGAIN:
			_, _ = unix.Poll([]unix.PollFd{{Fd: fd, Events: unix.POLLOUT}}, 1000)
		default:
			return false
		}
	}
	return true
}
