package bridge

import (
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
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
	_, src, _ := r.follow(request("", "a.b"))
	src.Close()
	subscriptions, at := s.NATS().NumSubscriptions(), following(t, s, "a.b")
	for n := range 300 {
		sink, src, _ := r.follow(request("", "a.b"))
		publish(t, nc, "a.b", fmt.Sprint(n))
		sink.waitFor(t, fmt.Sprint(n))
		src.Close()
	}
	if n := s.NATS().NumSubscriptions(); n != subscriptions {
		t.Errorf("%d subscriptions, at first %d", n, subscriptions)
	}
	if now := following(t, s, "a.b"); len(at) != 1 || !slices.Equal(now, at) {
		t.Errorf("followed by the connections %v, at first by %v", now, at)
	}
}

// following are the connections that have subscribed to a subject.
func following(t *testing.T, s *devnats.Server, subject string) (ids []uint64) {
	t.Helper()
	conns, err := s.NATS().Connz(&server.ConnzOptions{Subscriptions: true})
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range conns.Conns {
		if slices.Contains(c.Subs, subject) {
			ids = append(ids, c.Cid)
		}
	}
	return ids
}
