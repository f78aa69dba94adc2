package bridge

import (
	"context"
	"log/slog"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"

	"headgate/internal/config"
	"headgate/internal/devnats"
	"headgate/internal/flow"
)

func TestPrefilled_WhenWhatThereIsHasBeenReadOrIsMissing(t *testing.T) {
	ns := startNATS(t, devnats.Options{JetStream: true})
	js := ok[jetstream.JetStream](t)(jetstream.New(publisherOf(t, ns.URL())))
	ok[jetstream.Stream](t)(js.CreateStream(t.Context(), jetstream.StreamConfig{Name: "ORDERS", Subjects: []string{"orders.>"}, AllowDirect: true}))
	for range 100 {
		ok[*jetstream.PubAck](t)(js.Publish(t.Context(), "orders.1", []byte("x")))
	}
	cfg := config.DefaultConfig()
	cfg.NATS = testNATS(ns.URL())
	cfg.Routes = []config.Route{{Name: "orders", Sources: []config.Source{{Name: "orders", Type: "stream", Stream: "ORDERS", Subject: "orders.>"},
		{Name: "gone", Type: "kv", Stream: "GONE", Subject: ">"}}}}
	r := &running{t: t, reg: prometheus.NewRegistry()}
	b := ok[*Bridge](t)(New(cfg, slog.New(slog.DiscardHandler), r.reg))
	if done, text := b.Prefilled(); done || text != "still reading KV_GONE, ORDERS" {
		t.Errorf("before it runs: %v %q", done, text)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- b.Run(ctx) }()
	defer func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	}()
	eventually(t, "the stream to be in memory, and the bucket to be known as missing", func() bool { done, _ := b.Prefilled(); return done })
	o := ok[flow.Opened](t)(b.Open(t.Context(), flow.Request{Format: plain, Since: time.Now().Add(-time.Hour),
		Sources: []flow.Spec{{Name: "orders", Kind: flow.Stream, Stream: "ORDERS", Subjects: []string{"orders.1"}}}}))
	defer o.Source.Close()
	ask := flow.Ask{From: o.From, To: o.Source.Attach(&recorder{}), MaxBytes: 1 << 20, State: o.State}
	var events []flow.Event
	for done := false; !done; {
		got := make(chan flow.Batch, 1)
		o.Source.Read(ask, func(b flow.Batch) { got <- b })
		select {
		case b := <-got:
			if b.Err != nil {
				t.Fatal(b.Err)
			}
			events, done, ask.State = append(events, b.Events...), b.Done, b.State
			for _, e := range b.Events {
				ask.From[e.Entry].Seq = max(ask.From[e.Entry].Seq, e.Seq)
			}
		case <-time.After(patience):
			t.Fatal("no answer")
		}
	}
	// Where an hour ago was takes one.
	if n := r.metric("headgate_history_direct_gets_total") + r.metric("headgate_history_scans_total"); n > 1 {
		t.Errorf("the newest messages are not in memory: history was read %v times", n)
	}
	if n := len(texts(events)); n != 100 {
		t.Errorf("%d events", n)
	}
}
