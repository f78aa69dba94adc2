//go:build !nodev

package devnats

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// Store makes streams and buckets in a server, and writes values, for whoever plays the services behind -dev. All of it is in memory, and
// bounded. Its methods may be called from any goroutine.
type Store struct {
	nc *nats.Conn
	js jetstream.JetStream
}

// What a stream of a Store keeps at most.
const (
	storeMessages = 10_000
	storeAge      = time.Hour
)

// Store connects to the server. Close ends the connection, and comes before Shutdown.
func (s *Server) Store() (*Store, error) {
	nc, err := nats.Connect(s.URL(), nats.MaxReconnects(-1))
	if err != nil {
		return nil, fmt.Errorf("devnats: %w", err)
	}
	js, err := jetstream.New(nc)
	if err != nil {
		nc.Close()
		return nil, fmt.Errorf("devnats: %w", err)
	}
	return &Store{nc, js}, nil
}

// Stream makes a stream, or leaves it as it is when it is like this already.
func (s *Store) Stream(ctx context.Context, name string, subjects ...string) error {
	_, err := s.js.CreateStream(ctx, jetstream.StreamConfig{Name: name, Subjects: subjects, Storage: jetstream.MemoryStorage,
		MaxMsgs: storeMessages, MaxAge: storeAge, AllowDirect: true})
	if err != nil {
		return fmt.Errorf("devnats: stream %s: %w", name, err)
	}
	return nil
}

// Bucket makes a Key-Value bucket.
func (s *Store) Bucket(ctx context.Context, name string) error {
	_, err := s.js.CreateKeyValue(ctx, jetstream.KeyValueConfig{Bucket: name, Storage: jetstream.MemoryStorage})
	if err != nil {
		return fmt.Errorf("devnats: bucket %s: %w", name, err)
	}
	return nil
}

// Put gives a key of a bucket a value.
func (s *Store) Put(ctx context.Context, bucket, key string, value []byte) error {
	kv, err := s.js.KeyValue(ctx, bucket)
	if err == nil {
		_, err = kv.Put(ctx, key, value)
	}
	if err != nil {
		return fmt.Errorf("devnats: put %s in %s: %w", key, bucket, err)
	}
	return nil
}

// Delete deletes a key of a bucket. One that is not there is no error.
func (s *Store) Delete(ctx context.Context, bucket, key string) error {
	kv, err := s.js.KeyValue(ctx, bucket)
	if err == nil {
		err = kv.Delete(ctx, key)
	}
	if err != nil && !errors.Is(err, jetstream.ErrKeyNotFound) {
		return fmt.Errorf("devnats: delete %s in %s: %w", key, bucket, err)
	}
	return nil
}

// Close ends the connection.
func (s *Store) Close() { s.nc.Close() }
