//go:build !nodev

package devnats

import (
	"fmt"
	"net"
	"net/url"
	"strconv"
	"time"

	"github.com/nats-io/nats-server/v2/server"
)

// StartCluster starts n servers as one cluster and waits until each has a route to every other. For tests. Each server of the
// result can be stopped and restarted by itself.
func StartCluster(n int, opts Options) ([]*Server, error) {
	ports, err := clusterPorts(n)
	if err != nil {
		return nil, err
	}
	routes := make([]*url.URL, n)
	for i, port := range ports {
		routes[i] = &url.URL{Scheme: "nats-route", Host: net.JoinHostPort(host, strconv.Itoa(port))}
	}
	var servers []*Server
	for i := range n {
		o := opts
		o.Configure = func(so *server.Options) {
			so.ServerName = fmt.Sprintf("devnats-%d", i)
			so.Cluster = server.ClusterOpts{Name: "devnats", Host: host, Port: ports[i], PoolSize: -1}
			so.Routes = routes
			if opts.Configure != nil {
				opts.Configure(so)
			}
		}
		s, err := Start(o)
		if err != nil {
			ShutdownAll(servers)
			return nil, err
		}
		servers = append(servers, s)
	}
	if err := waitRoutes(servers, startWait); err != nil {
		ShutdownAll(servers)
		return nil, err
	}
	return servers, nil
}

// ShutdownAll ends the servers of a cluster.
func ShutdownAll(servers []*Server) {
	for _, s := range servers {
		s.Shutdown()
	}
}

// clusterPorts finds n ports for the routes. All are open at once while it looks, so they differ.
func clusterPorts(n int) ([]int, error) {
	ports := make([]int, n)
	for i := range ports {
		ln, err := net.Listen("tcp", net.JoinHostPort(host, "0"))
		if err != nil {
			return nil, fmt.Errorf("devnats: port for a route: %w", err)
		}
		defer ln.Close()
		ports[i] = ln.Addr().(*net.TCPAddr).Port
	}
	return ports, nil
}

func waitRoutes(servers []*Server, limit time.Duration) error {
	deadline := time.Now().Add(limit)
	for _, s := range servers {
		for s.NATS().NumRoutes() < len(servers)-1 {
			if time.Now().After(deadline) {
				return fmt.Errorf("devnats: the cluster did not form within %v", limit)
			}
			time.Sleep(5 * time.Millisecond) // nats-server has no event for it
		}
	}
	return nil
}
