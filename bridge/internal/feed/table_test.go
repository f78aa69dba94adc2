package feed

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

const soon = 50 * time.Millisecond

// bucket makes a Key-Value bucket and a feed of it.
func (w *world) bucket(cfg jetstream.KeyValueConfig) (kv jetstream.KeyValue) {
	w.t.Helper()
	cfg.Bucket = "B"
	w.do("create bucket", func(ctx context.Context) (err error) {
		kv, err = w.js.CreateKeyValue(ctx, cfg)
		return err
	})
	return kv
}

// loose lets messages of the bucket be deleted one by one, as one may be that was not made by a NATS client.
func (w *world) loose(history int64) (kv jetstream.KeyValue) {
	w.t.Helper()
	w.stream(jetstream.StreamConfig{Name: "KV_B", Subjects: []string{"$KV.B.>"}, MaxMsgsPerSubject: history, AllowRollup: true,
		AllowDirect: true, Discard: jetstream.DiscardNew})
	w.do("bucket", func(ctx context.Context) (err error) {
		kv, err = w.js.KeyValue(ctx, "B")
		return err
	})
	return kv
}

func gone(h map[string][]string) bool {
	return len(h["KV-Operation"]) > 0 || len(h["Nats-Marker-Reason"]) > 0
}

func bucketFeed() Config {
	return Config{Stream: "KV_B", Table: true, Gone: gone, VerifyEvery: soon}
}

func (w *world) set(kv jetstream.KeyValue, keys ...string) {
	w.t.Helper()
	for _, k := range keys {
		w.do("put", func(ctx context.Context) error {
			_, err := kv.Put(ctx, k, []byte(k))
			return err
		})
	}
}

func (r *running) rows(filters ...string) string {
	if filters == nil {
		filters = everything
	}
	t, err := r.Table(filters)
	if err != nil {
		return "no table"
	}
	defer t.Use.End()
	var list []string
	for _, it := range t.Items {
		list = append(list, fmt.Sprintf("%d %s", it.Seq, strings.TrimPrefix(it.Subject, "$KV.B.")))
	}
	return fmt.Sprintf("%s at %d", strings.Join(list, ", "), t.At)
}

func (r *running) waitRows(want string) {
	r.t.Helper()
	for deadline := time.Now().Add(patience); r.rows() != want; time.Sleep(2 * time.Millisecond) {
		if time.Now().After(deadline) {
			r.t.Fatalf("got  %s\nwant %s", r.rows(), want)
		}
	}
}

func TestTable_HoldsTheValuesAndFollowsChanges(t *testing.T) {
	w := newWorld(t)
	kv := w.bucket(jetstream.KeyValueConfig{History: 3})
	w.set(kv, "a", "b", "a", "c", "d.e")
	w.do("delete", func(ctx context.Context) error { return kv.Delete(ctx, "b") })
	f := w.run(bucketFeed()).ready()
	f.waitRows("3 a, 4 c, 5 d.e at 6")
	rec, _ := f.follow("$KV.B.>")
	w.set(kv, "b", "f")
	w.do("purge", func(ctx context.Context) error { return kv.Purge(ctx, "a") })
	f.waitRows("4 c, 5 d.e, 7 b, 8 f at 9")
	rec.waitFor(t, "7 $KV.B.b", "8 $KV.B.f", "9 $KV.B.a")
	if got := f.rows("$KV.B.d.*", "$KV.B.*.e", "$KV.B.f"); got != "5 d.e, 8 f at 9" {
		t.Error(got)
	}
	w.do("purge deletes", func(ctx context.Context) error { return kv.PurgeDeletes(ctx, jetstream.DeleteMarkersOlderThan(-1)) })
	eventually(t, "the reload", func() bool { return f.metric("headgate_feed_resets_total", "table") > 0 })
	f.waitRows("4 c, 5 d.e, 7 b, 8 f at 9")
	if len(rec.holes) > 0 {
		t.Errorf("%v", rec.holes)
	}
}

// What vanishes without a message is found by comparing with the leader, and told as a hole with the table ready.
func TestTable_FindsWhatVanishedInSilence(t *testing.T) {
	for name, remove := range map[string]func(w *world, s jetstream.Stream, ctx context.Context) error{
		"raw purge": func(w *world, s jetstream.Stream, ctx context.Context) error {
			return s.Purge(ctx, jetstream.WithPurgeSubject("$KV.B.b"))
		},
		"message delete": func(w *world, s jetstream.Stream, ctx context.Context) error { return s.DeleteMsg(ctx, 2) },
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			kv := w.loose(1)
			w.set(kv, "a", "b", "c")
			f := w.run(bucketFeed()).ready()
			rec, _ := f.follow()
			f.waitRows("1 a, 2 b, 3 c at 3")
			w.do(name, func(ctx context.Context) error {
				s, err := w.js.Stream(ctx, "KV_B")
				if err != nil {
					return err
				}
				return remove(w, s, ctx)
			})
			f.waitRows("1 a, 3 c at 3")
			rec.waitFor(t, "hole reset certain=false 0-0 at 3")
			w.set(kv, "b")
			rec.waitFor(t, "hole reset certain=false 0-0 at 3", "4 $KV.B.b")
		})
	}
}

