package e2e_test

import (
	"bufio"
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"headgate/e2e/internal/need"
	"headgate/e2e/internal/proc"
	"headgate/e2e/internal/stack"
)

// elsewhere is another host: a network namespace with a cable to us.
type elsewhere struct {
	t     *testing.T
	name  string // of the namespace
	here  string // our address on the cable
	cable string // its end there
}

// newElsewhere needs root.
func newElsewhere(t *testing.T) *elsewhere {
	t.Helper()
	need.Program(t, "iproute2", "ip")
	need.Program(t, "curl", "curl")
	n := rand.IntN(1 << 14)
	e := &elsewhere{t: t, name: fmt.Sprintf("headgate-%d", n), cable: fmt.Sprintf("hgb%d", n)}
	near := fmt.Sprintf("hga%d", n)
	net := func(host int) string { return fmt.Sprintf("198.18.%d.%d", n/64, n%64*4+host) } // RFC 2544: for tests
	e.here = net(1)
	if out, err := exec.Command("ip", "netns", "add", e.name).CombinedOutput(); err != nil {
		need.Missing(t, "the right to make network namespaces", "run as root: "+strings.TrimSpace(string(out)))
	}
	t.Cleanup(func() { _ = exec.Command("ip", "netns", "del", e.name).Run() }) // the cable goes with it
	e.ip("link", "add", near, "type", "veth", "peer", "name", e.cable, "netns", e.name)
	t.Cleanup(func() { _ = exec.Command("ip", "link", "del", near).Run() })
	e.ip("addr", "add", e.here+"/30", "dev", near)
	e.ip("link", "set", near, "up")
	e.ip("-n", e.name, "addr", "add", net(2)+"/30", "dev", e.cable)
	e.ip("-n", e.name, "link", "set", e.cable, "up")
	return e
}

func (e *elsewhere) ip(args ...string) {
	e.t.Helper()
	if out, err := exec.Command("ip", args...).CombinedOutput(); err != nil {
		e.t.Fatalf("ip %s: %v: %s", strings.Join(args, " "), err, out)
	}
}

// open opens a stream from there.
func (e *elsewhere) open(args ...string) {
	e.t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	cmd := exec.CommandContext(ctx, "ip", append([]string{"netns", "exec", e.name, "curl", "-sNk"}, args...)...)
	out, err := cmd.StdoutPipe()
	must(e.t, err)
	must(e.t, cmd.Start())
	e.t.Cleanup(func() { cancel(); _ = cmd.Wait() })
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		if lines.Text() == "event: $ready" {
			return
		}
	}
	e.t.Fatalf("curl %s: no stream", strings.Join(args, " "))
}

// vanish pulls the cable out: no packet comes or goes any more, and nobody says so.
func (e *elsewhere) vanish() { e.ip("-n", e.name, "link", "set", e.cable, "down") }

// Clients whose machine has lost power, or whose NAT has forgotten them, send neither FIN nor RST. The kernel gives them up thirty seconds
// (TCP_USER_TIMEOUT) after the first heartbeat that nobody acknowledges, on both transports, and their places are free.
func TestHardening_HalfOpenSocketsAreGivenUp(t *testing.T) {
	t.Parallel()
	if os.Getuid() != 0 {
		need.Missing(t, "root", "network namespaces need it")
	}
	e := newElsewhere(t)
	_, port, err := net.SplitHostPort(proc.FreeAddr(t))
	must(t, err)
	g := start(t, append([]string{"HTTP_MORE_ADDRS", e.here + ":" + port, "SSE_HEARTBEAT", "2s"}, quickLinger...)...)
	before := measure(t, g.Headgate)
	healthy := open(t, g.URL+"/v1/prices/ACME")
	url := "http://" + e.here + ":" + port + "/v1/prices/ACME"
	for range 3 {
		e.open("--http1.1", url)
		e.open("--http1.0", url) // through the ResponseWriter
	}
	ctx, cancel := stack.Deadline(t, 2*time.Minute)
	defer cancel()
	must(t, stack.Poll(ctx, func() error { return streams(ctx, g, 7) }))
	e.vanish()
	begun := time.Now()
	must(t, stack.Poll(ctx, func() error { return streams(ctx, g, 1) }))
	took := time.Since(begun)
	t.Logf("given up after %s", took.Round(time.Second))
	if took < 25*time.Second || took > time.Minute {
		t.Errorf("given up after %s, not about half a minute", took)
	}
	gone, err := g.Metric(ctx, "headgate_stream_ends_total", `reason="client-gone"`)
	must(t, err)
	failed, err := g.Metric(ctx, "headgate_stream_ends_total", `reason="write-error"`)
	must(t, err)
	if gone+failed != 6 {
		t.Errorf("%v ended as client-gone and %v as write-error, of 6", gone, failed)
	}
	g.publish(t, "prices.ACME", "still here")
	until(t, healthy, "price")
	healthy.Close()
	atRest(t, g.Headgate, before)
}

func TestHardening_AForeignLastEventIDNeverRefusesTheStream(t *testing.T) {
	t.Parallel()
	g := start(t)
	for name, id := range map[string]string{
		"nonsense": "nonsense", "of another gateway": "1~zzzzzz.1a", "too long": strings.Repeat("1~abcdef.1", 100),
		"future": "1~000000.zzzzzzzzzz", "bytes": "\xff\xfe", "SQL": "'; drop table", "negative": "1~abcdef.-1",
	} {
		t.Run(name, func(t *testing.T) {
			s := openRaw(t, g.URL+"/v1/prices/ACME", "Last-Event-ID", id)
			ready := until(t, s, "$ready")
			if !strings.Contains(ready.Data(), `"live"`) {
				t.Errorf("$ready says %s", ready)
			}
			gap := until(t, s, "$gap")
			if !strings.Contains(gap.Data(), `"unknown-position"`) || gap.ID() == "" {
				t.Errorf("$gap says %s", gap)
			}
			g.publish(t, "prices.ACME", name)
			until(t, s, "price")
		})
	}
}
