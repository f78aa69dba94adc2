package gateway_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"headgate/internal/cursor"
)

// The model of deliveries: a world that knows what every stream has had, replicas of the whole gateway in front of it, and clients that
// are cut and come back at random. What a client was told is compared with the world when everything is quiet.
//
//	model_world_test.go    what was published
//	model_replica_test.go  the gateways
//	model_client_test.go   a client
//	model_blocks_test.go   what its blocks claim
//	model_verify_test.go   whether the claims are true

// world is what the streams have had, by what their leaders acknowledged.
type world struct {
	t    testing.TB
	seed uint64
	nc   *nats.Conn
	js   jetstream.JetStream

	quiet sync.RWMutex // held while nothing may be published

	mu    sync.Mutex
	lives map[cursor.Tag]*life
	now   map[string]*life // by stream
	core  map[string]int   // by core subject: how many were published
	kvs   map[string]jetstream.KeyValue

	coming map[string]*life // that are being restored
}

// life is one incarnation of a stream.
type life struct {
	stream  string
	number  int
	tag     cursor.Tag
	stored  map[uint64]stored
	last    uint64
	removed map[uint64]bool // taken out in the middle, which nobody has to be told
	gone    map[uint64]bool // of a bucket: it takes a key away
	purged  map[uint64]bool // taken away from the beginning, of which those are told who have not had it
}

type stored struct{ subject, data string }

func newWorld(t testing.TB, url string) *world {
	t.Helper()
	seed := uint64(time.Now().UnixNano())
	if text := modelSeed(); text != 0 {
		seed = text
	}
	t.Logf("seed %d: HEADGATE_MODEL_SEED=%[1]d makes the same choices again", seed)
	nc, err := nats.Connect(url, nats.MaxReconnects(-1), nats.ReconnectWait(10*time.Millisecond), nats.RetryOnFailedConnect(true),
		nats.ErrorHandler(func(*nats.Conn, *nats.Subscription, error) {}))
	if err != nil {
		t.Fatal(err)
	}
	closed := make(chan struct{})
	nc.SetClosedHandler(func(*nats.Conn) { close(closed) })
	t.Cleanup(func() {
		nc.Close()
		select {
		case <-closed:
		case <-time.After(patience):
		}
	})
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	return &world{t: t, seed: seed, nc: nc, js: js, lives: map[cursor.Tag]*life{}, now: map[string]*life{}, core: map[string]int{}, kvs: map[string]jetstream.KeyValue{},
		coming: map[string]*life{}}
}

func (w *world) rand(stream uint64) *rand.Rand { return rand.New(rand.NewPCG(w.seed, stream)) }

// do is a step that must succeed, perhaps after a while.
func (w *world) do(what string, f func(ctx context.Context) error) {
	w.t.Helper()
	var err error
	for deadline := time.Now().Add(2 * patience); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		ctx, cancel := context.WithTimeout(context.Background(), 3*time.Second)
		err = f(ctx)
		cancel()
		if err == nil {
			return
		}
	}
	w.t.Errorf("%s: %v", what, err)
}

// create makes a stream, or one that is there known.
func (w *world) create(cfg jetstream.StreamConfig) *life {
	w.t.Helper()
	var l *life
	w.do("create "+cfg.Name, func(ctx context.Context) error {
		s, err := w.js.CreateStream(ctx, cfg)
		if err == nil {
			l = w.born(cfg.Name, s.CachedInfo().Created)
		}
		return err
	})
	return l
}

// bucket makes a bucket.
func (w *world) bucket(cfg jetstream.KeyValueConfig) (kv jetstream.KeyValue) {
	w.t.Helper()
	w.do("create bucket", func(ctx context.Context) (err error) {
		if kv, err = w.js.CreateKeyValue(ctx, cfg); err != nil {
			return err
		}
		s, err := w.js.Stream(ctx, "KV_"+cfg.Bucket)
		if err == nil {
			w.born("KV_"+cfg.Bucket, s.CachedInfo().Created)
			w.mu.Lock()
			w.kvs["KV_"+cfg.Bucket] = kv
			w.mu.Unlock()
		}
		return err
	})
	return kv
}

func (w *world) born(stream string, created time.Time) *life {
	w.mu.Lock()
	defer w.mu.Unlock()
	l := newLife(stream, 0)
	l.tag = tagOf(stream, created)
	if old := w.now[stream]; old != nil {
		l.number = old.number + 1
	}
	w.lives[l.tag], w.lives[doubtedTagOf(stream, created)], w.now[stream] = l, l, l
	return l
}

// newLife is one whose tag is not known yet.
func newLife(stream string, number int) *life {
	return &life{stream: stream, number: number, stored: map[uint64]stored{}, removed: map[uint64]bool{}, purged: map[uint64]bool{}, gone: map[uint64]bool{}}
}

func tagOf(stream string, created time.Time) cursor.Tag {
	return cursor.SourceTag(stream, strconv.FormatInt(created.UnixNano(), 10))
}

