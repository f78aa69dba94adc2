//go:build !nodev

package devnats

import (
	"net"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func start(t *testing.T, opts Options) *Server {
	t.Helper()
	s, err := Start(opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Shutdown)
	return s
}

func connect(t *testing.T, url string, opts ...nats.Option) *nats.Conn {
	t.Helper()
	nc, err := nats.Connect(url, opts...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	return nc
}

func TestServer_RelaysMessages(t *testing.T) {
	s := start(t, Options{})
	nc := connect(t, s.URL())
	sub, err := nc.SubscribeSync("a.b")
	if err != nil {
		t.Fatal(err)
	}
	if err := nc.Publish("a.b", []byte("hello")); err != nil {
		t.Fatal(err)
	}
	m, err := sub.NextMsg(5 * time.Second)
	if err != nil || string(m.Data) != "hello" {
		t.Fatalf("got %v, %v", m, err)
	}
}

func TestServer_ListensOnLoopbackOnly(t *testing.T) {
	s := start(t, Options{})
	if ip := s.NATS().Addr().(*net.TCPAddr).IP; !ip.IsLoopback() {
		t.Fatalf("listens on %v", ip)
	}
}

func TestNextFree_TakesTheNextPortWhenOneIsTaken(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	taken := ln.Addr().(*net.TCPAddr).Port
	if taken > 65000 {
		t.Skip("no room above the port the kernel gave")
	}
	s := start(t, Options{Port: taken, NextFree: true})
	connect(t, s.URL())
	if strings.HasSuffix(s.URL(), ln.Addr().String()) {
		t.Fatalf("took the taken port: %s", s.URL())
	}
}

func TestNextFree_ManyStartedTogetherGetAPortEach(t *testing.T) {
	const servers = 8
	var wg sync.WaitGroup
	started := make(chan *Server, servers)
	for range servers {
		wg.Go(func() {
			s, err := Start(Options{NextFree: true})
			if err != nil {
				t.Error(err)
				return
			}
			started <- s
		})
	}
	wg.Wait()
	close(started)
	seen := map[string]bool{}
	for s := range started {
		if seen[s.URL()] {
			t.Errorf("%s twice", s.URL())
		}
		seen[s.URL()] = true
		s.Shutdown()
	}
}

func TestStart_SaysWhyItFails(t *testing.T) {
	s := start(t, Options{})
	port := s.NATS().Addr().(*net.TCPAddr).Port
	_, err := Start(Options{Port: port})
	if err == nil || !strings.Contains(err.Error(), "address already in use") {
		t.Fatalf("got %v", err)
	}
}

func TestRestart_KeepsPortAndStreams(t *testing.T) {
	s := start(t, Options{JetStream: true})
	url := s.URL()
	nc := connect(t, url)
	js, err := nc.JetStream()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := js.AddStream(&nats.StreamConfig{Name: "S", Subjects: []string{"s.>"}}); err != nil {
		t.Fatal(err)
	}
	if _, err := js.Publish("s.1", []byte("kept")); err != nil {
		t.Fatal(err)
	}
	nc.Close()
	if err := s.Restart(); err != nil {
		t.Fatal(err)
	}
	if s.URL() != url {
		t.Fatalf("moved from %s to %s", url, s.URL())
	}
	js, err = connect(t, url).JetStream()
	if err != nil {
		t.Fatal(err)
	}
	m, err := js.GetLastMsg("S", "s.1")
	if err != nil || string(m.Data) != "kept" {
		t.Fatalf("got %v, %v", m, err)
	}
}

func TestShutdown_RemovesTheTemporaryDirectory(t *testing.T) {
	s := start(t, Options{JetStream: true})
	dir := s.tempDir
	if _, err := os.Stat(dir); err != nil {
		t.Fatal(err)
	}
	s.Shutdown()
	if _, err := os.Stat(dir); !os.IsNotExist(err) {
		t.Fatalf("still there: %v", err)
	}
}

func TestReload_ChangesPermissions(t *testing.T) {
	allow := func(subjects ...string) func(*server.Options) {
		return func(o *server.Options) {
			p := &server.Permissions{Publish: &server.SubjectPermission{Allow: subjects}}
			o.Users = []*server.User{{Username: "u", Password: "p", Permissions: p}}
		}
	}
	s := start(t, Options{Configure: allow("a")})
	refused := make(chan error, 1)
	nc := connect(t, s.URL(), nats.UserInfo("u", "p"), nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) {
		select {
		case refused <- err:
		default:
		}
	}))
	if err := s.Reload(allow("b")); err != nil {
		t.Fatal(err)
	}
	deadline := time.After(5 * time.Second)
	for {
		nc.Publish("a", nil)
		nc.Flush()
		select {
		case err := <-refused:
			if !strings.Contains(err.Error(), "Permissions Violation") {
				t.Fatal(err)
			}
			return
		case <-deadline:
			t.Fatal("still allowed")
		case <-time.After(10 * time.Millisecond):
		}
	}
}

func TestCluster_RelaysBetweenServers(t *testing.T) {
	servers, err := StartCluster(3, Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ShutdownAll(servers) })
	a, b := connect(t, servers[0].URL()), connect(t, servers[2].URL())
	sub, err := b.SubscribeSync("x")
	if err != nil {
		t.Fatal(err)
	}
	b.Flush()
	deadline := time.Now().Add(5 * time.Second)
	for time.Now().Before(deadline) { // interest travels between servers a little later than the flush says
		a.Publish("x", nil)
		if _, err := sub.NextMsg(20 * time.Millisecond); err == nil {
			return
		}
	}
	t.Fatal("nothing arrived")
}
