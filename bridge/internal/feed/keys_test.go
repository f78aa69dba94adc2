package feed

import (
	"context"
	"fmt"
	"math"
	"math/rand/v2"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// noRoom is a feed whose memory has room for about 120 keys and for no table of 50.
func noRoom() Config {
	cfg := bucketFeed()
	cfg.Budget = NewBudget(8000)
	return cfg
}

// fill puts 50 keys of which no table fits.
func (w *world) fill(kv jetstream.KeyValue) {
	w.t.Helper()
	for i := range 50 {
		w.set(kv, fmt.Sprint("k", i))
	}
}

func (w *world) remove(key string) {
	w.t.Helper()
	w.do("purge", func(ctx context.Context) error {
		s, err := w.js.Stream(ctx, "KV_B")
		if err != nil {
			return err
		}
		return s.Purge(ctx, jetstream.WithPurgeSubject("$KV.B."+key))
	})
}

func TestKeys_FindWhatVanishedInSilence(t *testing.T) {
	for name, remove := range map[string]func(w *world, kv jetstream.KeyValue){
		"purge": func(w *world, _ jetstream.KeyValue) { w.remove("k7") },
		"purge, and a new key": func(w *world, kv jetstream.KeyValue) { // as many subjects as before
			w.remove("k7")
			w.set(kv, "new")
		},
		"new keys all the time": func(w *world, kv jetstream.KeyValue) {
			for i := range 20 {
				w.set(kv, fmt.Sprint("new", i))
				if i == 9 {
					w.remove("k7")
				}
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			kv := w.loose(1)
			w.fill(kv)
			f := w.run(noRoom()).ready()
			if got := f.rows(); got != "no table" {
				t.Fatal(got)
			}
			rec, _ := f.follow()
			remove(w, kv)
			eventually(t, "the hole", func() bool { return slices.ContainsFunc(rec.all(), isHole) })
			rec.mu.Lock()
			hole := rec.holes[0]
			rec.mu.Unlock()
			if hole.From != 0 || hole.Certain || hole.Reason.String() != "reset" {
				t.Errorf("%+v", hole)
			}
			if s := f.State(); s.Doubt != math.MaxUint64 || s.Doubts == 0 {
				t.Errorf("%+v", s)
			}
			w.set(kv, "last")
			eventually(t, "the feed to go on", func() bool { return strings.HasSuffix(rec.all()[len(rec.all())-1], "$KV.B.last") })
		})
	}
}

func isHole(text string) bool { return strings.HasPrefix(text, "hole") }

func TestKeys_FindWhatVanishedWhileAway(t *testing.T) {
	w := newWorld(t)
	kv := w.loose(1)
	w.fill(kv)
	for name, cfg := range map[string]Config{"keys": noRoom(), "not even keys": {Stream: "KV_B", Table: true, Gone: gone, Budget: NewBudget(1000), VerifyEvery: time.Hour}} {
		t.Run(name, func(t *testing.T) {
			f := w.run(cfg).ready()
			rec, _ := f.follow()
			f.Disconnected()
			w.set(kv, "k9", "k9")
			w.remove("k8")
			f.Connected(f.nc)
			eventually(t, "the hole", func() bool { return slices.ContainsFunc(rec.all(), isHole) })
			w.set(kv, "k8")
		})
	}
}

func TestKeys_FindWhatExpires(t *testing.T) {
	t.Run("age", func(t *testing.T) {
		w := newWorld(t)
		kv := w.bucket(jetstream.KeyValueConfig{TTL: 2 * time.Second})
		w.fill(kv)
		f := w.run(noRoom()).ready()
		rec, _ := f.follow()
		eventually(t, "a hole", func() bool { return slices.ContainsFunc(rec.all(), isHole) })
	})
	t.Run("message TTL", func(t *testing.T) { // no markers, and an older value comes back
		w := newWorld(t)
		w.stream(jetstream.StreamConfig{Name: "KV_B", Subjects: []string{"$KV.B.>"}, MaxMsgsPerSubject: 5, AllowRollup: true, DenyDelete: true,
			AllowDirect: true, Discard: jetstream.DiscardNew, AllowMsgTTL: true})
		var kv jetstream.KeyValue
		w.do("bucket", func(ctx context.Context) (err error) {
			kv, err = w.js.KeyValue(ctx, "B")
			return err
		})
		w.fill(kv)
		w.do("put", func(ctx context.Context) error {
			_, err := w.js.Publish(ctx, "$KV.B.k3", []byte("for a second"), jetstream.WithMsgTTL(time.Second))
			return err
		})
		w.set(kv, "k4")
		f := w.run(noRoom()).ready()
		rec, _ := f.follow()
		eventually(t, "a hole", func() bool { return slices.ContainsFunc(rec.all(), isHole) })
	})
}

// What changes a bucket in the ordinary way is no hole, however often the leader is asked: values put over values, new keys, deletes
// and purges with their markers, histories that are trimmed, markers that are removed.
func TestKeys_ChangesAreNoHole(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	for name, make := range map[string]func(w *world) jetstream.KeyValue{
		"loose":      func(w *world) jetstream.KeyValue { return w.loose(1) },
		"no history": func(w *world) jetstream.KeyValue { return w.bucket(jetstream.KeyValueConfig{}) },
		"history":    func(w *world) jetstream.KeyValue { return w.bucket(jetstream.KeyValueConfig{History: 3}) },
		"table":      func(w *world) jetstream.KeyValue { return w.bucket(jetstream.KeyValueConfig{}) },
		"markers": func(w *world) jetstream.KeyValue {
			return w.bucket(jetstream.KeyValueConfig{History: 2, LimitMarkerTTL: time.Hour, TTL: time.Hour})
		},
	} {
		t.Run(name, func(t *testing.T) {
			rnd := rand.New(rand.NewPCG(seed, 1))
			w := newWorld(t)
			kv := make(w)
			w.fill(kv)
			cfg := noRoom()
			if strings.HasSuffix(name, "table") {
				cfg = bucketFeed()
			}
			cfg.VerifyEvery = 2 * time.Millisecond
			f := w.run(cfg).ready()
			rec, _ := f.follow()
			last := uint64(0)
			t.Cleanup(func() {
				if t.Failed() {
					t.Logf("last %d, %+v, keys %d, %+v", last, f.State(), f.keys.len(), w.info("KV_B").State)
				}
			})
			for i := range 1500 {
				key := fmt.Sprint("k", rnd.IntN(100))
				if i%300 == 299 { // a marker that is removed before the feed has seen it would be missing
					f.wait("everything", func(s State) bool { return s.Cursor >= last })
				}
				w.do("change", func(ctx context.Context) (err error) {
					switch n := rnd.IntN(20); {
					case n == 0:
						last++
						return kv.Delete(ctx, key)
					case n == 1:
						last++
						return kv.Purge(ctx, key)
					case i%300 == 299:
						return kv.PurgeDeletes(ctx, jetstream.DeleteMarkersOlderThan(-1))
					}
					last, err = kv.Put(ctx, key, []byte("x"))
					return err
				})
			}
			f.wait("everything", func(s State) bool { return s.Cursor >= last })
			if rec.mu.Lock(); len(rec.holes) > 0 {
				t.Errorf("%v", rec.holes)
			}
			rec.mu.Unlock()
			if f.metric("headgate_feed_resets_total", "table") == 0 {
				t.Error("nothing was counted")
			}
			// And what does vanish is still found.
			w.set(kv, "k1")
			eventually(t, "the value", func() bool { return strings.HasSuffix(rec.all()[len(rec.all())-1], ".k1") })
			w.remove("k1")
			eventually(t, "the hole", func() bool { return slices.ContainsFunc(rec.all(), isHole) })
		})
	}
}

// A table that does not fit any more when it is loaded again leaves its keys behind, which are compared.
func TestKeys_FollowATableThatGrowsTooLarge(t *testing.T) {
	w := newWorld(t)
	kv := w.loose(1)
	w.fill(kv)
	cfg := bucketFeed()
	cfg.Budget = NewBudget(64_000)
	f := w.run(cfg).ready()
	if f.rows() == "no table" {
		t.Fatal("no table")
	}
	rec, _ := f.follow()
	for i := range 60 {
		w.set(kv, fmt.Sprint("x", i))
	}
	f.waitRows("no table")
	w.set(kv, "last")
	eventually(t, "the last change", func() bool { return strings.HasSuffix(strings.Join(rec.all(), " "), "$KV.B.last") })
	if rec.mu.Lock(); len(rec.holes) > 0 {
		t.Errorf("%v", rec.holes)
	}
	rec.mu.Unlock()
	w.remove("k5")
	eventually(t, "the hole", func() bool { return slices.ContainsFunc(rec.all(), isHole) })
}

// There is nothing to compare with, and a new key hides the one that has gone.
func TestKeys_WhereNotEvenTheyFitFollowersGetAFreshStateFromTimeToTime(t *testing.T) {
	w := newWorld(t)
	kv := w.loose(1)
	w.fill(kv)
	cfg := bucketFeed()
	cfg.Budget, cfg.VerifyEvery = NewBudget(1000), 20*time.Millisecond
	f := w.run(cfg).ready()
	rec, _ := f.follow()
	w.set(kv, "new") // behind it, nothing is removed in sight of the feed without something being added
	w.remove("k7")
	w.set(kv, "newer")
	holes := func() (n int) {
		for _, text := range rec.all() {
			if isHole(text) {
				n++
			}
		}
		return n
	}
	eventually(t, "the hole", func() bool { return holes() > 0 })
	eventually(t, "everything to be told", func() bool { return f.State().Cursor == 52 })
	eventually(t, "the end of what was still to be told", func() bool { n := holes(); time.Sleep(2 * freshChecks * cfg.VerifyEvery); return n == holes() })
	if s := f.State(); s.Inc.Tag != s.Inc.Doubted || s.Doubt != math.MaxUint64 {
		t.Errorf("%+v", s)
	}
	eventually(t, "the metric", func() bool { return f.metric("headgate_feed_unproven", "KV_B") == 1 })
	before := holes()
	w.set(kv, "k1")
	eventually(t, "another one", func() bool { return holes() > before })
}

func TestMemory_OfKeysStaysWithinWhatTheyCount(t *testing.T) {
	if testing.Short() {
		t.Skip("SKIPPED with -short")
	}
	for _, n := range []int{1000, 30_000, 200_000, 260_000} {
		f := New(Config{})
		before := heapBytes()
		k := f.newKeys()
		for i := range n {
			k.take(fmt.Sprint("$KV.B.", i), false)
		}
		took := heapBytes() - before
		t.Logf("%d keys: %d B each", n, took/int64(n))
		if took > k.size() {
			t.Errorf("%d keys: counted %d, took %d", n, k.size(), took)
		}
		runtime.KeepAlive(k)
	}
}
