package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
	"syscall"

	"headgate/gateway"
	"headgate/internal/config"
)

// nextPorts is how many ports -dev tries.
const nextPorts = 100

// listeners are open before anything is started, so that a port that is taken costs nobody anything.
type listeners struct {
	public, admin net.Listener
	more          []net.Listener // public ones too
}

// moreAddrs are the addresses of more, for the log.
func (l listeners) moreAddrs() []string {
	addrs := []string{} // none is [] in a log, not null
	for _, ln := range l.more {
		addrs = append(addrs, ln.Addr().String())
	}
	return addrs
}

// all are the public ones.
func (l listeners) all() []net.Listener { return append([]net.Listener{l.public}, l.more...) }

func (p *program) listen(ctx context.Context, cfg config.Config) (l listeners, err error) {
	// In -dev a port that nobody asked for may as well be another one.
	if l.public, err = listen("HTTP_ADDR", cfg.HTTP.Addr, cfg.Dev && !given(p.environ, "HTTP_ADDR"),
		func(addr string) (net.Listener, error) { return gateway.Listen(ctx, addr) }); err != nil {
		return l, err
	}
	if l.admin, err = listen("ADMIN_ADDR", cfg.Admin.Addr, cfg.Dev && !given(p.environ, "ADMIN_ADDR"),
		func(addr string) (net.Listener, error) { return net.Listen("tcp", addr) }); err != nil {
		_ = l.public.Close()
		return l, err
	}
	for _, addr := range cfg.HTTP.MoreAddrs {
		ln, err := listen("HTTP_MORE_ADDRS", addr, false, func(addr string) (net.Listener, error) { return gateway.Listen(ctx, addr) })
		if err != nil {
			for _, open := range append(l.all(), l.admin) {
				_ = open.Close()
			}
			return l, err
		}
		l.more = append(l.more, ln)
	}
	return l, nil
}

// listen opens a listener for the variable. With nextFree a port that is taken is no reason to give up: the next one is tried.
func listen(variable, addr string, nextFree bool, open func(addr string) (net.Listener, error)) (net.Listener, error) {
	ln, err := open(addr)
	if !errors.Is(err, syscall.EADDRINUSE) {
		return ln, err
	}
	host, text, _ := net.SplitHostPort(addr)
	port, _ := strconv.Atoi(text)
	for n := port + 1; nextFree && n <= min(port+nextPorts, 65535); n++ {
		if ln, err := open(net.JoinHostPort(host, strconv.Itoa(n))); err == nil {
			return ln, nil
		}
	}
	return nil, fmt.Errorf("%s=%s: another process has this port; end it, or choose another one, for example %s=%s: %w", variable, addr,
		variable, net.JoinHostPort(host, strconv.Itoa(port+1)), err)
}
