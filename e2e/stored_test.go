package e2e_test

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"headgate/e2e/internal/stack"
)

// storedRoutes are routes whose events NATS keeps. ORIGIN is the page's.
const storedRoutes = `
version: 1
defaults: {cors: {origins: ["ORIGIN"]}}
routes:
  - name: orders
    path: /v1/orders/{region}
    source: {type: stream, stream: ORDERS, subject: "orders.{region}.>"}
    event: {type: order}
  - name: all
    path: /v1/orders
    source: {type: stream, stream: ORDERS, subject: "orders.>"}
    event: {type: order}
  - name: flags
    path: /v1/flags/{env}
    source: {type: kv, bucket: FLAGS, key: "{env}.>"}
    data: json
  - name: job
    path: /v1/jobs/{id}
    source: {type: stream, stream: JOBS, subject: "jobs.{id}"}
    event: {type: progress}
    snapshot: last
    end: {when: {field: status, in: [done, failed]}}
`

// kills is how often a test ends headgate as a crash would.
const kills = 3

// stored is NATS with what storedRoutes read.
type stored struct {
	nats  *stack.NATS
	js    jetstream.JetStream
	flags jetstream.KeyValue
}

func newStored(t *testing.T) *stored {
	t.Helper()
	s := &stored{nats: stack.StartNATS(t, "")}
	js, err := jetstream.New(s.nats.Connect(t))
	must(t, err)
	s.js = js
	ctx, cancel := soon(t)
	defer cancel()
	for name, subject := range map[string]string{"ORDERS": "orders.>", "JOBS": "jobs.>"} {
		_, err := js.CreateStream(ctx, jetstream.StreamConfig{Name: name, Subjects: []string{subject}, AllowDirect: true})
		must(t, err)
	}
	s.flags, err = js.CreateKeyValue(ctx, jetstream.KeyValueConfig{Bucket: "FLAGS"})
	must(t, err)
	return s
}

// gate starts a headgate for pages of origin, with more environment given as alternating names and values.
func (s *stored) gate(t *testing.T, origin string, env ...string) *stack.Headgate {
	t.Helper()
	return s.gateWith(t, stack.Options{}, origin, env...)
}

func (s *stored) gateWith(t *testing.T, o stack.Options, origin string, env ...string) *stack.Headgate {
	t.Helper()
	more := pairs(append([]string{"SSE_RETRY", "100ms", "SSE_RETRY_JITTER", "50ms", "SSE_OVERLOAD_RETRY", "100ms",
		"SSE_OVERLOAD_JITTER", "50ms", "SSE_HEARTBEAT", "1s"}, env...))
	o.NATS, o.Routes, o.Env = s.nats.URL(), strings.ReplaceAll(storedRoutes, "ORIGIN", origin), more
	return stack.StartHeadgate(t, o)
}

// order stores one order of a region.
func (s *stored) order(t *testing.T, region, data string) {
	t.Helper()
	ctx, cancel := soon(t)
	defer cancel()
	_, err := s.js.Publish(ctx, "orders."+region+".new", []byte(data))
	must(t, err)
}

// shop stores orders 1, 2, … of eu, and others between them, until it is told to stop, and says the last number then.
func (s *stored) shop(t *testing.T) (stop func() (last int)) {
	ctx, cancel := context.WithCancel(t.Context())
	last := 0
	var wg sync.WaitGroup
	wg.Go(func() {
		pause := time.NewTicker(2 * time.Millisecond)
		defer pause.Stop()
		for n := 1; ctx.Err() == nil; n++ {
			for _, m := range []struct{ subject, data string }{
				{"orders.us.new", "of another region"}, {fmt.Sprintf("orders.eu.%c", 'a'+n%3), strconv.Itoa(n)},
			} {
				if _, err := s.js.Publish(t.Context(), m.subject, []byte(m.data)); err != nil {
					if t.Context().Err() == nil {
						t.Errorf("order %d: %v", n, err)
					}
					return
				}
			}
			last = n
			<-pause.C
		}
	})
	stop = func() int {
		cancel()
		wg.Wait()
		return last
	}
	t.Cleanup(func() { stop() })
	return stop
}

func (s *stored) put(t *testing.T, key, value string) {
	t.Helper()
	ctx, cancel := soon(t)
	defer cancel()
	_, err := s.flags.PutString(ctx, key, value)
	must(t, err)
}
