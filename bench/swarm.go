//go:build linux

package main

import (
	"errors"
	"fmt"
	"net/netip"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Swarm is the load generator: many event-stream clients on one epoll, driven by whoever calls Poll. It is used by one
// goroutine only, which should be locked to its thread.
type Swarm struct {
	// Fixed after NewSwarm.
	epfd  int
	addr  unix.SockaddrInet4
	track bool // keep each client's last event id, for reconnects
	retry bool // who is refused, or whose stream ends, comes again: see retry.go

	// Owned by the polling goroutine.
	clients []client
	events  []unix.EpollEvent
	buf     []byte
	dialing int // connects and requests on the way; not those of clients that come again
	opened  int // clients whose response head has arrived
	refused int // answered with a refusal, or cut before the head
	ended   int // streams that the server ended
	tally   Tally
	retries
}

// client is one stream. next is the sequence it must see next; 0 takes whatever comes first.
type client struct {
	fd      int32
	next    uint32
	state   clientState
	again   bool // it is on its way once more
	carried uint8
	carry   [stampLen - 1]byte // a stamp cut by the end of a read
	path    string
	id      string // last event id of a completed block (track)
	rest    []byte // a block that has not ended yet (track), or an incomplete head
}

type clientState uint8

const (
	clientClosed clientState = iota
	clientDialing
	clientWaiting // request sent
	clientOpen
	clientDeaf // open, and never read again
)

// Tally is what the swarm has counted.
type Tally struct {
	Received, Lost, Duplicated, Malformed uint64
	Reads, Bytes                          uint64
	Latency                               Histogram
}

// progress is how far delivery has come; what is lost for certain is not waited for.
func (t *Tally) progress() uint64 { return t.Received + t.Lost }

const (
	maxDialing     = 256  // connects in flight
	perSource      = 4000 // clients per source address, against the end of the port range
	readBufferSize = 256 << 10
)

// NewSwarm makes a swarm for one server. track makes it follow event ids, at the price of a slower scan.
func NewSwarm(server string, track bool) (*Swarm, error) {
	ap, err := netip.ParseAddrPort(server)
	if err != nil || !ap.Addr().Is4() || !ap.Addr().IsLoopback() {
		return nil, fmt.Errorf("server address %q: want an IPv4 loopback address and a port", server)
	}
	epfd, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("epoll: %w", err)
	}
	return &Swarm{epfd: epfd, addr: unix.SockaddrInet4{Addr: ap.Addr().As4(), Port: int(ap.Port())}, track: track,
		events: make([]unix.EpollEvent, 512), buf: make([]byte, readBufferSize)}, nil
}

// Add opens n more clients, the i-th on path(i), and returns when all have their response heads.
func (s *Swarm) Add(n int, path func(i int) string, limit time.Duration) error {
	list := make([]int, 0, n)
	for range n {
		s.clients = append(s.clients, client{fd: -1, path: path(len(s.clients))})
		list = append(list, len(s.clients)-1)
	}
	return s.connect(list, limit)
}

// Reopen connects every closed client again, with its last event id.
func (s *Swarm) Reopen(limit time.Duration) error {
	var list []int
	for i := range s.clients {
		if s.clients[i].state == clientClosed {
			list = append(list, i)
		}
	}
	return s.connect(list, limit)
}

func (s *Swarm) connect(list []int, limit time.Duration) error {
	deadline := now() + int64(limit)
	want, refused := s.opened+len(list), s.refused
	for s.opened < want {
		for len(list) > 0 && s.dialing < maxDialing {
			if err := s.dial(list[0]); err != nil {
				return err
			}
			list = list[1:]
		}
		if err := s.Poll(100 * time.Millisecond); err != nil {
			return err
		}
		if s.refused > refused && !s.retry {
			return fmt.Errorf("%d clients were refused", s.refused-refused)
		}
		if now() > deadline {
			return fmt.Errorf("%d of %d clients were not open after %v", want-s.opened, want, limit)
		}
	}
	return nil
}

