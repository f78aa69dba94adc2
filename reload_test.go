//go:build !nodev

package main

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"headgate/internal/devnats"
)

// configured is a gateway whose routes are mounted as Kubernetes mounts a ConfigMap.
type configured struct {
	*process
	t       *testing.T
	mount   string
	version int
	server  *devnats.Server
	nc      *nats.Conn
	js      jetstream.JetStream
}

// route is a line of a routes file.
func route(name, source string, more ...string) string {
	return fmt.Sprintf("  - {name: %s, path: /%s, auth: {required: false}, source: {%s}%s}\n", name, name, source, strings.Join(append([]string{""}, more...), ", "))
}

func core(name string, more ...string) string {
	return route(name, fmt.Sprintf("type: core, subject: %q", name+".x"), more...)
}

func onStream(name, stream, subject string, more ...string) string {
	return route(name, fmt.Sprintf("type: stream, stream: %s, subject: %q", stream, subject), more...)
}

func startConfigured(t *testing.T, routes []string, more ...string) *configured {
	t.Helper()
	c := &configured{t: t}
	c.boot("version: 1\nroutes:\n"+strings.Join(routes, ""), append([]string{"AUTH_MODE=none"}, more...)...)
	return c
}

// boot starts NATS and the gateway, with the text of a routes file.
func (c *configured) boot(text string, more ...string) {
	t := c.t
	t.Helper()
	c.mount = t.TempDir()
	c.swapText(text)
	var err error
	if c.server, err = devnats.Start(devnats.Options{JetStream: true, StoreDir: t.TempDir()}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.server.Shutdown() })
	closed := make(chan struct{})
	c.nc, err = nats.Connect(c.server.URL(), nats.MaxReconnects(-1), nats.ReconnectWait(20*time.Millisecond), nats.ClosedHandler(func(*nats.Conn) { close(closed) }))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.nc.Close(); <-closed })
	if c.js, err = jetstream.New(c.nc); err != nil {
		t.Fatal(err)
	}
	c.process = start(t, base(append([]string{"ROUTES_FILE=" + filepath.Join(c.mount, "routes.yaml"), "NATS_URL=" + c.server.URL(),
		"ROUTES_RELOAD=20ms", "ROUTES_SPREAD=0s", "ADMIN_PPROF=true", "NATS_RECONNECT_WAIT=20ms", "NATS_RECONNECT_JITTER=1ms"}, more...)...))
	c.listening().ready()
}

func (c *configured) stream(name string, subjects ...string) {
	c.t.Helper()
	if _, err := c.js.CreateStream(c.t.Context(), jetstream.StreamConfig{Name: name, Subjects: subjects, AllowDirect: true}); err != nil {
		c.t.Fatal(err)
	}
}

// swap puts another version in place as the kubelet does: a new directory, and a rename of the link ..data, through which routes.yaml is a
// link. The files of all versions have the same time and, where the routes allow it, the same size.
func (c *configured) swap(routes ...string) {
	c.t.Helper()
	c.swapText("version: 1\nroutes:\n" + strings.Join(routes, ""))
}

func (c *configured) swapText(text string) {
	c.t.Helper()
	c.version++
	dir := filepath.Join(c.mount, fmt.Sprintf("..v%d", c.version))
	file, link := filepath.Join(dir, "routes.yaml"), filepath.Join(c.mount, "..tmp")
	stamp := time.Unix(1_700_000_000, 0)
	for _, err := range []error{os.Mkdir(dir, 0o700), os.WriteFile(file, []byte(text), 0o600), os.Chtimes(file, stamp, stamp),
		os.Symlink(filepath.Base(dir), link), os.Rename(link, filepath.Join(c.mount, "..data"))} {
		if err != nil {
			c.t.Fatal(err)
		}
	}
	if c.version == 1 {
		if err := os.Symlink(filepath.Join("..data", "routes.yaml"), filepath.Join(c.mount, "routes.yaml")); err != nil {
			c.t.Fatal(err)
		}
		return
	}
	_ = os.RemoveAll(filepath.Join(c.mount, fmt.Sprintf("..v%d", c.version-1)))
}

