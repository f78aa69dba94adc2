package delivery

import (
	"fmt"
	"os"
	"sync/atomic"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// poller is a shard's epoll, and the watcher that tells the shard when it is worth a look. The epoll descriptor itself sits in Go's
// network poller, where the watcher waits: so an idle shard is two parked goroutines and holds no thread, a message wakes a shard
// without a system call, and a busy shard makes none to find that its sockets are quiet.
type poller struct {
	fd     int
	file   *os.File
	raw    syscall.RawConn
	events [256]unix.EpollEvent

	ready  atomic.Bool   // watcher -> shard: there are events
	looked chan struct{} // shard -> watcher: they have been dealt with
	closed chan struct{}
}

func (p *poller) open() error {
	var err error
	if p.fd, err = unix.EpollCreate1(unix.EPOLL_CLOEXEC); err != nil {
		return fmt.Errorf("delivery: epoll: %w", err)
	}
	// Only a non-blocking descriptor is given to the network poller by os.NewFile.
	if err = unix.SetNonblock(p.fd, true); err != nil {
		unix.Close(p.fd)
		return fmt.Errorf("delivery: epoll: %w", err)
	}
	p.file = os.NewFile(uintptr(p.fd), "epoll")
	if p.raw, err = p.file.SyscallConn(); err != nil {
		p.file.Close()
		return fmt.Errorf("delivery: epoll: %w", err)
	}
	p.looked, p.closed = make(chan struct{}, 1), make(chan struct{})
	return nil
}

// close also ends the watcher.
func (p *poller) close() {
	close(p.closed)
	p.file.Close()
}

// watch rings whenever there are events, until the poller is closed. The events are the shard's to take: epoll is level-triggered.
func (p *poller) watch(ring func()) {
	for {
		var one [1]unix.EpollEvent
		if err := p.raw.Read(func(uintptr) bool { return p.take(one[:]) > 0 }); err != nil {
			return // closed
		}
		p.ready.Store(true)
		ring()
		select {
		case <-p.looked:
		case <-p.closed:
			return
		}
	}
}

// poll takes what is ready, if there is anything.
func (p *poller) poll() int {
	if !p.ready.Load() {
		return 0
	}
	return p.take(p.events[:])
}

// polled is said when n events have been dealt with: if that was all, the watcher watches again.
func (p *poller) polled(n int) {
	if n == len(p.events) || !p.ready.Load() {
		return
	}
	p.ready.Store(false)
	p.looked <- struct{}{} // room for one, and one is all there ever is
}

// take is one epoll_wait that does not wait.
func (p *poller) take(events []unix.EpollEvent) int {
	n, _, e := syscall.RawSyscall6(unix.SYS_EPOLL_PWAIT, uintptr(p.fd), uintptr(unsafe.Pointer(&events[0])),
		uintptr(len(events)), 0, 0, 0)
	if e != 0 {
		return 0
	}
	return int(n)
}

// ctl carries slot and generation in the event, so that an event for a socket that was closed meanwhile is recognised.
func (p *poller) ctl(op int, fd int32, events uint32, slot, gen uint32) error {
	ev := unix.EpollEvent{Events: events, Fd: int32(slot), Pad: int32(gen)}
	return unix.EpollCtl(p.fd, op, int(fd), &ev)
}

const interest = unix.EPOLLIN | unix.EPOLLRDHUP

func (p *poller) add(fd int32, slot, gen uint32) error {
	return p.ctl(unix.EPOLL_CTL_ADD, fd, interest, slot, gen)
}

// modify switches EPOLLOUT. It cannot fail on a descriptor that was added and is open.
func (p *poller) modify(fd int32, slot, gen uint32, out bool) {
	events := uint32(interest)
	if out {
		events |= unix.EPOLLOUT
	}
	_ = p.ctl(unix.EPOLL_CTL_MOD, fd, events, slot, gen)
}

func (p *poller) remove(fd int32) { _ = unix.EpollCtl(p.fd, unix.EPOLL_CTL_DEL, int(fd), nil) }

// ready is one event.
type ready struct {
	slot, gen     uint32
	in, out, gone bool
}

// event reads the i-th event.
func (p *poller) event(i int) ready {
	ev := &p.events[i]
	return ready{
		slot: uint32(ev.Fd),
		gen:  uint32(ev.Pad),
		in:   ev.Events&unix.EPOLLIN != 0,
		out:  ev.Events&unix.EPOLLOUT != 0,
		// A client that closes its sending side counts as gone, as net/http does it.
		gone: ev.Events&(unix.EPOLLRDHUP|unix.EPOLLHUP|unix.EPOLLERR) != 0,
	}
}