func (s *Swarm) dial(i int) error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("socket of client %d: %w", i, err)
	}
	// Reset on close: no TIME_WAIT, so ports are free for the next run.
	_ = unix.SetsockoptLinger(fd, unix.SOL_SOCKET, unix.SO_LINGER, &unix.Linger{Onoff: 1})
	_ = unix.SetsockoptInt(fd, unix.IPPROTO_IP, unix.IP_BIND_ADDRESS_NO_PORT, 1)
	if err := unix.Bind(fd, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, byte(2 + i/perSource)}}); err != nil {
		_ = unix.Close(fd)
		return fmt.Errorf("bind client %d: %w", i, err)
	}
	if err := unix.Connect(fd, &s.addr); err != nil && !errors.Is(err, unix.EINPROGRESS) {
		_ = unix.Close(fd)
		return fmt.Errorf("connect client %d: %w", i, err)
	}
	c := &s.clients[i]
	c.fd, c.state, c.carried, c.rest = int32(fd), clientDialing, 0, nil
	if !c.again {
		s.dialing++
	}
	ev := unix.EpollEvent{Events: unix.EPOLLIN | unix.EPOLLOUT, Fd: int32(i)}
	if err := unix.EpollCtl(s.epfd, unix.EPOLL_CTL_ADD, fd, &ev); err != nil {
		return fmt.Errorf("epoll add: %w", err)
	}
	return nil
}

// request is sent in one write once the connection stands.
func (s *Swarm) request(i int) {
	c := &s.clients[i]
	head := "GET " + c.path + " HTTP/1.1\r\nHost: bench\r\nAccept: text/event-stream\r\n"
	if c.id != "" {
		head += "Last-Event-ID: " + c.id + "\r\n"
	}
	if _, err := unix.Write(int(c.fd), []byte(head+"\r\n")); err != nil {
		s.close(i)
		return
	}
	c.state = clientWaiting
	ev := unix.EpollEvent{Events: unix.EPOLLIN, Fd: int32(i)}
	_ = unix.EpollCtl(s.epfd, unix.EPOLL_CTL_MOD, int(c.fd), &ev)
}

// Poll waits for at most timeout for something to read and reads it.
func (s *Swarm) Poll(timeout time.Duration) error {
	if err := s.again(); err != nil {
		return err
	}
	n, err := unix.EpollWait(s.epfd, s.events, int(timeout.Milliseconds()))
	if err != nil && !errors.Is(err, unix.EINTR) {
		return fmt.Errorf("epoll wait: %w", err)
	}
	for _, ev := range s.events[:max(n, 0)] {
		i := int(ev.Fd)
		if s.clients[i].state == clientDialing && ev.Events&unix.EPOLLOUT != 0 {
			s.request(i)
			continue
		}
		s.read(i)
	}
	return nil
}

// read takes what one read gives. The raw call spares the scheduler's bookkeeping: it cannot block.
func (s *Swarm) read(i int) {
	c := &s.clients[i]
	n, _, errno := syscall.RawSyscall(syscall.SYS_READ, uintptr(c.fd), uintptr(unsafe.Pointer(&s.buf[0])), uintptr(len(s.buf)))
	switch {
	case errno == syscall.EAGAIN || errno == syscall.EINTR:
		return
	case errno != 0 || n == 0:
		s.close(i)
		return
	}
	s.tally.Reads++
	s.tally.Bytes += uint64(n)
	b := s.buf[:n]
	if c.state != clientOpen {
		if b = s.head(i, b); b == nil {
			return
		}
	}
	if s.track {
		s.scanBlocks(c, b)
		return
	}
	s.scan(c, b, now())
}

// arrived: a client is not on its way any more.
func (s *Swarm) arrived(c *client) {
	if c.again {
		c.again = false
		s.coming--
		return
	}
	s.dialing--
}

// close ends a client from the server's side or after an error.
func (s *Swarm) close(i int) {
	c := &s.clients[i]
	switch c.state {
	case clientDialing, clientWaiting:
		s.arrived(c)
		s.refused++
	case clientOpen, clientDeaf:
		s.opened--
		s.ended++
	}
	_ = unix.Close(int(c.fd))
	c.fd, c.state, c.rest, c.carried = -1, clientClosed, nil, 0
	s.later(i)
}

// DropAll resets every connection at once. Sequences and ids are kept for Reopen.
func (s *Swarm) DropAll() {
	defer s.forgetRetries()
	for i := range s.clients {
		if s.clients[i].state != clientClosed {
			s.close(i)
		}
	}
	s.ended, s.refused = 0, 0
}

// Deafen makes the clients from..to-1 never read again: slow clients.
func (s *Swarm) Deafen(from, to int) error {
	for i := from; i < to; i++ {
		c := &s.clients[i]
		if err := unix.EpollCtl(s.epfd, unix.EPOLL_CTL_DEL, int(c.fd), nil); err != nil {
			return fmt.Errorf("epoll del: %w", err)
		}
		c.state = clientDeaf
	}
	return nil
}

// Close drops everything.
func (s *Swarm) Close() {
	s.DropAll()
	_ = unix.Close(s.epfd)
}
