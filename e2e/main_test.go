// Package e2e_test runs the real headgate against real parts: nats-server, Chromium, other SSE clients, curl, proxies. What the
// wire must look like stands in docs/protocol.md.
package e2e_test

import (
	"context"
	"fmt"
	"os"
	"testing"
	"time"

	"headgate/e2e/internal/browser"
	"headgate/e2e/internal/stack"
	"headgate/e2e/internal/stream"

	"github.com/nats-io/nats.go"
)

const brief = 20 * time.Second // for one thing that happens within milliseconds on an idle machine

// TestMain runs the tests one after the other that load the machine, open streams by the hundred or measure how long something takes; the
// others, which wait most of the time, call t.Parallel.
func TestMain(m *testing.M) {
	cleanup, err := stack.Setup()
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	code := m.Run()
	browser.Close()
	cleanup()
	os.Exit(code)
}

// routes are the routes of most tests. ORIGIN is the page's.
const routes = `
version: 1
defaults: {cors: {origins: ["ORIGIN"]}}
routes:
  - name: prices
    path: /v1/prices/{symbol}
    source: {type: core, subject: "prices.{symbol}"}
    event: {type: price}
    params: {symbol: {pattern: "[A-Z]{1,6}"}}
  - name: feed
    path: /v1/feed
    source: {type: core, allow: ["feed.>"]}
  - name: typed
    path: /v1/typed/{user}
    source: {type: core, subject: "users.{user}.notify.*"}
    event: {type: "{subject[3]}"}
  - name: room
    path: /v1/rooms/{room}
    source: {type: core, subject: "rooms.{room}"}
    publish: {subject: "rooms.{room}", max_bytes: 1KiB}
    auth: {required: false}
`

// gate is headgate with NATS behind it, and a publisher.
type gate struct {
	*stack.Headgate
	nats *stack.NATS
	pub  *nats.Conn
}

// start starts both with routes and more environment, given as alternating names and values.
func start(t *testing.T, env ...string) *gate {
	t.Helper()
	return startWith(t, stack.Options{Routes: routesFor("https://app.example")}, env...)
}

func startWith(t *testing.T, o stack.Options, env ...string) *gate {
	t.Helper()
	g := &gate{nats: stack.StartNATS(t, "")}
	o.NATS = g.nats.URL()
	o.Env = pairs(env)
	g.Headgate = stack.StartHeadgate(t, o)
	g.pub = g.nats.Connect(t)
	return g
}

func pairs(list []string) map[string]string {
	out := map[string]string{}
	for i := 0; i+1 < len(list); i += 2 {
		out[list[i]] = list[i+1]
	}
	return out
}

// publish publishes and waits until the server has it.
func (g *gate) publish(t *testing.T, subject, data string, header ...string) {
	t.Helper()
	m := nats.NewMsg(subject)
	m.Data = []byte(data)
	for i := 0; i+1 < len(header); i += 2 {
		m.Header.Set(header[i], header[i+1])
	}
	if err := g.pub.PublishMsg(m); err != nil {
		t.Fatalf("publish to %s: %v", subject, err)
	}
	if err := g.pub.FlushTimeout(brief); err != nil {
		t.Fatalf("publish to %s: %v", subject, err)
	}
}

// open opens a stream for the length of the test and waits for its $ready.
func open(t *testing.T, url string, header ...string) *stream.Stream {
	t.Helper()
	s := openRaw(t, url, header...)
	until(t, s, "$ready")
	return s
}

// openRaw opens a stream for the length of the test.
func openRaw(t *testing.T, url string, header ...string) *stream.Stream {
	t.Helper()
	s, err := stream.Open(t.Context(), url, header...)
	if err != nil {
		t.Fatalf("open %s: %v", url, err)
	}
	t.Cleanup(s.Close)
	return s
}

// until returns the next event of one of types.
func until(t *testing.T, s *stream.Stream, types ...string) stream.Block {
	t.Helper()
	ctx, cancel := soon(t)
	defer cancel()
	b, err := s.Until(ctx, types...)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// next returns the next block.
func next(t *testing.T, s *stream.Stream) stream.Block {
	t.Helper()
	ctx, cancel := soon(t)
	defer cancel()
	b, err := s.Next(ctx)
	if err != nil {
		t.Fatalf("next block: %v", err)
	}
	return b
}

func soon(t *testing.T) (context.Context, context.CancelFunc) { return stack.Deadline(t, brief) }

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
