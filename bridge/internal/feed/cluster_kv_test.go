package feed

import (
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"headgate/bridge/internal/encode"
	"headgate/internal/devnats"
)

// holder has what a client of a bucket has: the state as it was when it came, or behind the last hole, and the changes since.
type holder struct {
	feed *running
	mu   sync.Mutex
	have map[string]uint64
	told int // holes
}

func (h *holder) Message(it *encode.Item, _ *Incarnation) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if gone(it.Header) {
		delete(h.have, it.Subject)
	} else {
		h.have[it.Subject] = it.Seq
	}
}

func (h *holder) Hole(hole Hole, _ *Incarnation, _ uint64) {
	if hole.Renamed {
		return
	}
	rows, err := h.feed.Table(everything)
	h.mu.Lock()
	defer h.mu.Unlock()
	h.told++
	h.have = map[string]uint64{}
	if err == nil { // else the bucket is gone, and there is another hole when it is back
		for _, it := range rows.Items {
			h.have[it.Subject] = it.Seq
		}
		rows.Use.End()
	}
}

func (h *holder) Lost() {}

func (h *holder) holes() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.told
}

func (r *running) hold() *holder {
	h := &holder{feed: r}
	h.mu.Lock() // nothing is taken before the state is there
	defer h.mu.Unlock()
	l, _, _, err := r.Follow(everything, h)
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(l.Close)
	rows, err := r.Table(everything)
	if err != nil {
		r.t.Fatal(err)
	}
	defer rows.Use.End()
	h.have = map[string]uint64{}
	for _, it := range rows.Items {
		h.have[it.Subject] = it.Seq
	}
	return h
}

// bucketContent is what the bucket has, by its leader; nil while there is none.
func (w *world) bucketContent() map[string]uint64 {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	kv, err := w.js.KeyValue(ctx, "B")
	if err != nil {
		return nil
	}
	all, err := kv.WatchAll(ctx, jetstream.IgnoreDeletes(), jetstream.MetaOnly())
	if err != nil {
		return nil
	}
	defer all.Stop()
	have := map[string]uint64{}
	for {
		select {
		case e := <-all.Updates():
			if e == nil {
				return have
			}
			have["$KV.B."+e.Key()] = e.Revision()
		case <-ctx.Done():
			return nil
		}
	}
}

// changeKeys puts and deletes until it is stopped. What fails while there is no leader is passed over.
func (w *world) changeKeys(rnd *rand.Rand) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() {
		for ctx.Err() == nil {
			try, done := context.WithTimeout(ctx, 500*time.Millisecond)
			if kv, err := w.js.KeyValue(try, "B"); err == nil {
				for range 20 {
					key := fmt.Sprint("k", rnd.IntN(30))
					if rnd.IntN(4) == 0 {
						_ = kv.Delete(try, key)
					} else {
						_, _ = kv.Put(try, key, []byte("x"))
					}
				}
			}
			done()
		}
	})
	return func() { cancel(); wg.Wait() }
}

// Whatever happens to the servers and to the bucket, whoever follows it has in the end what it has: no key that is no more, and no value
// from before.
func TestCluster_BucketIsRightOverStepDownKillSilentPurgeAndReset(t *testing.T) {
	if testing.Short() {
		t.Skip("SKIPPED with -short: a cluster of three servers")
	}
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	rnd := rand.New(rand.NewPCG(seed, 1))
	servers, err := devnats.StartCluster(3, devnats.Options{JetStream: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { devnats.ShutdownAll(servers) })
	urls := servers[0].URL() + "," + servers[1].URL() + "," + servers[2].URL()
	w := worldOn(t, servers[0], urls)
	create := func() {
		t.Helper()
		eventually(t, "the cluster to make a bucket", func() bool {
			ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
			defer cancel()
			_, err := w.js.CreateKeyValue(ctx, jetstream.KeyValueConfig{Bucket: "B", Replicas: 3, Storage: jetstream.FileStorage})
			return err == nil
		})
	}
	create()
	stop := w.changeKeys(rnd)
	defer func() { stop() }()
	cfg := bucketFeed()
	cfg.VerifyEvery = 300 * time.Millisecond
	var holders []*holder
	for range 2 {
		holders = append(holders, w.runOn(urls, cfg, nats.Timeout(time.Second)).ready().hold())
	}
	right := func(what string) {
		t.Helper()
		stop()
		for i, h := range holders {
			var want map[string]uint64
			var have map[string]uint64
			deadline := time.Now().Add(patience)
			for {
				want = w.bucketContent()
				h.mu.Lock()
				have = maps.Clone(h.have)
				h.mu.Unlock()
				if want != nil && maps.Equal(want, have) {
					break
				}
				if time.Now().After(deadline) {
					t.Fatalf("%s: follower %d has %v, and the bucket %v", what, i, have, want)
				}
				time.Sleep(20 * time.Millisecond)
			}
			t.Logf("%s: follower %d is right, %d keys, %d holes so far", what, i, len(have), h.holes())
		}
		stop = w.changeKeys(rnd)
	}
	leader := func() *devnats.Server {
		name := ""
		eventually(t, "a leader", func() bool {
			ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
			defer cancel()
			if s, err := w.js.Stream(ctx, "KV_B"); err == nil {
				name = s.CachedInfo().Cluster.Leader
			}
			return name != ""
		})
		return servers[slices.IndexFunc(servers, func(s *devnats.Server) bool { return s.NATS().Name() == name })]
	}
	purge := func(subject string) {
		t.Helper()
		eventually(t, "a purge", func() bool {
			ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
			defer cancel()
			s, err := w.js.Stream(ctx, "KV_B")
			return err == nil && s.Purge(ctx, jetstream.WithPurgeSubject(subject)) == nil
		})
	}
	filled := func() {
		t.Helper()
		eventually(t, "keys", func() bool { return len(w.bucketContent()) > 10 })
	}
	filled()
	right("the start")
	filled()
	w.nc.Request("$JS.API.STREAM.LEADER.STEPDOWN.KV_B", nil, 2*time.Second)
	right("a step-down")
	filled()
	down := leader()
	down.Stop()
	purge("$KV.B.*")
	right("the end of the leader's server, and a purge in silence")
	filled()
	if err := down.Restart(); err != nil {
		t.Fatal(err)
	}
	right("its return")
	filled()
	before := holders[0].holes()
	purge("$KV.B.k1")
	w.nc.Request("$JS.API.STREAM.LEADER.STEPDOWN.KV_B", nil, 2*time.Second)
	right("a purge in silence, and a step-down")
	stop()
	eventually(t, "the bucket to be deleted", func() bool {
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
		defer cancel()
		err := w.js.DeleteKeyValue(ctx, "B")
		return err == nil || strings.Contains(err.Error(), "not found")
	})
	create()
	stop = w.changeKeys(rnd)
	filled()
	leader().Stop()
	right("another bucket, and the end of its leader's server")
	if holders[0].holes() == before {
		t.Error("nobody was told that the bucket is another one")
	}
}
