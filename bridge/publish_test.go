package bridge

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"headgate/internal/devnats"
	"headgate/internal/flow"
)

func TestPublish_ArrivesWithItsHeaders(t *testing.T) {
	s := startNATS(t, devnats.Options{})
	r := connectedBridge(t, testNATS(s.URL()), 0)
	nc := publisherOf(t, s.URL())
	sub, err := nc.SubscribeSync("a.*")
	if err != nil {
		t.Fatal(err)
	}
	if err := nc.Flush(); err != nil {
		t.Fatal(err)
	}
	ack, err := r.Publish(t.Context(), "a.b", map[string][]string{"Sse-Event": {"note"}}, []byte("hello"))
	if err != nil || ack != (Ack{}) {
		t.Fatalf("%+v, %v", ack, err)
	}
	m, err := sub.NextMsg(patience)
	if err != nil || string(m.Data) != "hello" || m.Header.Get("Sse-Event") != "note" {
		t.Fatalf("%v, %v", m, err)
	}
}

func TestPublish_RefusalsAreAnswered(t *testing.T) {
	s := startNATS(t, devnats.Options{Configure: func(o *server.Options) {
		userWith([]string{">"}, []string{"open.>"})(o)
		o.MaxPayload = 1000
	}})
	cfg := testNATS(s.URL())
	cfg.User, cfg.Password = "gate", "s3cret-pass"
	r := connectedBridge(t, cfg, 0)
	if _, err := r.Publish(t.Context(), "closed.x", nil, nil); !errors.Is(err, flow.ErrRefused) {
		t.Fatalf("got %v", err)
	}
	if _, err := r.Publish(t.Context(), "open.x", nil, make([]byte, 1001)); !errors.Is(err, flow.ErrTooLarge) {
		t.Fatalf("got %v", err)
	}
	for _, bad := range []string{"", "a.*", "a b", "$SYS.x", "_INBOX.x", "a\r\nPUB b 0", strings.Repeat("x", 5000)} {
		if _, err := r.Publish(t.Context(), bad, nil, nil); err == nil {
			t.Fatalf("%.20q was published", bad)
		}
	}
	if _, err := r.Publish(t.Context(), "open.x", map[string][]string{"A": {"x\r\nInjected: y"}}, nil); err != nil {
		t.Fatal(err)
	}
	// A refused one spoils none of those that share its confirmation.
	var wg sync.WaitGroup
	for i := range 100 {
		wg.Go(func() {
			subj, want := fmt.Sprint("open.", i), error(nil)
			if i%5 == 0 {
				subj, want = fmt.Sprint("closed.", i), flow.ErrRefused
			}
			if _, err := r.Publish(t.Context(), subj, nil, nil); !errors.Is(err, want) {
				t.Errorf("%s: %v", subj, err)
			}
		})
	}
	wg.Wait()
	if n := r.metric("headgate_nats_flushes_total", "ctl"); n > 103 {
		t.Fatalf("%v confirmations for 103 publishes", n)
	}
	if h := r.Health(); !h.Connected {
		t.Fatalf("a publish cost the connection: %+v", h)
	}
}

func TestPublish_HeaderValuesCannotInjectHeaders(t *testing.T) {
	s := startNATS(t, devnats.Options{})
	r := connectedBridge(t, testNATS(s.URL()), 0)
	nc := publisherOf(t, s.URL())
	got := make(chan *nats.Msg, 1)
	if _, err := nc.ChanSubscribe("a", got); err != nil {
		t.Fatal(err)
	}
	nc.Flush()
	if _, err := r.Publish(t.Context(), "a", map[string][]string{"A": {"x\r\nInjected: y"}}, []byte("d")); err != nil {
		t.Fatal(err)
	}
	if m := <-got; m.Header.Get("Injected") != "" || string(m.Data) != "d" {
		t.Fatalf("%v", m.Header)
	}
}

func TestPublish_WhileNATSIsAwayFailsAndIsNotSentLater(t *testing.T) {
	s := startNATS(t, devnats.Options{JetStream: true, StoreDir: t.TempDir()})
	r := connectedBridge(t, testNATS(s.URL()), 0)
	js, err := jetstream.New(publisherOf(t, s.URL()))
	if err != nil {
		t.Fatal(err)
	}
	all, err := js.CreateStream(t.Context(), jetstream.StreamConfig{Name: "A", Subjects: []string{"a"}})
	if err != nil {
		t.Fatal(err)
	}
	s.Stop()
	eventually(t, "the loss to be seen", func() bool { return !r.Health().Connected && r.ctl.connected() == nil })
	if _, err := r.Publish(t.Context(), "a", nil, []byte("while it is away")); !errors.Is(err, flow.ErrUnavailable) {
		t.Fatalf("got %v", err)
	}
	if err := s.Restart(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the connection", func() bool { return r.Health().Connected })
	if _, err := r.Publish(t.Context(), "a", nil, []byte("x")); err != nil {
		t.Fatal(err)
	}
	var first *jetstream.RawStreamMsg
	eventually(t, "a message", func() bool {
		first, err = all.GetMsg(t.Context(), 1)
		return err == nil
	})
	if string(first.Data) != "x" {
		t.Errorf("%q was sent later", first.Data)
	}
}
