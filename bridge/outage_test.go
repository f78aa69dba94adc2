package bridge

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"

	"headgate/internal/devnats"
	"headgate/internal/flow"
)

const reconnectGap = "$gap reconnect false s"

func freePort(t *testing.T) int {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	return ln.Addr().(*net.TCPAddr).Port
}

func TestStart_WithoutNATS_BecomesHealthyWhenItComes(t *testing.T) {
	port := freePort(t)
	cfg := testNATS("nats://127.0.0.1:" + strconv.Itoa(port))
	r := startBridge(t, cfg, 0)
	if _, err := r.Open(t.Context(), request("", "a")); !errors.Is(err, flow.ErrUnavailable) {
		t.Fatalf("Open: %v", err)
	}
	if _, err := r.Publish(t.Context(), "a", nil, nil); !errors.Is(err, flow.ErrUnavailable) {
		t.Fatalf("Publish: %v", err)
	}
	eventually(t, "a reason", func() bool {
		return strings.Contains(r.Health().Detail, "refused") || strings.Contains(r.Health().Detail, "no servers")
	})
	if h := r.Health(); h.Connected || h.EverConnected || h.Since.IsZero() {
		t.Fatalf("%+v", h)
	}
	s := startNATS(t, devnats.Options{Port: port})
	eventually(t, "the connection", func() bool { h := r.Health(); return h.Connected && h.EverConnected && h.Detail == "" })
	sink, _, _ := r.follow(request("", "a"))
	publish(t, publisherOf(t, s.URL()), "a", "x")
	sink.waitFor(t, "x")
}

func TestOutage_TheLogSaysWhichServerAndWhy(t *testing.T) {
	address := "127.0.0.1:" + strconv.Itoa(freePort(t))
	r := startBridge(t, testNATS("nats://us3r:s3cret@"+address), 0)
	tellsRefusal(t, r, address+": connect: connection refused", "start NATS there, or correct host and port in NATS_URL")
	if log := r.log.String(); !strings.Contains(log, "server="+address+" ") || strings.Contains(log, "no servers available") {
		t.Fatal(log)
	}
	named := startBridge(t, testNATS("nats://us3r:s3cret@headgate-test.invalid:4222"), 0)
	eventually(t, "the name", func() bool {
		return strings.HasPrefix(named.Health().Detail, "data-0: headgate-test.invalid:4222: lookup ")
	})
	eventually(t, "what to do", func() bool { return strings.Contains(named.log.String(), "correct the host name in NATS_URL") })
	silent(t, named, "us3r", "s3cret")
}