// metric is a line of /metrics, without its name.
func (c *configured) metric(series string) string {
	c.t.Helper()
	_, text := c.get(c.admin + "/metrics")
	for line := range strings.Lines(text) {
		if rest, ok := strings.CutPrefix(line, series+" "); ok {
			return strings.TrimSpace(rest)
		}
	}
	return ""
}

// reloads waits until so many have been taken or refused.
func (c *configured) reloads(result string, n int) {
	c.t.Helper()
	c.until(fmt.Sprintf("%d reloads %s", n, result), func() bool {
		return c.metric(`headgate_reload_total{result="`+result+`"}`) == fmt.Sprint(n)
	})
}

func (c *configured) publish(subject, data string) {
	c.t.Helper()
	if err := c.nc.Publish(subject, []byte(data)); err != nil {
		c.t.Fatal(err)
	}
	if err := c.nc.Flush(); err != nil {
		c.t.Fatal(err)
	}
}

func TestReload_ASwappedConfigMapIsTakenWithoutABreak(t *testing.T) {
	c := startConfigured(t, []string{core("a"), core("b")})
	a, b := c.open("/a"), c.open("/b")
	hash := c.metric("headgate_config_hash")
	if hash == "" || c.metric("headgate_reload_last_successful") != "1" {
		t.Errorf("hash %q", hash)
	}
	c.swap(core("a"), core("c"))
	c.reloads("taken", 1)
	c.until("the log says what", func() bool { return strings.Contains(c.stderr.String(), `"added":["c"],"changed":[],"removed":["b"]`) })
	if e := b.next("$end"); e.Data != `{"reason":"route-removed","reconnect":false}` {
		t.Error(e.Data)
	}
	if status, _ := c.get(c.public + "/b"); status != http.StatusNotFound {
		t.Errorf("a route that is gone answers %d", status)
	}
	cc := c.open("/c")
	c.publish("a.x", "1")
	c.publish("c.x", "2")
	if e := a.next("message"); e.Data != "1" {
		t.Error(e.Data)
	}
	if e := cc.next("message"); e.Data != "2" {
		t.Error(e.Data)
	}
	if now := c.metric("headgate_config_hash"); now == hash {
		t.Error("the hash is the same")
	}
	c.until("the series of the old route are gone", func() bool { return c.metric(`headgate_streams{route="b"}`) == "" })
	c.swap(core("a"), core("b"))
	c.reloads("taken", 2)
	if now := c.metric("headgate_config_hash"); now != hash {
		t.Errorf("the same routes have the hash %s and %s", hash, now)
	}
}

func TestReload_WhatDoesNotPassTheCheckIsRefusedAndSaidSo(t *testing.T) {
	c := startConfigured(t, []string{core("a")})
	a := c.open("/a")
	bad := []struct{ text, says string }{
		{"version: 1\nroutes:\n" + core("a") + route("b", `type: core, subjekt: "b.x"`), "subjekt"},
		{"version: 1\nroutes:\n" + core("a") + core("a"), "another route is called a"},
		{"version: 1\nroutes: []\n", "no routes"},
		{"\x00", ""},
		{"version: 1\nroutes:\n" + route("s", `type: core, subject: "*.x"`), "first token"},
	}
	for i, b := range bad {
		c.swapText(b.text)
		c.reloads("refused", i+1)
		_, text := c.get(c.admin + "/readyz")
		if !strings.Contains(text, "was refused") || !strings.Contains(text, b.says) {
			t.Errorf("readiness does not say why: %s", text)
		}
		if !strings.Contains(c.stderr.String(), "the old ones stay") || !strings.Contains(c.stderr.String(), b.says) {
			t.Errorf("the log does not say why:\n%s", c.stderr)
		}
		if status, _ := c.get(c.admin + "/readyz"); status != http.StatusOK {
			t.Errorf("readiness %d", status)
		}
		c.publish("a.x", fmt.Sprint(i))
		if e := a.next("message"); e.Data != fmt.Sprint(i) {
			t.Error(e.Data)
		}
		c.open("/a").close()
	}
	if c.metric("headgate_reload_last_successful") != "0" {
		t.Error("the metric says that all is well")
	}
	if err := os.Remove(filepath.Join(c.mount, "..data")); err != nil {
		t.Fatal(err)
	}
	c.reloads("refused", len(bad)+1)
	c.swap(core("a"))
	c.until("it says again what is in use", func() bool { return c.metric("headgate_reload_last_successful") == "1" })
	if _, text := c.get(c.admin + "/readyz"); strings.Contains(text, "was refused") {
		t.Error(text)
	}
	if got := c.metric(`headgate_reload_total{result="taken"}`); got != "0" {
		t.Errorf("%s taken", got)
	}
}

