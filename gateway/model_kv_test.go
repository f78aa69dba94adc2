package gateway_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"headgate/internal/subject"
)

// changing puts, deletes and purges keys until ctx ends.
func (w *world) changing(ctx context.Context, kv jetstream.KeyValue, number uint64, perSecond int) {
	rnd := w.rand(1000 + number)
	for n := 0; ctx.Err() == nil; n++ {
		w.changeOne(kv, rnd, n)
		nap(ctx, time.Duration(rnd.IntN(2*int(time.Second)/perSecond)))
	}
}

func (w *world) changeOne(kv jetstream.KeyValue, rnd *rand.Rand, n int) {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	key := fmt.Sprintf("%s.k%d", []string{"eu", "us"}[rnd.IntN(2)], rnd.IntN(12))
	stream := "KV_" + kv.Bucket()
	switch rnd.IntN(8) {
	case 0:
		_ = kv.Delete(ctx, key)
	case 1:
		_ = kv.Purge(ctx, key)
	default:
		data := fmt.Sprint(n)
		w.mu.Lock()
		l := w.now[stream]
		w.mu.Unlock()
		rev, err := kv.Put(ctx, key, []byte(data))
		if err != nil {
			return
		}
		w.mu.Lock()
		l.note(rev, stored{"$KV." + kv.Bucket() + "." + key, data})
		w.mu.Unlock()
	}
}

// sameKeys compares what clients have of a bucket with the bucket, when nothing changes it any more.
func (w *world) sameKeys(clients []*modelClient, kv jetstream.KeyValue, pattern string) {
	w.t.Helper()
	want := map[string]kvValue{}
	w.do("read the bucket", func(ctx context.Context) error {
		clear(want)
		keys, err := kv.Keys(ctx)
		if err != nil && !errors.Is(err, jetstream.ErrNoKeysFound) {
			return err
		}
		for _, k := range keys {
			e, err := kv.Get(ctx, k)
			if err != nil {
				return err
			}
			if subject.Match(pattern, k) {
				want[k] = kvValue{e.Revision(), string(e.Value())}
			}
		}
		return nil
	})
	for _, c := range clients {
		if tr := c.tracks["KV_"+kv.Bucket()]; tr != nil && fmt.Sprint(tr.keys) != fmt.Sprint(want) {
			c.fail("has %v, the bucket %v", tr.keys, want)
		}
	}
}