func TestRestart_1000StreamsGetOneGapEachAndGoOn(t *testing.T) {
	s := startNATS(t, devnats.Options{})
	cfg := testNATS(s.URL())
	cfg.TopicLinger = time.Minute
	r := connectedBridge(t, cfg, 0)
	var sinks []*recorder
	for i := range 1000 {
		req := request("", fmt.Sprintf("own.%d", i), "shared.>")
		if i%10 == 0 { // several names, one gap for each
			req.Sources = append(req.Sources, flow.Spec{Name: "t", Subjects: []string{"third.>", "fourth"}})
		}
		sink, _, _ := r.follow(req)
		sinks = append(sinks, sink)
	}
	s.Stop()
	eventually(t, "the loss to be seen", func() bool { return !r.Health().Connected })
	if h := r.Health(); !h.EverConnected || !strings.HasPrefix(h.Detail, "data-0: ") && !strings.HasPrefix(h.Detail, "ctl: ") {
		t.Fatalf("%+v", h)
	}
	if _, err := r.Open(t.Context(), request("", "a")); !errors.Is(err, flow.ErrUnavailable) {
		t.Fatalf("Open while NATS is away: %v", err)
	}
	if err := s.Restart(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the connection", func() bool { return r.Health().Connected })
	eventually(t, "all gaps", func() bool {
		for _, sink := range sinks {
			if len(sink.all()) == 0 {
				return false
			}
		}
		return true
	})
	nc := publisherOf(t, s.URL())
	publish(t, nc, "shared.x", "all")
	for i := range sinks {
		if err := nc.Publish(fmt.Sprintf("own.%d", i), []byte(fmt.Sprint("own ", i))); err != nil {
			t.Fatal(err)
		}
	}
	for i, sink := range sinks {
		want := []string{reconnectGap, "all", fmt.Sprint("own ", i)}
		if i%10 == 0 {
			eventually(t, "four events", func() bool { return len(sink.all()) == 4 })
			got := sink.texts()
			if got[0] == "$gap reconnect false t" {
				got[0], got[1] = got[1], got[0]
			}
			if strings.Join(got, "|") != strings.Join([]string{reconnectGap, "$gap reconnect false t", "all", fmt.Sprint("own ", i)}, "|") {
				t.Fatalf("%q", got)
			}
			continue
		}
		sink.waitFor(t, want...)
	}
	if n := r.metric("headgate_gaps_total", "reconnect"); n != 1100 {
		t.Fatalf("counted %v gaps", n)
	}
	if n := strings.Count(r.log.String(), "messages may have been lost"); n != 1 {
		t.Fatalf("%d lines in the log", n)
	}
	if n := r.metric("headgate_nats_reconnects_total", "data-0"); n != 1 {
		t.Fatalf("counted %v reconnects", n)
	}
}

func TestRestart_RaisesTheFloor(t *testing.T) {
	s := startNATS(t, devnats.Options{})
	r := connectedBridge(t, testNATS(s.URL()), 0)
	sink, _, pos := r.follow(request("", "a"))
	publish(t, publisherOf(t, s.URL()), "a", "before")
	sink.waitFor(t, "before")
	if err := s.Restart(); err != nil {
		t.Fatal(err)
	}
	sink.waitFor(t, "before", reconnectGap)
	eventually(t, "the connection", func() bool { return r.Health().Connected })
	publish(t, publisherOf(t, s.URL()), "a", "after")
	sink.waitFor(t, "before", reconnectGap, "after")
	_, got, _ := r.resumed(request(at(pos, sink.all()[0]), "a"))
	if strings.Join(got, "|") != "$gap unknown-position false s|after" {
		t.Fatalf("from before the outage: %q", got)
	}
	_, got, _ = r.resumed(request(at(pos, sink.all()[1]), "a"))
	if strings.Join(got, "|") != "after" {
		t.Fatalf("from the gap: %q", got)
	}
}

func TestReconnect_TouchesOnlyTheStreamsOfThatConnection(t *testing.T) {
	s := startNATS(t, devnats.Options{})
	cfg := testNATS(s.URL())
	cfg.DataConnections = 2
	r := connectedBridge(t, cfg, 0)
	byConn := map[string][]*recorder{}
	for i := range 20 {
		sink, _, pos := r.follow(request("", fmt.Sprintf("a.%d", i)))
		byConn[string(pos[0].Tag[:])] = append(byConn[string(pos[0].Tag[:])], sink)
	}
	if len(byConn) != 2 {
		t.Fatalf("%d connections in use", len(byConn))
	}
	cut(t, s, "test data-1")
	eventually(t, "the reconnect", func() bool { return r.metric("headgate_nats_reconnects_total") == 1 })
	var hit, spared int
	for _, sinks := range byConn {
		eventually(t, "all or nothing", func() bool {
			n := 0
			for _, sink := range sinks {
				n += len(sink.all())
			}
			return n == 0 || n == len(sinks)
		})
	}
	eventually(t, "one connection's gaps", func() bool {
		hit, spared = 0, 0
		for _, sinks := range byConn {
			if len(sinks[0].all()) == 0 {
				spared++
			} else {
				hit++
			}
		}
		return hit == 1 && spared == 1
	})
}

// cut makes the server close the connection of that name.
func cut(t *testing.T, s *devnats.Server, name string) {
	t.Helper()
	conns, err := s.NATS().Connz(&server.ConnzOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range conns.Conns {
		if c.Name == name {
			if err := s.NATS().DisconnectClientByID(c.Cid); err != nil {
				t.Fatal(err)
			}
			return
		}
	}
	t.Fatalf("no connection %q", name)
}

func TestLameDuck_TheServerIsLeftForAnother(t *testing.T) {
	servers, err := devnats.StartCluster(2, devnats.Options{Configure: func(o *server.Options) {
		o.LameDuckDuration, o.LameDuckGracePeriod = time.Minute, 30*time.Second
	}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { devnats.ShutdownAll(servers) })
	r := connectedBridge(t, testNATS(servers[0].URL()), 0)
	sink, _, _ := r.follow(request("", "a"))
	go servers[0].NATS().LameDuckShutdown() // takes its grace period; Shutdown cuts it short
	sink.waitFor(t, reconnectGap)
	eventually(t, "the other server", func() bool { return servers[1].NATS().NumClients() == 2 })
	publish(t, publisherOf(t, servers[1].URL()), "a", "x")
	sink.waitFor(t, reconnectGap, "x")
}

func TestClosedConnection_IsMadeAnew(t *testing.T) {
	s := startNATS(t, devnats.Options{Configure: func(o *server.Options) { o.MaxControlLine = 600 }})
	cfg := testNATS(s.URL())
	cfg.TopicLinger = time.Minute
	r := connectedBridge(t, cfg, 0)
	sink, _, _ := r.follow(request("", "a"))
	_, idle, _ := r.follow(request("", "b"))
	idle.Close()
	// A line longer than the server takes is one of the errors after which nats.go gives up for good.
	if _, err := r.Open(t.Context(), request("", strings.Repeat("x", 700))); !errors.Is(err, flow.ErrUnavailable) {
		t.Fatalf("Open: %v", err)
	}
	// nats.go may reconnect with the same line once or twice before it is taken back; each time is an outage of its own.
	eventually(t, "the connection to stay", func() bool {
		again, err := r.Open(t.Context(), request("", "c"))
		if err == nil {
			again.Source.Close()
		}
		return err == nil && sink.last().Frame != nil
	})
	nc := publisherOf(t, s.URL())
	publish(t, nc, "a", "x")
	eventually(t, "the message", func() bool { return strings.Join(sink.texts()[len(sink.texts())-1:], "") == "x" })
	again, _, _ := r.follow(request("", "b"))
	publish(t, nc, "b", "y")
	again.waitFor(t, "y")
}

func TestRun_EndsWhileNATSIsAway(t *testing.T) {
	r := startBridge(t, testNATS("nats://127.0.0.1:"+strconv.Itoa(freePort(t))), 0)
	done := make(chan struct{})
	go func() { r.stop(); close(done) }()
	select {
	case <-done:
	case <-time.After(patience):
		t.Fatal("Run does not end")
	}
}

func TestRun_EndsUnderOpenStreamsAndPendingOpens(t *testing.T) {
	s := startNATS(t, devnats.Options{})
	r := connectedBridge(t, testNATS(s.URL()), 0)
	_, src, _ := r.follow(request("", "a"))
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	answers := make(chan error, 50)
	for i := range 50 {
		go func() {
			o, err := r.Open(ctx, request("", fmt.Sprintf("b.%d", i)))
			if err == nil {
				o.Source.Close()
			}
			answers <- err
		}()
	}
	r.stop()
	for range 50 {
		if err := <-answers; err != nil && !errors.Is(err, flow.ErrUnavailable) {
			t.Fatal(err)
		}
	}
	src.Close()
	if n := r.metric("headgate_nats_topics"); n != 0 {
		t.Fatalf("%v topics are left", n)
	}
	if _, err := r.Open(ctx, request("", "c")); !errors.Is(err, flow.ErrUnavailable) {
		t.Fatalf("Open after the end: %v", err)
	}
}