// SIGHUP is how other servers are told, and the only way with ROUTES_RELOAD=0. Without a routes file it ends the process as before.
func TestReload_AtSIGHUP(t *testing.T) {
	c := startConfigured(t, []string{core("a")}, "ROUTES_RELOAD=0s")
	a := c.open("/a")
	c.signals <- syscall.SIGHUP
	c.until("it has looked", func() bool { return strings.Contains(c.stderr.String(), "has not changed") })
	c.swap(core("a"), core("b"))
	c.signals <- syscall.SIGHUP
	c.reloads("taken", 1)
	c.open("/b")
	c.publish("a.x", "1")
	a.next("message")

	p := start(t, base("SUBJECTS_ALLOW=feed.>", "AUTH_MODE=none", "NATS_URL="+c.server.URL())).listening()
	p.signals <- syscall.SIGHUP
	if code := p.wait(); code != exitOK {
		t.Errorf("exit code %d", code)
	}
}

func TestReload_WhileDrainingNothingIsTaken(t *testing.T) {
	c := startConfigured(t, []string{core("a")}, "SHUTDOWN_DRAIN=1s")
	for range 5 {
		c.open("/a")
	}
	last := c.open("/a")
	c.signals <- syscall.SIGTERM
	c.until("it drains", func() bool { status, _ := c.get(c.admin + "/readyz"); return status == http.StatusServiceUnavailable })
	c.swap(core("b"))
	c.signals <- syscall.SIGHUP // not a second signal that stops at once
	if e := last.next("$end"); !strings.Contains(e.Data, "draining") {
		t.Error(e.Data)
	}
	if code := c.wait(); code != exitOK {
		t.Errorf("exit code %d", code)
	}
	for _, never := range []string{"read again", "stopping at once"} {
		if strings.Contains(c.stderr.String(), never) {
			t.Errorf("the log says %q:\n%s", never, c.stderr)
		}
	}
}

