package bridge

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"headgate/internal/devnats"
	"headgate/internal/flow"
)

func TestConfirmations_AreShared(t *testing.T) {
	s := startNATS(t, devnats.Options{})
	r := connectedBridge(t, testNATS(s.URL()), 0)
	before := r.metric("headgate_nats_flushes_total", "data-0")
	var wg sync.WaitGroup
	for i := range 1000 {
		wg.Go(func() {
			o, err := r.Open(t.Context(), request("", fmt.Sprint("a.", i)))
			if err != nil {
				t.Error(err)
				return
			}
			o.Source.Close()
		})
	}
	wg.Wait()
	if n := r.metric("headgate_nats_flushes_total", "data-0") - before; n > 250 {
		t.Fatalf("%v confirmations for 1000 subscriptions", n)
	}
}

func TestConfirmation_ThatDoesNotComeFailsTheOpen(t *testing.T) {
	var stalled atomic.Bool
	cfg := testNATS(stallingNATS(t, &stalled))
	cfg.ConfirmTimeout = 100 * time.Millisecond
	r := connectedBridge(t, cfg, 0)
	stalled.Store(true)
	if _, err := r.Open(t.Context(), request("", "a")); !errors.Is(err, flow.ErrUnconfirmed) {
		t.Fatalf("got %v", err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Millisecond)
	defer cancel()
	if _, err := r.Open(ctx, request("", "b")); !errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("got %v", err)
	}
	eventually(t, "the topics to go", func() bool { return r.metric("headgate_nats_topics") == 0 })
	stalled.Store(false)
	r.follow(request("", "a"))
}

// Whoever waits for readiness is told so only when requests can be served.
func TestHealth_OnceReadyARequestAndAPublishGoThrough(t *testing.T) {
	server := startNATS(t, devnats.Options{})
	for range 20 {
		r := startBridge(t, testNATS(server.URL()), 0)
		for deadline := time.Now().Add(10 * time.Second); !r.Health().EverConnected; {
			if time.Now().After(deadline) {
				t.Fatalf("not connected: %+v", r.Health())
			}
			runtime.Gosched()
		}
		o, err := r.Open(t.Context(), request("", "a"))
		if err != nil {
			t.Fatalf("open: %v", err)
		}
		o.Source.Close()
		if _, err := r.Publish(t.Context(), "a", nil, nil); err != nil {
			t.Fatalf("publish: %v", err)
		}
		r.stop()
	}
}

func TestPublish_ThatIsNotConfirmedFails(t *testing.T) {
	var stalled atomic.Bool
	cfg := testNATS(stallingNATS(t, &stalled))
	cfg.PublishTimeout = 50 * time.Millisecond
	r := connectedBridge(t, cfg, 0)
	stalled.Store(true)
	if _, err := r.Publish(t.Context(), "a", nil, nil); !errors.Is(err, flow.ErrUnconfirmed) {
		t.Fatalf("got %v", err)
	}
}

func TestPing_AServerThatDoesNotAnswerIsLeft(t *testing.T) {
	var stalled atomic.Bool
	cfg := testNATS(stallingNATS(t, &stalled))
	cfg.PingInterval = 100 * time.Millisecond // three of them without an answer are far more than a busy machine takes
	r := connectedBridge(t, cfg, 0)
	sink, _, _ := r.follow(request("", "a"))
	stalled.Store(true)
	eventually(t, "the loss to be seen", func() bool { return r.metric("headgate_nats_connected", "data-0") == 0 })
	if got := sink.texts(); len(got) != 0 {
		t.Fatalf("a gap before the connection is back: %q", got)
	}
	stalled.Store(false)
	sink.waitFor(t, reconnectGap)
}
