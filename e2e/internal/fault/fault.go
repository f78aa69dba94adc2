// Package fault is the bad network: a TCP proxy that cuts, stalls or swallows what passes through it.
package fault

import (
	"context"
	"io"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

const keepBytes = 16 << 10 // of what each side of a connection sends first, remembered for Requests and Answers

// Proxy forwards connections to one address, until it is told to do otherwise. Its methods may be called from any goroutine.
type Proxy struct {
	target string
	ln     net.Listener
	wg     sync.WaitGroup

	mu      sync.Mutex
	links   map[*link]struct{}
	heads   []*exchange
	open    chan struct{} // closed while bytes flow; a stall replaces it by an open one
	refuse  bool
	changed chan struct{} // closed and replaced when bytes pass
}

type link struct{ client, server net.Conn }

// exchange is what passed over one connection.
type exchange struct{ request, answer []byte }

// New starts a proxy to target for the length of the test.
func New(t testing.TB, target string) *Proxy {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatalf("fault proxy: %v", err)
	}
	p := &Proxy{target: target, ln: ln, links: map[*link]struct{}{}, open: make(chan struct{}), changed: make(chan struct{})}
	close(p.open)
	p.wg.Go(p.accept)
	t.Cleanup(func() {
		ln.Close()
		p.Flow()
		p.Cut()
		p.wg.Wait()
	})
	return p
}

// Addr is where the proxy listens.
func (p *Proxy) Addr() string { return p.ln.Addr().String() }

// URL is the proxy's address as the start of a URL.
func (p *Proxy) URL() string { return "http://" + p.Addr() }

// Cut resets every connection that is open now.
func (p *Proxy) Cut() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for l := range p.links {
		for _, c := range []net.Conn{l.client, l.server} {
			if tcp, ok := c.(*net.TCPConn); ok {
				_ = tcp.SetLinger(0) // RST: what a crashed router or a NAT without memory does
			}
			c.Close()
		}
	}
}

// Refuse makes new connections end at once, until Accept.
func (p *Proxy) Refuse() { p.setRefuse(true) }

// Accept lets new connections through again.
func (p *Proxy) Accept() { p.setRefuse(false) }

func (p *Proxy) setRefuse(refuse bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.refuse = refuse
}

// Stall stops every byte in both directions, without closing anything: the laptop that fell asleep. Flow ends it.
func (p *Proxy) Stall() {
	p.mu.Lock()
	defer p.mu.Unlock()
	select {
	case <-p.open:
		p.open = make(chan struct{})
	default:
	}
}

// Flow ends a stall.
func (p *Proxy) Flow() {
	p.mu.Lock()
	defer p.mu.Unlock()
	select {
	case <-p.open:
	default:
		close(p.open)
	}
}

// Requests are the first bytes that clients sent, one text for each connection in the order of their arrival.
func (p *Proxy) Requests() []string { return p.texts(func(e *exchange) []byte { return e.request }) }

// Answers are the first bytes that clients were sent, one text for each connection.
func (p *Proxy) Answers() []string { return p.texts(func(e *exchange) []byte { return e.answer }) }

func (p *Proxy) texts(side func(*exchange) []byte) []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	var out []string
	for _, e := range p.heads {
		if text := side(e); len(text) > 0 { // a browser opens connections in advance, and sends nothing on them
			out = append(out, string(text))
		}
	}
	return out
}

// Wait waits until ok likes what has passed.
func (p *Proxy) Wait(ctx context.Context, ok func() bool) error {
	for {
		p.mu.Lock()
		changed := p.changed
		p.mu.Unlock()
		if ok() {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// WaitRequest waits for a connection whose request contains all words.
func (p *Proxy) WaitRequest(ctx context.Context, words ...string) error {
	return p.Wait(ctx, func() bool {
		return slices.ContainsFunc(p.Requests(), func(r string) bool { return containsAll(r, words) })
	})
}

func containsAll(s string, words []string) bool {
	for _, w := range words {
		if !strings.Contains(s, w) {
			return false
		}
	}
	return true
}

func (p *Proxy) accept() {
	for {
		client, err := p.ln.Accept()
		if err != nil {
			return
		}
		p.mu.Lock()
		refuse := p.refuse
		p.mu.Unlock()
		if refuse {
			client.Close()
			continue
		}
		p.wg.Go(func() { p.forward(client) })
	}
}

func (p *Proxy) forward(client net.Conn) {
	defer client.Close()
	server, err := net.DialTimeout("tcp", p.target, 5*time.Second)
	if err != nil {
		return
	}
	defer server.Close()
	l, e := &link{client, server}, &exchange{}
	p.mu.Lock()
	p.links[l] = struct{}{}
	p.heads = append(p.heads, e)
	p.mu.Unlock()

	var both sync.WaitGroup
	both.Go(func() { p.pipe(server, client, &e.request) })
	both.Go(func() { p.pipe(client, server, &e.answer) })
	both.Wait()
	p.mu.Lock()
	delete(p.links, l)
	p.mu.Unlock()
}

// pipe copies from src to dst until either ends, and passes the end on.
func (p *Proxy) pipe(dst, src net.Conn, keep *[]byte) {
	buf := make([]byte, 32<<10)
	for {
		n, err := src.Read(buf)
		p.mu.Lock()
		open := p.open
		if room := keepBytes - len(*keep); n > 0 && room > 0 {
			*keep = append(*keep, buf[:min(n, room)]...)
			close(p.changed)
			p.changed = make(chan struct{})
		}
		p.mu.Unlock()
		<-open // Flow always comes: at the latest when the test ends
		if n > 0 {
			if _, err := dst.Write(buf[:n]); err != nil {
				src.Close()
				return
			}
		}
		if err != nil {
			if tcp, ok := dst.(*net.TCPConn); ok && err == io.EOF {
				_ = tcp.CloseWrite()
				return
			}
			dst.Close()
			return
		}
	}
}
