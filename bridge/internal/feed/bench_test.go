package feed

import (
	"context"
	"encoding/json"
	"fmt"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// BenchmarkFeed is a feed with a tail and one follower of one subject in a hundred, against a bare pull consumer, over the same 100k
// messages of 128 bytes. nats-server runs in this process and is part of both.
func BenchmarkFeed(b *testing.B) {
	const n = 100_000
	w := newWorld(b)
	w.stream(ordinary())
	subjects := make([]string, 100)
	for i := range subjects {
		subjects[i] = fmt.Sprintf("s.%d", i)
	}
	for i := range n {
		w.js.PublishAsync(subjects[i%100], make([]byte, 128))
		if i%5000 == 0 {
			<-w.js.PublishAsyncComplete()
		}
	}
	<-w.js.PublishAsyncComplete()
	b.Run("bare", func(b *testing.B) {
		for b.Loop() {
			w.bare(n)
		}
		b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/n, "ns/msg")
	})
	b.Run("feed", func(b *testing.B) {
		for b.Loop() {
			f := w.run(Config{PrefillAge: time.Hour, Budget: NewBudget(256 << 20)})
			f.ready()
			if s := f.State(); s.Cursor != n {
				b.Fatalf("%+v", s)
			}
			f.stop()
		}
		b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/n, "ns/msg")
	})
}

// bare reads n messages with the least there can be.
func (w *world) bare(n int) {
	w.do("consumer", func(ctx context.Context) error {
		c, err := w.js.CreateConsumer(ctx, "S", jetstream.ConsumerConfig{AckPolicy: jetstream.AckNonePolicy, MemoryStorage: true})
		if err != nil {
			return err
		}
		defer w.js.DeleteConsumer(ctx, "S", c.CachedInfo().Name)
		ch := make(chan *nats.Msg, 16384)
		inbox := w.nc.NewInbox()
		sub, err := w.nc.ChanSubscribe(inbox, ch)
		if err != nil {
			return err
		}
		defer sub.Unsubscribe()
		ask, _ := json.Marshal(map[string]any{"batch": 4096, "expires": 30 * time.Second})
		for out, got := 0, 0; got < n; got++ {
			if out <= 4096 {
				w.nc.PublishRequest("$JS.API.CONSUMER.MSG.NEXT.S."+c.CachedInfo().Name, inbox, ask)
				out += 4096
			}
			<-ch
			out--
		}
		return nil
	})
}
