//go:build linux

package main

import (
	"fmt"
	"net"
	"os"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
)

// runBroker is a real nats-server in a process of its own. Its bounds are raised so far that the naive server, which
// takes a copy per client, is not cut off.
func runBroker(spec roleSpec, ready chan<- roleReady) error {
	opts := &server.Options{Host: "127.0.0.1", Port: -1, NoLog: true, NoSigs: true, MaxPending: 1 << 30, MaxSubs: -1,
		WriteDeadline: 20 * time.Second}
	if spec.Store != "" {
		opts.JetStream, opts.StoreDir = true, spec.Store
		opts.JetStreamLimits.DefaultMaxConsumers = -1 // else a stream has 1,000 at most, too few for a consumer per client
		opts.StreamMaxBufferedMsgs = 1 << 20          // publishers that do not wait for an answer must not lose any
	}
	s, err := server.NewServer(opts)
	if err != nil {
		return fmt.Errorf("broker: %w", err)
	}
	go s.Start()
	if !s.ReadyForConnections(10 * time.Second) {
		return fmt.Errorf("broker: not ready after 10 s")
	}
	ready <- roleReady{Addr: s.ClientURL()}
	s.WaitForShutdown()
	return nil
}

// runReceiver is the least a Go program can do with NATS messages: a channel subscription and a loop that takes them out.
func runReceiver(spec roleSpec, ready chan<- roleReady) error {
	nc, err := nats.Connect(spec.NATS)
	if err != nil {
		return fmt.Errorf("receiver: %w", err)
	}
	messages := make(chan *nats.Msg, 65536)
	if _, err := nc.ChanSubscribe(subjectOf(shared), messages); err != nil {
		return fmt.Errorf("receiver: %w", err)
	}
	if err := nc.Flush(); err != nil {
		return fmt.Errorf("receiver: %w", err)
	}
	ready <- roleReady{}
	bytes := 0
	for m := range messages {
		bytes += len(m.Data)
	}
	return nil
}

// runHolder opens clients and keeps reading them, for more streams than one process may have descriptors. It prints a
// line with the deliveries so far whenever they rest.
func runHolder(spec roleSpec, ready chan<- roleReady) error {
	s, err := NewSwarm(spec.Server, false)
	if err != nil {
		return err
	}
	if err := s.Add(spec.Clients, func(int) string { return pathOf(shared) }, 5*time.Minute); err != nil {
		return fmt.Errorf("holder: %w", err)
	}
	ready <- roleReady{}
	told := uint64(0)
	for {
		before := s.tally.Received
		if err := s.Poll(200 * time.Millisecond); err != nil {
			return err
		}
		if s.tally.Received == before && s.tally.Received != told {
			told = s.tally.Received
			fmt.Fprintf(os.Stdout, "received %d lost %d ended %d\n", told, s.tally.Lost, s.ended)
		}
	}
}

// freeAddr is a loopback address that nobody listens on at the moment, for servers that must be told theirs.
func freeAddr() (string, error) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", fmt.Errorf("free port: %w", err)
	}
	defer ln.Close()
	return ln.Addr().String(), nil
}
