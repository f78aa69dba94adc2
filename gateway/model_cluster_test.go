package gateway_test

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go/jetstream"
)

// serverConfig is the environment variable by which the test binary becomes a nats-server, which can be killed.
const serverConfig = "HEADGATE_MODEL_NATS"

// natsProcess is what such a process is told.
type natsProcess struct {
	Name, Dir string
	Port      int
	Cluster   int
	Routes    []string
	Parent    int
}

// serveNATS runs until it is killed, or its parent is gone.
func serveNATS(config string) {
	var p natsProcess
	if err := json.Unmarshal([]byte(config), &p); err != nil {
		panic(err)
	}
	o := &server.Options{ServerName: p.Name, Host: "127.0.0.1", Port: p.Port, JetStream: true, StoreDir: p.Dir, NoSigs: true,
		Cluster: server.ClusterOpts{Name: "model", Host: "127.0.0.1", Port: p.Cluster, PoolSize: -1}, Routes: server.RoutesFromStr(strings.Join(p.Routes, ","))}
	ns, err := server.NewServer(o)
	if err != nil {
		panic(err)
	}
	ns.Start()
	for os.Getppid() == p.Parent {
		time.Sleep(100 * time.Millisecond)
	}
}

// member is a server of the cluster.
type member struct {
	t      testing.TB
	config natsProcess
	cmd    *exec.Cmd
}

func (m *member) start() {
	text, err := json.Marshal(m.config)
	if err != nil {
		m.t.Error(err)
		return
	}
	m.cmd = exec.Command(os.Args[0])
	m.cmd.Env = append(os.Environ(), serverConfig+"="+string(text))
	if err := m.cmd.Start(); err != nil {
		m.t.Errorf("start a nats-server: %v", err)
	}
}

// kill is kill -9.
func (m *member) kill() {
	_ = m.cmd.Process.Kill()
	_ = m.cmd.Wait()
}

func (m *member) url() string { return "nats://127.0.0.1:" + strconv.Itoa(m.config.Port) }

// cluster starts three servers, each a process of its own.
func cluster(t testing.TB) (members []*member, url string) {
	t.Helper()
	ports := freePorts(t, 6)
	var routes, urls []string
	for i := range 3 {
		routes = append(routes, fmt.Sprintf("nats-route://127.0.0.1:%d", ports[3+i]))
	}
	for i := range 3 {
		m := &member{t: t, config: natsProcess{Name: fmt.Sprint("model-", i), Dir: filepath.Join(t.TempDir(), strconv.Itoa(i)), Port: ports[i],
			Cluster: ports[3+i], Routes: routes, Parent: os.Getpid()}}
		m.start()
		t.Cleanup(m.kill)
		members, urls = append(members, m), append(urls, m.url())
	}
	return members, strings.Join(urls, ",")
}

func freePorts(t testing.TB, n int) (ports []int) {
	t.Helper()
	for len(ports) < n {
		port := modelPort()
		ln, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port)))
		if err != nil {
			continue
		}
		defer ln.Close()
		ports = append(ports, port)
	}
	return ports
}

// modelPort is a port that no connection is given while its server is away.
func modelPort() int { return 12_000 + rand.IntN(18_000) }

// TestModel_FaultsOfACluster runs clients while servers of a cluster are killed and started again, and leaders step down. Streams and
// bucket have three replicas.
func TestModel_FaultsOfACluster(t *testing.T) {
	t.Parallel()
	members, url := cluster(t)
	w := newWorld(t, url)
	w.create(streamA(func(c *jetstream.StreamConfig) { c.Replicas = 3 }))
	b := streamB()
	b.Replicas = 3
	w.create(b)
	kv := w.bucket(jetstream.KeyValueConfig{Bucket: "FLAGS", History: 3, Replicas: 3})
	routes := modelRoutes()
	one := startReplica(t, modelConfig(url, routesOf(routes))).ready()
	two := startReplica(t, modelConfig(url, routesOf(routes))).ready()
	var clients []*modelClient
	for n := range 2 * len(routes) {
		clients = append(clients, w.client(t, n, routes[n%len(routes)], one, two))
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	everybody(ctx, w, clients,
		func(ctx context.Context) { w.publishing(ctx, "A", 1, 200) },
		func(ctx context.Context) { w.publishing(ctx, "B", 3, 50) },
		func(ctx context.Context) { w.changing(ctx, kv, 4, 40) },
		func(ctx context.Context) { w.faults(ctx, members) })
	for _, stream := range []string{"A", "B", "KV_FLAGS"} {
		w.reread(stream)
	}
	finish(w, clients, "A", "B", "KV_FLAGS")
	w.sameKeys(clients)
}

// faults kills servers and moves leaders until ctx ends. One server is away, or behind, at a time.
func (w *world) faults(ctx context.Context, members []*member) {
	rnd := w.rand(4000)
	for {
		nap(ctx, time.Duration(300+rnd.IntN(1200))*time.Millisecond)
		if ctx.Err() != nil {
			return
		}
		if rnd.IntN(3) > 0 {
			w.stepDown(ctx, []string{"STREAM.LEADER.STEPDOWN.A", "STREAM.LEADER.STEPDOWN.B", "STREAM.LEADER.STEPDOWN.KV_FLAGS",
				"META.LEADER.STEPDOWN"}[rnd.IntN(4)])
			continue
		}
		w.killOne(ctx, members[rnd.IntN(len(members))], rnd)
	}
}

func (w *world) stepDown(ctx context.Context, which string) {
	w.t.Logf("%s %s", time.Now().Format("05.000"), which)
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	_, _ = w.nc.RequestWithContext(ctx, "$JS.API."+which, nil) // there may be no leader to step down
}

func (w *world) killOne(ctx context.Context, m *member, rnd *rand.Rand) {
	w.t.Logf("%s kill -9 of %s", time.Now().Format("05.000"), m.config.Name)
	m.kill()
	nap(ctx, time.Duration(rnd.IntN(2500))*time.Millisecond)
	m.start()
	w.healed("A", "B", "KV_FLAGS")
}

// healed waits until every server has all of some streams again. Until then another fault would be more than three replicas can bear: of
// a stream in memory nothing would be left.
func (w *world) healed(streams ...string) {
	for _, name := range streams {
		w.do("have three replicas of "+name, func(ctx context.Context) error {
			s, err := w.js.Stream(ctx, name)
			if err != nil {
				return err
			}
			c := s.CachedInfo().Cluster
			if c == nil || c.Leader == "" || len(c.Replicas) != 2 {
				return fmt.Errorf("%+v", c)
			}
			for _, r := range c.Replicas {
				if !r.Current || r.Offline || r.Lag > 0 {
					return fmt.Errorf("%+v", r)
				}
			}
			return nil
		})
	}
}
