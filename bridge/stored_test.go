package bridge

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"headgate/internal/devnats"
	"headgate/internal/flow"
)

const quick = 1500 * time.Millisecond // less than any wait for an answer

func storing(t *testing.T, configure func(*server.Options)) (*devnats.Server, jetstream.JetStream, *nats.Conn) {
	t.Helper()
	ns := startNATS(t, devnats.Options{JetStream: true, Configure: configure})
	var opts []nats.Option
	if configure != nil {
		opts = append(opts, nats.UserInfo("admin", "secret-a"))
	}
	nc := publisherOf(t, ns.URL(), opts...)
	return ns, ok[jetstream.JetStream](t)(jetstream.New(nc)), nc
}

func makeStream(t *testing.T, js jetstream.JetStream, cfg jetstream.StreamConfig) {
	t.Helper()
	ok[jetstream.Stream](t)(js.CreateStream(t.Context(), cfg))
}

// want publishes and checks the answer.
func (r *running) want(subj string, header map[string][]string, ack Ack, err error) {
	r.t.Helper()
	if got, e := r.Publish(r.t.Context(), subj, header, []byte("x")); got != ack || !errors.Is(e, err) || (err == nil) != (e == nil) {
		r.t.Errorf("%s: %+v, %v; want %+v, %v", subj, got, e, ack, err)
	}
}

func TestPublish_StoredByStreams(t *testing.T) {
	ns, js, _ := storing(t, nil)
	makeStream(t, js, jetstream.StreamConfig{Name: "A", Subjects: []string{"a.>"}})
	makeStream(t, js, jetstream.StreamConfig{Name: "B", Subjects: []string{"b.*"}})
	r := connectedBridge(t, testNATS(ns.URL()), 0)
	r.want("a.1", nil, Ack{Stream: "A", Seq: 1}, nil)
	r.want("b.1", nil, Ack{Stream: "B", Seq: 1}, nil)
	r.want("c.1", nil, Ack{}, nil)
	once := map[string][]string{"Nats-Msg-Id": {"7"}}
	r.want("a.1", once, Ack{Stream: "A", Seq: 2}, nil)
	r.want("a.1", once, Ack{Stream: "A", Seq: 2}, nil)
	r.want("a.2", nil, Ack{Stream: "A", Seq: 3}, nil)
	if len(once) != 1 {
		t.Errorf("the caller's headers were changed: %v", once)
	}
	var wg sync.WaitGroup
	var seqs sync.Map
	for range 200 {
		wg.Go(func() {
			ack, err := r.Publish(t.Context(), "b.2", nil, nil)
			if _, twice := seqs.LoadOrStore(ack.Seq, true); err != nil || twice {
				t.Errorf("%+v, %v, twice: %v", ack, err, twice)
			}
		})
	}
	wg.Wait()
	if n := len(r.ctl.acks.waiting); n != 0 {
		t.Errorf("%d answers are waited for", n)
	}
}

func TestPublish_RefusedByAFullStream(t *testing.T) {
	ns, js, _ := storing(t, nil)
	makeStream(t, js, jetstream.StreamConfig{Name: "A", Subjects: []string{"a"}, MaxMsgs: 2, Discard: jetstream.DiscardNew})
	r := connectedBridge(t, testNATS(ns.URL()), 0)
	r.want("a", nil, Ack{Stream: "A", Seq: 1}, nil)
	r.want("a", nil, Ack{Stream: "A", Seq: 2}, nil)
	_, err := r.Publish(t.Context(), "a", nil, nil)
	if !errors.Is(err, flow.ErrNotStored) || !strings.Contains(err.Error(), "maximum messages exceeded") {
		t.Errorf("got %v", err)
	}
}

func TestPublish_StreamRemovedWhilePublishing(t *testing.T) {
	ns, js, nc := storing(t, nil)
	makeStream(t, js, jetstream.StreamConfig{Name: "A", Subjects: []string{"a", "b"}})
	r := connectedBridge(t, testNATS(ns.URL()), 0)
	r.want("a", nil, Ack{Stream: "A", Seq: 1}, nil)
	r.want("b", nil, Ack{Stream: "A", Seq: 2}, nil)
	ok[*nats.Subscription](t)(nc.SubscribeSync("b")) // somebody else still has it, so the server does not say that nobody does
	if err := js.DeleteStream(t.Context(), "A"); err != nil {
		t.Fatal(err)
	}
	start := time.Now()
	r.want("a", nil, Ack{}, nil)
	r.want("b", nil, Ack{}, nil)
	if d := time.Since(start); d > quick {
		t.Errorf("took %s", d)
	}
}

func TestPublish_StreamThatNeverAcknowledges(t *testing.T) {
	ns, js, _ := storing(t, nil)
	makeStream(t, js, jetstream.StreamConfig{Name: "A", Subjects: []string{"a"}, NoAck: true})
	r := connectedBridge(t, testNATS(ns.URL()), 0)
	r.want("a", nil, Ack{}, nil)
	start := time.Now()
	r.want("a", nil, Ack{}, nil)
	if d := time.Since(start); d > ackLate {
		t.Errorf("it is waited for again: %s", d)
	}
}

func TestPublish_WithoutJetStream(t *testing.T) {
	ns := startNATS(t, devnats.Options{})
	r := connectedBridge(t, testNATS(ns.URL()), 0)
	start := time.Now()
	for n := range 20 {
		r.want(fmt.Sprint("a.", n), nil, Ack{}, nil)
	}
	if d := time.Since(start); d > quick {
		t.Errorf("took %s", d)
	}
	if n := strings.Count(r.log.String(), "whether streams store"); n != 1 {
		t.Errorf("said %d times", n)
	}
}

