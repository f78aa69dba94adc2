//go:build nodev

// Package devnats is left out of this build.
package devnats

import (
	"context"
	"errors"
)

// DefaultPort is where NATS is expected.
const DefaultPort = 4222

// Options say what kind of server would be started.
type Options struct {
	Port      int
	NextFree  bool
	JetStream bool
	StoreDir  string
}

// Server is never made in this build.
type Server struct{}

// Start fails: the embedded server is not part of this build.
func Start(Options) (*Server, error) {
	return nil, errors.New("this binary was built without the embedded nats-server (build tag nodev), so -dev cannot run; " +
		"build one with `go build .`, or run nats-server yourself and set NATS_URL, for example NATS_URL=nats://127.0.0.1:4222")
}

// URL is empty.
func (s *Server) URL() string { return "" }

// Shutdown does nothing.
func (s *Server) Shutdown() {}

// Store is never made in this build.
type Store struct{}

// Store does nothing.
func (s *Server) Store() (*Store, error) { return &Store{}, nil }

// Stream does nothing.
func (s *Store) Stream(context.Context, string, ...string) error { return nil }

// Bucket does nothing.
func (s *Store) Bucket(context.Context, string) error { return nil }

// Put does nothing.
func (s *Store) Put(context.Context, string, string, []byte) error { return nil }

// Delete does nothing.
func (s *Store) Delete(context.Context, string, string) error { return nil }

// Close does nothing.
func (s *Store) Close() {}
