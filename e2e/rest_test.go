package e2e_test

import (
	"fmt"
	"testing"
	"time"

	"headgate/e2e/internal/stack"
)

// gaugesAtRest are zero when no client is there any more. Topics linger: tests that look at them shorten NATS_TOPIC_LINGER.
var gaugesAtRest = []string{"headgate_delivery_streams", "headgate_delivery_groups", "headgate_streams", "headgate_nats_topics"}

// quickLinger lets topics go soon after their last client.
var quickLinger = []string{"NATS_TOPIC_LINGER", "200ms"}

// rest is what a process holds when nothing happens.
type rest struct{ goroutines, fds int }

// measure counts what h holds now.
func measure(t *testing.T, h *stack.Headgate) rest {
	t.Helper()
	ctx, cancel := soon(t)
	defer cancel()
	goroutines, err := h.Goroutines(ctx)
	must(t, err)
	fds, err := h.FDs()
	must(t, err)
	return rest{goroutines, fds}
}

// atRest waits until h has no stream, group or topic any more and, where before is given, holds no more goroutines and descriptors
// than then.
func atRest(t *testing.T, h *stack.Headgate, before rest) {
	t.Helper()
	const slack = 4 // the connection that asks, and the probes of the parts behind it
	ctx, cancel := stack.Deadline(t, 30*time.Second)
	defer cancel()
	for _, name := range gaugesAtRest { // a name that has changed would look like a leak
		_, err := h.Metric(ctx, name)
		must(t, err)
	}
	err := stack.Poll(ctx, func() error {
		for _, name := range gaugesAtRest {
			if name == "headgate_nats_topics" && before == (rest{}) {
				continue
			}
			v, err := h.Metric(ctx, name)
			if err != nil {
				return err
			}
			if v != 0 {
				return fmt.Errorf("%s is %v", name, v)
			}
		}
		if before == (rest{}) {
			return nil
		}
		now := measure(t, h)
		if now.goroutines > before.goroutines+slack || now.fds > before.fds+slack {
			return fmt.Errorf("%d goroutines and %d descriptors, before %d and %d", now.goroutines, now.fds, before.goroutines, before.fds)
		}
		return nil
	})
	if err != nil {
		_, profile, _ := h.Admin(t.Context(), "/debug/pprof/goroutine?debug=1")
		t.Fatalf("something is left: %v\n%.3000s", err, profile)
	}
}