// limited is an administrator and a user for headgate with these permissions.
func limited(pub, sub []string) func(*server.Options) {
	return func(o *server.Options) {
		o.Users = []*server.User{{Username: "admin", Password: "secret-a"}, {Username: "headgate", Password: "secret-h", Permissions: &server.Permissions{
			Publish: &server.SubjectPermission{Allow: pub}, Subscribe: &server.SubjectPermission{Allow: sub}}}}
	}
}

func TestPublish_WithoutAPermissionIsQuick(t *testing.T) {
	for name, c := range map[string]struct {
		pub, sub []string
		ack      Ack
		err      error
	}{
		"question": {[]string{"a.>"}, []string{">"}, Ack{}, nil},
		"answer":   {[]string{">"}, []string{"a.>"}, Ack{}, nil},
		"publish":  {[]string{"$JS.API.STREAM.NAMES"}, []string{"_INBOX_headgate.>"}, Ack{}, flow.ErrRefused},
	} {
		t.Run(name, func(t *testing.T) {
			ns, js, _ := storing(t, limited(c.pub, c.sub))
			makeStream(t, js, jetstream.StreamConfig{Name: "A", Subjects: []string{"a.>"}})
			cfg := testNATS(ns.URL())
			cfg.User, cfg.Password = "headgate", "secret-h"
			r := connectedBridge(t, cfg, 0)
			start := time.Now()
			for n := range 20 {
				r.want(fmt.Sprint("a.", n), nil, c.ack, c.err)
			}
			if d := time.Since(start); d > quick {
				t.Errorf("took %s", d)
			}
			if n := strings.Count(r.log.String(), "whether streams store"); n != map[error]int{nil: 1}[c.err] {
				t.Errorf("said %d times", n)
			}
		})
	}
}

func TestPublish_AnotherServiceOnTheSubjectIsNotHeard(t *testing.T) {
	ns, js, nc := storing(t, nil)
	makeStream(t, js, jetstream.StreamConfig{Name: "A", Subjects: []string{"a"}})
	var answered atomic.Int64
	ok[*nats.Subscription](t)(nc.Subscribe("a", func(m *nats.Msg) {
		for _, text := range []string{"thanks", `{"error":{"code":400,"description":"no"}}`, `{"stream":"","seq":9}`, ""} {
			_ = m.Respond([]byte(text))
		}
		answered.Add(1)
	}))
	if err := nc.Flush(); err != nil {
		t.Fatal(err)
	}
	r := connectedBridge(t, testNATS(ns.URL()), 0)
	for n := range 20 {
		r.want("a", nil, Ack{Stream: "A", Seq: uint64(n + 1)}, nil)
	}
	eventually(t, "the service to answer", func() bool { return answered.Load() == 20 })
}

func TestPublish_QuestionsAreAskedOnceAtATimeAndRemembered(t *testing.T) {
	ns, _, nc := storing(t, nil)
	var asked atomic.Int64
	ok[*nats.Subscription](t)(nc.Subscribe("$JS.API.STREAM.NAMES", func(*nats.Msg) { asked.Add(1) }))
	if err := nc.Flush(); err != nil {
		t.Fatal(err)
	}
	r := connectedBridge(t, testNATS(ns.URL()), 0)
	var wg sync.WaitGroup
	for range 100 {
		wg.Go(func() { r.want("a", nil, Ack{}, nil) })
	}
	wg.Wait()
	r.want("b", nil, Ack{}, nil)
	eventually(t, "the questions", func() bool { return asked.Load() >= 2 })
	if n := asked.Load(); n != 2 {
		t.Errorf("%d questions for two subjects", n)
	}
	s := r.ctl.stored
	s.mu.Lock()
	for n := range 2 * storedKept {
		s.keep(fmt.Sprint(n), answer{})
	}
	if len(s.answers) > storedKept {
		t.Errorf("%d answers are kept", len(s.answers))
	}
	s.mu.Unlock()
}

func TestPublish_LeaderAwayIsAFailure(t *testing.T) {
	servers, err := devnats.StartCluster(3, devnats.Options{JetStream: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { devnats.ShutdownAll(servers) })
	js := ok[jetstream.JetStream](t)(jetstream.New(publisherOf(t, servers[0].URL())))
	eventually(t, "a stream", func() bool {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_, err := js.CreateStream(ctx, jetstream.StreamConfig{Name: "A", Subjects: []string{"a"}, Replicas: 3})
		return err == nil
	})
	cfg := testNATS(servers[0].URL())
	cfg.PublishTimeout = 2 * time.Second
	r := connectedBridge(t, cfg, 0)
	r.want("a", nil, Ack{Stream: "A", Seq: 1}, nil)
	servers[1].Stop()
	servers[2].Stop()
	if ack, err := r.Publish(t.Context(), "a", nil, nil); !errors.Is(err, flow.ErrUnconfirmed) && !errors.Is(err, flow.ErrUnavailable) {
		t.Errorf("%+v, %v", ack, err)
	}
}

func TestPublish_WhatNobodyWaitsForIsNotSent(t *testing.T) {
	ns, _, nc := storing(t, nil)
	sub := ok[*nats.Subscription](t)(nc.SubscribeSync("a"))
	if err := nc.Flush(); err != nil {
		t.Fatal(err)
	}
	r := connectedBridge(t, testNATS(ns.URL()), 0)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	gone := &publishing{ctx: ctx, msg: &nats.Msg{Subject: "a", Data: []byte("gone")}, done: make(chan error, 1)}
	r.ctl.queue <- gone
	if err := <-gone.done; !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	r.want("a", nil, Ack{}, nil)
	if m, err := sub.NextMsg(patience); err != nil || string(m.Data) != "x" {
		t.Errorf("%v, %v", m, err)
	}
}