// doubtedTagOf is the tag of positions of a bucket that no replica takes up, for nobody knows whether a key went without a message. On a
// slow machine the comparisons that prove it come late.
func doubtedTagOf(stream string, created time.Time) cursor.Tag {
	return cursor.SourceTag(stream, strconv.FormatInt(created.UnixNano(), 10)+" doubted")
}

func (w *world) remove(stream string) {
	w.t.Helper()
	w.do("delete "+stream, func(ctx context.Context) error { return w.js.DeleteStream(ctx, stream) })
}

// publish stores a message and notes where. It fails while NATS is away; then nobody knows whether it was stored.
func (w *world) publish(stream, subject, data string) error {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	w.quiet.RLock()
	defer w.quiet.RUnlock()
	return w.store(ctx, stream, subject, data)
}

// store is publish for whoever holds quiet.
func (w *world) store(ctx context.Context, stream, subject, data string) error {
	w.mu.Lock()
	l := w.now[stream]
	w.mu.Unlock()
	ack, err := w.js.Publish(ctx, subject, []byte(data), jetstream.WithRetryAttempts(0))
	if err != nil {
		return err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	l.note(ack.Sequence, stored{subject, data})
	return nil
}

// note needs mu.
func (l *life) note(seq uint64, m stored) {
	l.stored[seq] = m
	l.last = max(l.last, seq)
}

// reread takes what a stream has from the stream itself: after an outage not everything that was stored was acknowledged.
func (w *world) reread(stream string) {
	w.t.Helper()
	w.do("read "+stream, func(ctx context.Context) error {
		s, err := w.js.Stream(ctx, stream)
		if err != nil {
			return err
		}
		info, err := s.Info(ctx)
		if err != nil {
			return err
		}
		c, err := s.OrderedConsumer(ctx, jetstream.OrderedConsumerConfig{})
		if err != nil {
			return err
		}
		for whole := info.State.Msgs == 0; !whole; { // the last sequence may be one that was deleted
			batch, err := c.Fetch(500, jetstream.FetchMaxWait(time.Second))
			if err != nil {
				return err
			}
			for m := range batch.Messages() {
				meta, err := m.Metadata()
				if err != nil {
					return err
				}
				w.found(stream, meta.Sequence.Stream, stored{m.Subject(), string(m.Data())})
				whole = meta.NumPending == 0
			}
			if ctx.Err() != nil {
				return ctx.Err()
			}
		}
		w.mu.Lock()
		w.now[stream].last = max(w.now[stream].last, info.State.LastSeq)
		w.mu.Unlock()
		return nil
	})
}

// lifeOf is the life that a tag names; nil = the tag is not of a stream.
func (w *world) lifeOf(tag cursor.Tag) *life {
	w.mu.Lock()
	l := w.lives[tag]
	w.mu.Unlock()
	if l != nil {
		return l
	}
	if stream, ok := w.familiar(tag); ok { // a client may hear of it first
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		_ = w.whoIs(ctx, stream) // it may be away; then the tag stays unknown
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.lives[tag]
}

// found notes a message that is in a stream.
func (w *world) found(stream string, at uint64, m stored) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if old, ok := w.now[stream].stored[at]; ok && old != m {
		w.t.Errorf("NATS acknowledged %q as %s %d, which is %q", old, stream, at, m.data)
	}
	w.now[stream].note(at, m)
}

// subjects of the model's streams: A is a.<tenant>.<kind>, B is b.<kind>.
func someSubject(stream string, rnd *rand.Rand) string {
	if stream == "B" {
		return fmt.Sprintf("b.k%d", rnd.IntN(4))
	}
	return fmt.Sprintf("a.t%d.k%d", rnd.IntN(4), rnd.IntN(3))
}

// some is a payload. Now and then it is large, so that sockets fill.
func some(rnd *rand.Rand, n int) string {
	text := fmt.Sprintf("%d %x", n, rnd.Uint32())
	if rnd.IntN(12) == 0 {
		text += strings.Repeat("x", rnd.IntN(6000))
	}
	return text
}

// publishing publishes to a stream until ctx ends, in bursts, about perSecond messages.
func (w *world) publishing(ctx context.Context, stream string, number uint64, perSecond int) {
	rnd := w.rand(1000 + number)
	for n := 0; ctx.Err() == nil; {
		burst := 1 + rnd.IntN(40)
		for range burst {
			n++
			_ = w.publish(stream, someSubject(stream, rnd), some(rnd, n)) // it is away now and then
		}
		nap(ctx, time.Duration(rnd.IntN(1+2*burst*int(time.Second)/perSecond)))
	}
}

// publishingCore publishes numbered messages of core subjects.
func (w *world) publishingCore(ctx context.Context, perSecond int) {
	rnd := w.rand(999)
	for ctx.Err() == nil {
		s := fmt.Sprintf("c.x%d", rnd.IntN(3))
		w.mu.Lock()
		w.core[s]++
		n := w.core[s]
		w.mu.Unlock()
		_ = w.nc.Publish(s, strconv.AppendInt(nil, int64(n), 10))
		nap(ctx, time.Duration(rnd.IntN(2*int(time.Second)/perSecond)))
	}
	_ = w.nc.Flush()
}

// nap waits for d, or less when ctx ends.
func nap(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-timer.C:
	}
}