func TestReload_StreamsAreReadBeforeTheirRoutesGetRequestsAndNoLongerThanNeeded(t *testing.T) {
	c := startConfigured(t, []string{core("a")})
	c.stream("ORDERS", "orders.>")
	c.stream("JOBS", "jobs.>")
	for i := range 50 {
		for _, s := range []string{"orders.eu", "orders.us", "jobs.1"} {
			if _, err := c.js.Publish(t.Context(), s, []byte(fmt.Sprint(i))); err != nil {
				t.Fatal(err)
			}
		}
	}
	if got := c.metric(`headgate_nats_connected{connection="feed"}`); got != "" {
		t.Errorf("a connection for streams that no route has: %q", got)
	}
	c.swap(core("a"), onStream("eu", "ORDERS", "orders.eu"))
	c.reloads("taken", 1)
	eu := c.open("/eu?since=1h")
	eu.wantFrom(0, 50)

	// Another route reads more of the stream; who reads already notices nothing, and the new one has everything.
	c.swap(core("a"), onStream("eu", "ORDERS", "orders.eu"), onStream("us", "ORDERS", "orders.us"), onStream("jobs", "JOBS", "jobs.>"))
	c.reloads("taken", 2)
	us, jobs := c.open("/us?since=1h"), c.open("/jobs?since=1h")
	us.wantFrom(0, 50)
	jobs.wantFrom(0, 50)
	for i := 50; i < 60; i++ {
		for _, s := range []string{"orders.eu", "orders.us", "jobs.1"} {
			if _, err := c.js.Publish(t.Context(), s, []byte(fmt.Sprint(i))); err != nil {
				t.Fatal(err)
			}
		}
	}
	for _, s := range []*stream{eu, us, jobs} {
		s.wantFrom(50, 60)
	}
	if n := c.consumers("ORDERS") + c.consumers("JOBS"); n != 2 {
		t.Errorf("%d consumers for two streams", n)
	}

	c.swap(core("a"), onStream("eu", "ORDERS", "orders.eu"))
	c.reloads("taken", 3)
	us.next("$end")
	jobs.next("$end")
	c.until("the stream without a route is not read any more", func() bool { return c.consumers("JOBS") == 0 })
	c.until("its series are gone", func() bool { return c.metric(`headgate_feed_messages_total{stream="JOBS"}`) == "" })
	if _, err := c.js.Publish(t.Context(), "orders.eu", []byte("60")); err != nil {
		t.Fatal(err)
	}
	eu.wantFrom(60, 61)
	c.swap(core("a"))
	c.reloads("taken", 4)
	c.until("nothing is read", func() bool { return c.consumers("ORDERS") == 0 })
}

// wantFrom reads numbered messages.
func (s *stream) wantFrom(from, to int) {
	s.t.Helper()
	for i := from; i < to; i++ {
		if e := s.next("message"); e.Data != fmt.Sprint(i) {
			s.t.Fatalf("%s, want %d", e.Data, i)
		}
	}
}

// consumers are those that a stream has.
func (c *configured) consumers(stream string) int {
	c.t.Helper()
	s, err := c.js.Stream(c.t.Context(), stream)
	if err != nil {
		c.t.Fatal(err)
	}
	return s.CachedInfo().State.Consumers
}

// While NATS is away the new routes wait for their stream, but not for ever; then they are as after a start without NATS.
func TestReload_WithoutNATSARouteWithAStreamIsTakenAllTheSame(t *testing.T) {
	c := startConfigured(t, []string{core("a")}, "JETSTREAM_PREFILL_TIMEOUT=300ms", "NATS_CONFIRM_TIMEOUT=200ms")
	c.stream("ORDERS", "orders.>")
	a := c.open("/a")
	c.server.Stop()
	c.swap(core("a"), onStream("eu", "ORDERS", "orders.eu"))
	c.reloads("taken", 1)
	if !strings.Contains(c.stderr.String(), "before their streams could be read") {
		t.Errorf("not said:\n%s", c.stderr)
	}
	if status, _ := c.get(c.public + "/eu"); status != http.StatusServiceUnavailable {
		t.Errorf("without NATS the new route answers %d", status)
	}
	if err := c.server.Restart(); err != nil {
		t.Fatal(err)
	}
	c.until("NATS is back", func() bool { return c.metric(`headgate_nats_connected{connection="feed"}`) == "1" })
	c.until("the stream is read", func() bool { return c.consumers("ORDERS") == 1 })
	eu := c.open("/eu")
	if _, err := c.js.Publish(t.Context(), "orders.eu", []byte("0")); err != nil {
		t.Fatal(err)
	}
	eu.wantFrom(0, 1)
	a.next("$gap") // its connection, which is another one, is back as well
	c.publish("a.x", "still here")
	if e := a.next("message"); e.Data != "still here" {
		t.Error(e.Data)
	}
}
