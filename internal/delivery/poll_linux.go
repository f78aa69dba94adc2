package delivery

import (
	"errors"
	"fmt"
	"os"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// poller is a shard's epoll and the eventfd that wakes it. The epoll descriptor itself sits in Go's network poller, so that an
// idle shard is a parked goroutine and holds no thread.
type poller struct {
	fd     int
	file   *os.File
	raw    syscall.RawConn
	bell   *os.File // the eventfd. A File, because somebody may still ring when it has been closed
	wakeFD int
	events [256]unix.EpollEvent
}

// wakeSlot marks the eventfd among the slots.
const wakeSlot = none

func (p *poller) open() error {
	var err error
	if p.fd, err = unix.EpollCreate1(unix.EPOLL_CLOEXEC); err != nil {
		return fmt.Errorf("delivery: epoll: %w", err)
	}
	if p.wakeFD, err = unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK); err != nil {
		unix.Close(p.fd)
		return fmt.Errorf("delivery: eventfd: %w", err)
	}
	p.bell = os.NewFile(uintptr(p.wakeFD), "eventfd")
	// Only a non-blocking descriptor is given to the network poller by os.NewFile.
	if err = unix.SetNonblock(p.fd, true); err == nil {
		p.file = os.NewFile(uintptr(p.fd), "epoll")
		p.raw, err = p.file.SyscallConn()
	}
	if err == nil {
		err = p.ctl(unix.EPOLL_CTL_ADD, int32(p.wakeFD), unix.EPOLLIN, wakeSlot, 0)
	}
	if err != nil {
		p.close()
		return fmt.Errorf("delivery: poller: %w", err)
	}
	return nil
}

func (p *poller) close() {
	p.bell.Close()
	if p.file != nil {
		p.file.Close()
	} else {
		unix.Close(p.fd)
	}
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

// poll takes what is ready, without waiting.
func (p *poller) poll() int {
	n, _, e := syscall.RawSyscall6(unix.SYS_EPOLL_PWAIT, uintptr(p.fd), uintptr(unsafe.Pointer(&p.events[0])),
		uintptr(len(p.events)), 0, 0, 0)
	if e != 0 {
		return 0
	}
	return int(n)
}

// wait takes what is ready, waiting at most d.
func (p *poller) wait(d time.Duration) (n int) {
	if err := p.file.SetReadDeadline(time.Now().Add(d)); err != nil {
		return 0
	}
	err := p.raw.Read(func(uintptr) bool {
		n = p.poll()
		return n > 0
	})
	if err != nil && !errors.Is(err, os.ErrDeadlineExceeded) {
		return 0
	}
	return n
}

// wake may be called by anybody.
func (p *poller) wake() {
	one := [8]byte{1}
	_, _ = p.bell.Write(one[:])
}

// ready is one event.
type ready struct {
	slot, gen     uint32
	in, out, gone bool
}

// event reads the i-th event; ok is false for a wake-up.
func (p *poller) event(i int) (ready, bool) {
	ev := &p.events[i]
	if uint32(ev.Fd) == wakeSlot {
		var b [8]byte
		_, _ = unix.Read(p.wakeFD, b[:])
		return ready{}, false
	}
	return ready{
		slot: uint32(ev.Fd),
		gen:  uint32(ev.Pad),
		in:   ev.Events&unix.EPOLLIN != 0,
		out:  ev.Events&unix.EPOLLOUT != 0,
		// A client that closes its sending side counts as gone, as net/http does it.
		gone: ev.Events&(unix.EPOLLRDHUP|unix.EPOLLHUP|unix.EPOLLERR) != 0,
	}, true
}
