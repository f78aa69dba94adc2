//go:build !nodev

// Package devnats runs nats-server inside this process, on loopback only: the NATS of -dev, and of the tests, which so run
// against the real thing. The build tag nodev leaves the server out of the binary.
package devnats

import (
	"errors"
	"fmt"
	"net"
	"os"
	"strconv"
	"sync"
	"time"

	"github.com/nats-io/nats-server/v2/server"
)

const (
	// DefaultPort is where NATS is expected, and where NextFree starts to look.
	DefaultPort = 4222

	host      = "127.0.0.1"
	nextPorts = 100 // how many ports NextFree tries
	startWait = 10 * time.Second
)

// Options say what kind of server is started. The zero value is a core NATS server without authentication on a random port.
type Options struct {
	Port      int    // 0: with NextFree 4222, else random
	NextFree  bool   // take the next port when that one is taken
	JetStream bool   // streams and buckets
	StoreDir  string // where JetStream keeps them; "": a temporary directory that Shutdown removes

	// Configure changes the server's options before each start; for tests (accounts, permissions, TLS).
	Configure func(*server.Options)
}

// Server is one embedded nats-server. Its methods may be called from any goroutine.
type Server struct {
	mu      sync.Mutex
	opts    Options
	port    int
	tempDir string
	ns      *server.Server // nil after Shutdown
}

// Start starts a server and waits until it accepts connections.
func Start(opts Options) (*Server, error) {
	s := &Server{opts: opts, port: opts.Port}
	if opts.NextFree {
		port, err := freePort(opts.Port)
		if err != nil {
			return nil, err
		}
		s.port = port
	}
	if opts.JetStream && opts.StoreDir == "" {
		dir, err := os.MkdirTemp("", "headgate-nats-")
		if err != nil {
			return nil, fmt.Errorf("devnats: directory for JetStream: %w", err)
		}
		s.tempDir = dir
	}
	err := s.start()
	for range nextPorts {
		if err == nil || !opts.NextFree || isFree(s.port) {
			break
		}
		// Another process has taken the port since: two that are started together look at the same ones.
		if s.port, err = freePort(s.port + 1); err == nil {
			err = s.start()
		}
	}
	if err != nil {
		s.removeTemp()
		return nil, err
	}
	return s, nil
}

func freePort(first int) (int, error) {
	if first == 0 {
		first = DefaultPort
	}
	for port := first; port < first+nextPorts; port++ {
		if isFree(port) {
			return port, nil
		}
	}
	return 0, fmt.Errorf("devnats: no free port between %d and %d on %s", first, first+nextPorts-1, host)
}

func isFree(port int) bool {
	ln, err := net.Listen("tcp", net.JoinHostPort(host, strconv.Itoa(port)))
	if err != nil {
		return false
	}
	ln.Close()
	return true
}

// start needs mu, or that nobody else has the Server yet.
func (s *Server) start() error {
	log := &fatalLog{}
	ns, err := server.NewServer(s.serverOptions())
	if err != nil {
		return fmt.Errorf("devnats: %w", err)
	}
	ns.SetLoggerV2(log, false, false, false)
	ns.Start()
	if !ready(ns, log) {
		ns.Shutdown()
		ns.WaitForShutdown()
		return fmt.Errorf("devnats: nats-server does not accept connections on %s:%d: %w", host, s.port, log.err())
	}
	s.ns = ns
	s.port = ns.Addr().(*net.TCPAddr).Port // the same one again after Restart
	return nil
}

// ready waits until the server accepts connections, has said why it cannot, or has been given enough time.
func ready(ns *server.Server, log *fatalLog) bool {
	for deadline := time.Now().Add(startWait); time.Now().Before(deadline) && !log.failed(); {
		if ns.ReadyForConnections(50 * time.Millisecond) {
			return true
		}
	}
	return false
}

func (s *Server) serverOptions() *server.Options {
	o := &server.Options{
		Host:       host,
		Port:       s.port,
		NoSigs:     true,
		JetStream:  s.opts.JetStream,
		StoreDir:   s.opts.StoreDir,
		MaxPayload: 1 << 20,
	}
	if o.Port == 0 {
		o.Port = server.RANDOM_PORT
	}
	if s.tempDir != "" {
		o.StoreDir = s.tempDir
	}
	if s.opts.Configure != nil {
		s.opts.Configure(o)
	}
	return o
}

// URL is where clients connect, without any credentials. It stays the same over Restart.
func (s *Server) URL() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return "nats://" + net.JoinHostPort(host, strconv.Itoa(s.port))
}

// NATS is the server itself, for tests; nil after Shutdown.
func (s *Server) NATS() *server.Server {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.ns
}

// Stop ends the server and keeps what it stored, so that Restart finds it again.
func (s *Server) Stop() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.stop()
}

func (s *Server) stop() {
	if s.ns == nil {
		return
	}
	s.ns.Shutdown()
	s.ns.WaitForShutdown()
	s.ns = nil
}

// Restart stops the server if it runs, and starts it on the same port with what it stored.
func (s *Server) Restart() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.stop()
	return s.start()
}

// Reload applies other options to the running server, as a configuration reload does. A later Restart keeps them.
func (s *Server) Reload(configure func(*server.Options)) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ns == nil {
		return errors.New("devnats: reload of a stopped server")
	}
	s.opts.Configure = configure
	return s.ns.ReloadOptions(s.serverOptions())
}

// Shutdown ends the server and removes its temporary directory. A second call does nothing.
func (s *Server) Shutdown() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.stop()
	s.removeTemp()
}

func (s *Server) removeTemp() {
	if s.tempDir != "" {
		os.RemoveAll(s.tempDir)
	}
}
