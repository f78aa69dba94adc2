package e2e_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"headgate/e2e/internal/stack"
)

func TestNATSRestart_KeepsAThousandStreamsOpenAndTellsEachOnce(t *testing.T) {
	g := start(t, "NATS_RECONNECT_WAIT", "200ms", "NATS_RECONNECT_JITTER", "100ms", "SSE_HEARTBEAT", "2s")
	c := gather(t, g.URL+"/v1/prices/ACME", 1000)
	ctx, cancel := stack.Deadline(t, time.Minute)
	defer cancel()
	g.publish(t, "prices.ACME", "before")
	for _, m := range c.members {
		must(t, m.wait(ctx, "price", "before"))
	}

	g.nats.Kill()
	must(t, stack.Poll(ctx, func() error { return connected(t, g.Headgate, false) }))
	g.nats.Start(t)
	must(t, stack.Poll(ctx, func() error { return connected(t, g.Headgate, true) }))
	must(t, c.members[0].wait(ctx, "$gap", "")) // the subscription is back
	must(t, stack.Poll(ctx, g.pub.Flush))
	g.publish(t, "prices.ACME", "after")

	for i, m := range c.members {
		must(t, m.wait(ctx, "price", "after"))
		blocks, ended := m.all()
		if !ended.IsZero() {
			t.Fatalf("stream %d ended", i)
		}
		var order []string
		for _, b := range blocks {
			if b.HasData() {
				order = append(order, b.Event())
			}
		}
		if got := strings.Join(order, " "); got != "price $gap price" {
			t.Fatalf("stream %d saw %s", i, got)
		}
		gap := ofType(blocks, "$gap")[0]
		var says struct {
			Reason, Source, Next string
			Certain              bool
		}
		must(t, json.Unmarshal([]byte(gap.Data()), &says))
		if says.Reason != "reconnect" || says.Source != "prices" || says.Next != "live" || gap.ID() == "" {
			t.Fatalf("stream %d: $gap is %s", i, gap)
		}
	}
}

// connected looks whether every connection to NATS is there, or none.
func connected(t *testing.T, h *stack.Headgate, want bool) error {
	all, err := h.Metric(t.Context(), "headgate_nats_connected")
	if err != nil {
		return err
	}
	if (all > 0) != want {
		return fmt.Errorf("headgate_nats_connected is %v", all)
	}
	return nil
}

func TestNATSAway_KeepsStreamsAliveByHeartbeats(t *testing.T) {
	t.Parallel()
	g := start(t, "SSE_HEARTBEAT", "1s")
	s := open(t, g.URL+"/v1/prices/ACME")
	g.nats.Kill()
	for range 2 { // heartbeats go on: comments or ids, whatever the position says
		if b := next(t, s); b.HasData() {
			t.Fatalf("with NATS away came %s", b)
		}
	}
	if status, text, err := g.Admin(t.Context(), "/readyz"); err != nil || status != 200 {
		t.Errorf("readiness does not tolerate a short outage: %d %s %v", status, text, err)
	}
	if status, _, err := g.Admin(t.Context(), "/livez"); err != nil || status != 200 {
		t.Errorf("liveness depends on NATS: %d %v", status, err)
	}
}

func TestNATSPermissions_RefuseTheStreamAndNotTheProcess(t *testing.T) {
	t.Parallel()
	server := stack.StartNATS(t, `
authorization { users: [
  {user: gate, password: pass, permissions: {publish: {deny: ["rooms.>"]}, subscribe: {deny: ["prices.SECRET"]}}}
  {user: pub, password: pass}
] }`)
	h := stack.StartHeadgate(t, stack.Options{NATS: server.URL(), Routes: routesFor("https://app.example"),
		Env: map[string]string{"NATS_USER": "gate", "NATS_PASSWORD": "pass", "SSE_OVERLOAD_RETRY": "100ms", "SSE_OVERLOAD_JITTER": "10ms"}})
	s := openRaw(t, h.URL+"/v1/prices/SECRET")
	if b := until(t, s, "$ready", "$end"); b.Event() != "$end" || !strings.Contains(b.Data(), `"source"`) {
		t.Errorf("a refused subscription answered %s", b)
	}
	open(t, h.URL+"/v1/prices/ACME")
	status, body := send(t, http.DefaultClient, http.MethodPost, h.URL+"/v1/rooms/a", "x")
	if status != http.StatusServiceUnavailable || !strings.Contains(body, "problem:publish-refused") || strings.Contains(body, "rooms.") {
		t.Errorf("a refused publish answered %d %s", status, body)
	}
	shows(t, h.Process, `publish to \\"rooms\.a\\": NATS does not permit it`)
	if strings.Contains(h.Output(), "pass\"") {
		t.Error("the log shows the password")
	}
}
