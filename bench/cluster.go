//go:build linux

package main

import (
	"fmt"
	"net/url"
	"path/filepath"
	"strings"
	"time"

	"github.com/nats-io/nats-server/v2/server"
)

// runCluster is three real nats-servers as a cluster, with JetStream, in one process.
func runCluster(spec roleSpec, ready chan<- roleReady) error {
	const size = revokeReplicas
	var routes []*url.URL
	for range size {
		addr, err := freeAddr()
		if err != nil {
			return fmt.Errorf("cluster: %w", err)
		}
		routes = append(routes, &url.URL{Scheme: "nats-route", Host: addr})
	}
	var urls []string
	var servers []*server.Server
	for n, route := range routes {
		port := 0
		if _, err := fmt.Sscanf(route.Port(), "%d", &port); err != nil {
			return fmt.Errorf("cluster: %w", err)
		}
		name := fmt.Sprintf("bench-%d", n)
		s, err := server.NewServer(&server.Options{ServerName: name, Host: "127.0.0.1", Port: -1, NoLog: true, NoSigs: true, JetStream: true,
			StoreDir: filepath.Join(spec.Store, name), Routes: routes, Cluster: server.ClusterOpts{Name: "bench", Host: "127.0.0.1", Port: port}})
		if err != nil {
			return fmt.Errorf("cluster: %w", err)
		}
		go s.Start()
		servers = append(servers, s)
	}
	for _, s := range servers {
		if !s.ReadyForConnections(10 * time.Second) {
			return fmt.Errorf("cluster: not ready after 10 s")
		}
		urls = append(urls, s.ClientURL())
	}
	ready <- roleReady{Addr: strings.Join(urls, ",")}
	servers[0].WaitForShutdown()
	return nil
}
