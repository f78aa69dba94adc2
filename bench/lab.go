//go:build linux

package main

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Lab starts the servers that are compared, each anew for every stretch, and knows what else the machine was doing.
type Lab struct {
	// Fixed after NewLab.
	ctx      context.Context
	size     Size
	kinds    []string // servers to compare
	root     string   // of the repository
	dir      string   // temporary
	headgate string   // the binary
	broker   *Proc
	nats     string
	jet      *jet // while scenarios of streams run

	// Owned by the goroutine that runs the scenarios.
	procs []*Proc
	noise Noise // the worst since TakeNoise
	logf  func(format string, args ...any)
}

// Server is one running server under test.
type Server struct {
	Kind  string
	Proc  *Proc
	Addr  string // streams
	TLS   bool
	pprof string // base URL of its profiles
	feed  Feed
}

// NewLab builds headgate and starts the broker. Close ends everything.
func NewLab(ctx context.Context, size Size, kinds []string, logf func(string, ...any)) (*Lab, error) {
	l := &Lab{ctx: ctx, size: size, kinds: kinds, logf: logf}
	var err error
	if l.root, err = moduleRoot(); err != nil {
		return nil, err
	}
	if l.dir, err = os.MkdirTemp("", "headgate-bench-"); err != nil {
		return nil, err
	}
	if slices.Contains(kinds, "headgate") {
		if err := l.build(); err != nil {
			l.Close()
			return nil, err
		}
	}
	broker, ready, err := startRole(roleSpec{Role: "broker"}, cores.clients)
	if err != nil {
		l.Close()
		return nil, err
	}
	l.broker, l.nats = broker, ready.Addr
	l.procs = append(l.procs, broker)
	return l, nil
}

// Close ends every process and removes the temporary files.
func (l *Lab) Close() {
	for _, p := range slices.Backward(l.procs) {
		p.Stop()
	}
	l.procs = nil
	_ = os.RemoveAll(l.dir)
}

// moduleRoot is the directory of go.mod above the working directory.
func moduleRoot() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return dir, nil
		}
		up := filepath.Dir(dir)
		if up == dir {
			return "", errors.New("no go.mod above the working directory: run it inside the repository")
		}
		dir = up
	}
}

// Start starts a server: headgate, naive, hub, bare (coalescing) or bare-each (one send per frame).
func (l *Lab) Start(kind string) (*Server, error) { return l.start(kind, "", "") }

// StartHeadgate starts headgate with settings beyond those that every scenario has.
func (l *Lab) StartHeadgate(settings ...string) (*Server, error) {
	return l.start("headgate", "", "", settings...)
}

// StartTLS is Start with a certificate.
func (l *Lab) StartTLS(kind, certFile, keyFile string) (*Server, error) {
	return l.start(kind, certFile, keyFile)
}

func (l *Lab) start(kind, certFile, keyFile string, settings ...string) (s *Server, err error) {
	s = &Server{Kind: kind, TLS: certFile != ""}
	defer func(s *Server) {
		if err != nil && s.Proc != nil {
			l.Stop(s)
		}
	}(s)
	if kind == "headgate" {
		if l.jet != nil {
			settings = append(l.jet.settings(), settings...)
		}
		if err = l.startHeadgate(s, certFile, keyFile, settings); err != nil {
			return nil, err
		}
	} else {
		spec := roleSpec{Role: l.roleOf(kind), NATS: l.nats, CertFile: certFile, KeyFile: keyFile, Coalesce: kind == "bare"}
		proc, ready, err := startRole(spec, cores.server)
		if err != nil {
			return nil, err
		}
		l.procs = append(l.procs, proc)
		s.Proc, s.Addr, s.pprof = proc, ready.Addr, "http://"+ready.Addr
		if ready.Control != "" {
			s.feed, err = dialBare(ready.Control)
			return s, err
		}
	}
	s.feed, err = dialNATS(l.nats)
	return s, err
}

// Stop ends a server.
func (l *Lab) Stop(s *Server) {
	if s.feed != nil {
		s.feed.Close()
	}
	s.Proc.Stop()
	l.procs = slices.DeleteFunc(l.procs, func(p *Proc) bool { return p == s.Proc })
}

// CPU is what the server has used so far.
func (s *Server) CPU() (time.Duration, error) { return cpuOf(s.Proc.Pid) }

// free makes the naive server collect garbage and return memory to the system.
func (s *Server) free() error {
	scheme, client := "http://", http.Client{Timeout: 30 * time.Second}
	if s.TLS {
		scheme = "https://"
		client.Transport = &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, DisableKeepAlives: true}
	}
	resp, err := client.Get(scheme + s.Addr + "/debug/free")
	if err != nil {
		return err
	}
	return resp.Body.Close()
}

// LiveHeap is what the server's Go heap holds behind a collection, in bytes.
func (s *Server) LiveHeap() (int64, error) {
	client := http.Client{Timeout: 30 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := client.Get(s.pprof + "/debug/pprof/heap?gc=1&debug=1")
	if err != nil {
		return 0, fmt.Errorf("heap of %s: %w", s.Kind, err)
	}
	defer resp.Body.Close()
	for lines := bufio.NewScanner(resp.Body); lines.Scan(); {
		if text, ok := strings.CutPrefix(lines.Text(), "# HeapAlloc = "); ok {
			return strconv.ParseInt(text, 10, 64)
		}
	}
	return 0, fmt.Errorf("heap of %s: %s without HeapAlloc", s.Kind, resp.Status)
}

// metric is the sum of one of headgate's metrics over its labels.
func (s *Server) metric(name string) (sum float64, err error) {
	client := http.Client{Timeout: 30 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := client.Get(s.pprof + "/metrics")
	if err != nil {
		return 0, err
	}
	defer resp.Body.Close()
	for lines := bufio.NewScanner(resp.Body); lines.Scan(); {
		rest, ok := strings.CutPrefix(lines.Text(), name)
		if !ok || !strings.HasPrefix(rest, "{") && !strings.HasPrefix(rest, " ") {
			continue
		}
		v, err := strconv.ParseFloat(rest[strings.LastIndexByte(rest, ' ')+1:], 64)
		if err != nil {
			return 0, err
		}
		sum += v
	}
	return sum, nil
}

// Settle waits until a server's memory has not changed for a time, and returns it. The naive server is told to collect
// and give back what it does not need; headgate must do so by itself, and takes up to ten seconds to begin.
func (l *Lab) Settle(s *Server, still time.Duration) (int64, error) {
	if s.Kind == "naive" || s.Kind == "hub" {
		if err := s.free(); err != nil {
			return 0, fmt.Errorf("settle: %w", err)
		}
		still = min(still, 2*time.Second) // nothing is left to come by itself
	}
	return l.settleAll([]*Server{s}, still)
}

// settleAll is one wait for several servers, whose memory together is what must not change. A change of less than 2 % is
// garbage on its way to the next collection.
func (l *Lab) settleAll(servers []*Server, still time.Duration) (int64, error) {
	const step = 250 * time.Millisecond
	var rss, last int64
	same := time.Duration(0)
	for waited := time.Duration(0); same < still && waited < 2*time.Minute; waited += step {
		rss = 0
		for _, s := range servers {
			one, err := rssOf(s.Proc.Pid)
			if err != nil {
				return 0, err
			}
			rss += one
		}
		if d := rss - last; max(d, -d) < max(64<<10, last/50) {
			same += step
		} else {
			last, same = rss, 0
		}
		select {
		case <-time.After(step):
		case <-l.ctx.Done():
			return 0, context.Cause(l.ctx)
		}
	}
	return rss, nil
}