// With a history, the delete of a subject's last message brings back the one before it, and the number of subjects stays.
func TestTable_FindsAnOlderValueThatCameBack(t *testing.T) {
	w := newWorld(t)
	kv := w.loose(5)
	w.set(kv, "a", "b", "a", "c")
	f := w.run(bucketFeed()).ready()
	rec, _ := f.follow()
	f.waitRows("2 b, 3 a, 4 c at 4")
	w.do("delete", func(ctx context.Context) error {
		s, err := w.js.Stream(ctx, "KV_B")
		if err != nil {
			return err
		}
		return s.DeleteMsg(ctx, 3)
	})
	f.waitRows("1 a, 2 b, 4 c at 4")
	rec.waitFor(t, "hole reset certain=false 0-0 at 4")
}

// In a bucket that never rests no number tells of it.
func TestTable_FindsAnOlderValueThatCameBackWhileOthersChange(t *testing.T) {
	w := newWorld(t)
	kv := w.loose(5)
	w.set(kv, "a", "b", "a")
	f := w.run(bucketFeed()).ready()
	rec, _ := f.follow()
	stop, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		for {
			select {
			case <-stop:
				return
			default:
				_, _ = kv.Put(context.Background(), "c", []byte("c"))
			}
		}
	}()
	defer func() { close(stop); <-done }()
	f.wait("changes", func(s State) bool { return s.Cursor > 10 })
	w.do("delete", func(ctx context.Context) error {
		s, err := w.js.Stream(ctx, "KV_B")
		if err != nil {
			return err
		}
		return s.DeleteMsg(ctx, 3)
	})
	eventually(t, "the hole", func() bool { return slices.ContainsFunc(rec.all(), isHole) })
	eventually(t, "the older value", func() bool { return strings.HasPrefix(f.rows(), "1 a, 2 b, ") })
}

func TestTable_MaxAge(t *testing.T) {
	w := newWorld(t)
	kv := w.bucket(jetstream.KeyValueConfig{TTL: 1500 * time.Millisecond})
	w.set(kv, "a", "b")
	f := w.run(bucketFeed()).ready()
	rec, _ := f.follow()
	f.waitRows(" at 2")
	eventually(t, "a hole", func() bool { return len(rec.all()) > 0 })
	if got := rec.all(); got[0] != "hole reset certain=false 0-0 at 2" {
		t.Errorf("%q", got)
	}
}

// The last message of the bucket is deleted: what the leader says is its last message is none.
func TestTable_LoadsBehindADeletedLastMessage(t *testing.T) {
	w := newWorld(t)
	kv := w.loose(1)
	w.set(kv, "a", "b", "c")
	w.do("delete", func(ctx context.Context) error {
		s, err := w.js.Stream(ctx, "KV_B")
		if err != nil {
			return err
		}
		return s.DeleteMsg(ctx, 3)
	})
	f := w.run(bucketFeed()).ready()
	f.waitRows("1 a, 2 b at 3")
}

func TestTable_TooLargeIsLeftOut(t *testing.T) {
	w := newWorld(t)
	kv := w.bucket(jetstream.KeyValueConfig{})
	for i := range 50 {
		w.set(kv, fmt.Sprint(i))
	}
	cfg := bucketFeed()
	cfg.Budget = NewBudget(10_000)
	f := w.run(cfg).ready()
	if got := f.rows(); got != "no table" {
		t.Fatal(got)
	}
	rec, _ := f.follow()
	w.set(kv, "a")
	rec.waitFor(t, "51 $KV.B.a")
	if n := strings.Count(f.log.String(), "JETSTREAM_TAIL_BYTES"); n != 1 {
		t.Errorf("warned %d times", n)
	}

	cfg.Budget = NewBudget(64_000) // it fits at first
	g := w.run(cfg).ready()
	if g.rows() == "no table" {
		t.Fatal("no table")
	}
	for i := range 60 {
		w.set(kv, fmt.Sprint("x", i))
	}
	g.waitRows("no table")
}

func TestTable_BucketMadeAnew(t *testing.T) {
	w := newWorld(t)
	kv := w.bucket(jetstream.KeyValueConfig{})
	w.set(kv, "a", "b")
	f := w.run(bucketFeed()).ready()
	rec, _ := f.follow()
	w.deleteStream("KV_B")
	rec.waitFor(t, "hole reset certain=false 0-0 at 2")
	if got := f.rows(); got != "no table" {
		t.Error(got)
	}
	kv = w.bucket(jetstream.KeyValueConfig{})
	w.set(kv, "c")
	f.waitRows("1 c at 1")
	eventually(t, "the position to begin again", func() bool { return strings.HasPrefix(rec.all()[1], "silent at") })
}

// Changes while the feed was away arrive as messages, though older ones of the same keys are gone.
func TestTable_ChangesWhileAway(t *testing.T) {
	w := newWorld(t)
	kv := w.bucket(jetstream.KeyValueConfig{})
	w.set(kv, "a", "b")
	f := w.run(bucketFeed()).ready()
	rec, _ := f.follow()
	f.Disconnected()
	w.set(kv, "a", "b", "b", "c")
	w.do("delete", func(ctx context.Context) error { return kv.Delete(ctx, "a") })
	f.Connected(f.nc)
	f.waitRows("5 b, 6 c at 7")
	eventually(t, "the changes", func() bool { return slices.Contains(rec.all(), "7 $KV.B.a") })
	if len(rec.holes) > 0 {
		t.Errorf("%q", rec.all())
	}
}
