package bridge

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"headgate/internal/config"
)

// heard is what a bridge has told of a bucket.
type heard struct {
	mu       sync.Mutex
	values   map[string]string
	replaced int
	watched  bool
	detail   string
	keeps    time.Duration
}

func (h *heard) Replace(all []Entry) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.values = map[string]string{}
	h.replaced++
	h.take(all)
}

func (h *heard) Apply(changes []Entry) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.take(changes)
}

func (h *heard) take(list []Entry) {
	for _, e := range list {
		if e.Gone {
			delete(h.values, e.Key)
		} else {
			h.values[e.Key] = string(e.Value)
		}
	}
}

func (h *heard) Watched(ok bool, detail string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.watched, h.detail = ok, detail
}

func (h *heard) Keeps(d time.Duration) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.keeps = d
}

func (h *heard) is(want map[string]string) func() bool {
	return func() bool {
		h.mu.Lock()
		defer h.mu.Unlock()
		return maps.Equal(h.values, want) && h.replaced > 0
	}
}

func (h *heard) state() (bool, string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.watched, h.detail
}

// controlled runs a bridge with a bucket of revocations, and endpoints if there are any.
func controlled(t *testing.T, url string, change func(*config.Config), endpoints ...Endpoint) (*running, *heard) {
	t.Helper()
	c := config.DefaultConfig()
	c.NATS = testNATS(url)
	c.Auth.RevocationBucket = "REVOKED"
	if change != nil {
		change(&c)
	}
	r := &running{t: t, log: &lockedBuffer{}}
	log := slog.New(slog.NewTextHandler(r.log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	b, err := New(c, log, nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Bridge = b
	h := &heard{values: map[string]string{}}
	b.Watch(c, h, log)
	if endpoints != nil {
		b.Serve(c, fmt.Sprintf("inst%d", time.Now().UnixNano()%1000), "v1.2.3-x", endpoints, log)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- b.Run(ctx) }()
	r.stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run: %v", err)
		}
	})
	t.Cleanup(r.stop)
	return r, h
}

func bucketOf(t *testing.T, url string, cfg jetstream.KeyValueConfig) jetstream.KeyValue {
	t.Helper()
	js, err := jetstream.New(publisherOf(t, url))
	if err != nil {
		t.Fatal(err)
	}
	kv, err := js.CreateOrUpdateKeyValue(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	return kv
}

func put(t *testing.T, kv jetstream.KeyValue, key, value string) {
	t.Helper()
	if _, err := kv.PutString(t.Context(), key, value); err != nil {
		t.Fatal(err)
	}
}
