//go:build !nodev

package main

import (
	"encoding/json"
	"net"
	"net/http"
	"strings"
	"syscall"
	"testing"
	"time"

	"headgate/internal/devnats"
)

func TestServe_WithoutNATSItLivesIsNotReadyAndBecomesSo(t *testing.T) {
	nats, err := devnats.Start(devnats.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer nats.Shutdown()
	nats.Stop()
	p := start(t, base("AUTH_MODE=none", "SUBJECTS_ALLOW=feed.>", "NATS_URL="+nats.URL(), "NATS_RECONNECT_WAIT=20ms", "NATS_RECONNECT_JITTER=10ms")).listening()
	if status, _ := p.get(p.admin + "/livez"); status != http.StatusOK {
		t.Errorf("livez: %d", status)
	}
	if status, body := p.get(p.admin + "/readyz"); status != http.StatusServiceUnavailable || !strings.Contains(body, "nats") {
		t.Errorf("readyz: %d %s", status, body)
	}
	// Descriptions need no NATS, and are for operators: nothing of them is on the public side.
	for path, word := range map[string]string{"/openapi.json": `"stream_events"`, "/schema/routes.json": `"heartbeat"`} {
		if status, body := p.get(p.admin + path); status != http.StatusOK || !strings.Contains(body, word) {
			t.Errorf("%s: %d %s", path, status, body)
		}
		if status, _ := p.get(p.public + path); status != http.StatusNotFound {
			t.Errorf("%s is public: %d", path, status)
		}
	}
	if err := nats.Restart(); err != nil {
		t.Fatal(err)
	}
	p.ready()
	if status, body := p.get(p.admin + "/metrics"); status != http.StatusOK || !strings.Contains(body, "headgate_") || !strings.Contains(body, "go_goroutines") {
		t.Errorf("metrics: %d", status)
	}
	if status, _ := p.get(p.public + "/console/"); status != http.StatusNotFound {
		t.Errorf("the console is served unasked: %d", status)
	}
}

func TestSignal_TheFirstDrainsAndEveryStreamIsToldSo(t *testing.T) {
	p := start(t, base(), "-dev").listening()
	p.ready()
	streams := []*stream{p.open("/v1/broadcast"), p.open("/v1/broadcast"), p.open("/v1/prices/HOOLI")}
	p.signals <- syscall.SIGTERM
	for _, s := range streams {
		if e := s.next("$end"); e.Data != `{"reason":"draining","reconnect":true}` {
			t.Errorf("%+v", e)
		}
	}
	if code := p.wait(); code != exitOK {
		t.Errorf("exit code %d\n%s", code, p.stderr)
	}
	if _, err := net.DialTimeout("tcp", strings.TrimPrefix(p.public, "http://"), time.Second); err == nil {
		t.Error("the listener is still open")
	}
}

func TestListen_EveryAddressServesAndIsDrained(t *testing.T) {
	p := start(t, base("HTTP_MORE_ADDRS=127.0.0.1:0,localhost:0"), "-dev").listening()
	p.ready()
	var entry struct{ More []string }
	for line := range strings.Lines(p.stderr.String()) {
		if strings.Contains(line, "headgate is listening") {
			_ = json.Unmarshal([]byte(line), &entry)
		}
	}
	if len(entry.More) != 2 {
		t.Fatalf("listening on %v besides %s", entry.More, p.public)
	}
	streams := []*stream{p.open("/v1/broadcast")}
	for _, addr := range entry.More {
		p.public = "http://" + addr
		streams = append(streams, p.open("/v1/broadcast"))
	}
	p.signals <- syscall.SIGTERM
	for _, s := range streams {
		if e := s.next("$end"); e.Data != `{"reason":"draining","reconnect":true}` {
			t.Errorf("%+v", e)
		}
	}
	if code := p.wait(); code != exitOK {
		t.Errorf("exit code %d\n%s", code, p.stderr)
	}
	for _, addr := range entry.More {
		if c, err := net.DialTimeout("tcp", addr, time.Second); err == nil {
			_ = c.Close()
			t.Errorf("%s is still open", addr)
		}
	}
}

func TestSignal_TheSecondStopsAtOnce(t *testing.T) {
	p := start(t, base("SHUTDOWN_DRAIN=10m", "SHUTDOWN_TIMEOUT=11m"), "-dev").listening()
	p.ready()
	s := p.open("/v1/broadcast")
	defer s.close()
	p.signals <- syscall.SIGTERM
	p.until("readiness fails while it drains", func() bool { status, _ := p.get(p.admin + "/readyz"); return status == http.StatusServiceUnavailable })
	p.signals <- syscall.SIGINT
	if code := p.wait(); code != exitOK {
		t.Errorf("exit code %d\n%s", code, p.stderr)
	}
}

func TestSignal_NoDrainLastsLongerThanItsTimeout(t *testing.T) {
	p := start(t, base("SHUTDOWN_DRAIN=10ms", "SHUTDOWN_TIMEOUT=20ms"), "-dev").listening()
	p.ready()
	p.open("/v1/broadcast")
	p.signals <- syscall.SIGTERM
	if code := p.wait(); code != exitOK {
		t.Errorf("exit code %d\n%s", code, p.stderr)
	}
}
