package bridge

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"headgate/internal/devnats"
	"headgate/internal/flow"
)

// The pitfalls of core subjects; 8 is in loss_test.go, those of streams are in package gateway.

// A refused subscription does not end the flush that is to confirm it, and a wildcard is refused by a list that allows what it matches.
// Both fail the Open, and nobody else's.
func TestPitfall07_RefusedSubscriptionsFailTheirOpenAlone(t *testing.T) {
	s := startNATS(t, devnats.Options{Configure: userWith([]string{"open.a", "open.b.*"}, []string{"open.>"})})
	cfg := testNATS(s.URL())
	cfg.User, cfg.Password = "gate", "s3cret-pass"
	r := connectedBridge(t, cfg, 0)
	sink, _, _ := r.follow(request("", "open.a"))
	for _, refused := range []string{"open.>", "open.*", "closed"} {
		if _, err := r.Open(t.Context(), request("", refused)); !errors.Is(err, flow.ErrRefused) {
			t.Errorf("%s: %v", refused, err)
		}
	}
	both, _, _ := r.follow(request("", "open.a", "open.b.*"))
	nc := publisherOf(t, s.URL(), nats.UserInfo("admin", "admin"))
	publish(t, nc, "open.a", "x")
	sink.waitFor(t, "x")
	both.waitFor(t, "x")
}

// One subject is followed and let go over and over: it keeps its subscription and its connection, and nobody misses what comes between.
func TestPitfall09_ChurnOnOneSubject(t *testing.T) {
	s := startNATS(t, devnats.Options{})
	cfg := testNATS(s.URL())
	cfg.DataConnections, cfg.TopicLinger = 3, time.Minute
	r := connectedBridge(t, cfg, 0)
	nc := publisherOf(t, s.URL())
	_, src, pos := r.follow(request("", "a.b"))
	id := pos.String()
	src.Close()
	subscriptions := s.NATS().NumSubscriptions()
	for n := range 200 {
		publish(t, nc, "a.b", fmt.Sprint(n))
		var start flow.Start
		var got []string
		eventually(t, "the message", func() bool {
			start, got, src = r.resumed(request(id, "a.b"))
			if len(got) == 0 {
				src.Close()
			}
			return len(got) > 0
		})
		if start != flow.Replay || got[len(got)-1] != fmt.Sprint(n) {
			t.Fatalf("round %d: %s %q", n, start, got)
		}
		p := src.(interface{ Entries() int })
		if p.Entries() != 1 {
			t.Fatalf("%d connections", p.Entries())
		}
		next := append(pos[:0:0], pos...)
		src.Progress(next)
		id = next.String()
		src.Close()
	}
	if n := s.NATS().NumSubscriptions(); n != subscriptions {
		t.Errorf("%d subscriptions, at first %d", n, subscriptions)
	}
}
