package gateway_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"headgate/internal/cursor"
)

// backup is what `nats stream backup` makes of a stream, beside what the world knew to be in it.
type backup struct {
	stream string
	config json.RawMessage
	state  json.RawMessage
	last   uint64
	chunks [][]byte
	of     *life
	gone   map[uint64]bool // removed or purged before
}

// jsAPI makes a request of the JetStream API.
func (w *world) jsAPI(ctx context.Context, subject string, ask, answer any) error {
	body, err := json.Marshal(ask)
	if err != nil {
		return err
	}
	m, err := w.nc.RequestWithContext(ctx, "$JS.API."+subject, body)
	if err != nil {
		return err
	}
	var failed struct{ Error *jetstream.APIError }
	if err := errors.Join(json.Unmarshal(m.Data, &failed), json.Unmarshal(m.Data, answer)); err != nil {
		return err
	}
	if failed.Error != nil {
		return failed.Error
	}
	return nil
}

// backUp reads a stream as `nats stream backup` does, while it goes on: it asks for the snapshot, acknowledges each chunk, and is told
// the end by an empty one (JSApiStreamSnapshotRequest and streamSnapshot of nats-server, createSnapshot of jsm.go). nil = the stream has no
// leader that answers.
func (w *world) backUp(stream string) *backup {
	w.t.Helper()
	w.mu.Lock()
	l := w.now[stream]
	b := &backup{stream: stream, of: l, gone: maps.Clone(l.removed)}
	maps.Copy(b.gone, l.purged)
	w.mu.Unlock()
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	if err := w.snapshot(ctx, b); err != nil {
		w.t.Logf("no backup of %s: %v", stream, err)
		return nil
	}
	w.t.Logf("%s backup of %s up to %d, %d chunks", time.Now().Format("05.000"), stream, b.last, len(b.chunks))
	return b
}

func (w *world) snapshot(ctx context.Context, b *backup) error {
	sub, err := w.nc.SubscribeSync(w.nc.NewInbox())
	if err != nil {
		return err
	}
	defer sub.Unsubscribe()
	var r struct{ Config, State json.RawMessage }
	ask := map[string]any{"deliver_subject": sub.Subject, "no_consumers": true, "chunk_size": 16 << 10}
	if err := w.jsAPI(ctx, "STREAM.SNAPSHOT."+b.stream, ask, &r); err != nil {
		return err
	}
	b.config, b.state = r.Config, r.State
	for {
		m, err := sub.NextMsgWithContext(ctx)
		if err != nil {
			return err
		}
		if len(m.Data) == 0 {
			if status := m.Header.Get("Status"); status != "" && status != "204" {
				return fmt.Errorf("snapshot: %s %s", status, m.Header.Get("Description"))
			}
			break
		}
		b.chunks = append(b.chunks, m.Data)
		if m.Reply != "" {
			_ = m.Respond(nil)
		}
	}
	var state struct {
		Last uint64 `json:"last_seq"`
	}
	err = json.Unmarshal(b.state, &state)
	b.last = state.Last
	return err
}

// restore makes a stream of a backup, as `nats stream restore` does: each chunk is answered before the next one is sent, and the last,
// which is empty, with what was made (processStreamRestore of nats-server, restoreSnapshot of jsm.go). It is in no hurry, so that gateways
// meet a stream which is only half there.
func (w *world) restore(b *backup, rnd *rand.Rand) {
	w.t.Helper()
	w.comes(b)
	w.do("restore "+b.stream, func(ctx context.Context) error {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), patience)
		defer cancel()
		var begun struct {
			To string `json:"deliver_subject"`
		}
		if err := w.jsAPI(ctx, "STREAM.RESTORE."+b.stream, map[string]any{"config": b.config, "state": b.state}, &begun); err != nil {
			return err
		}
		for _, chunk := range b.chunks {
			nap(ctx, time.Duration(rnd.IntN(15))*time.Millisecond)
			if m, err := w.nc.RequestWithContext(ctx, begun.To, chunk); err != nil || len(m.Data) > 0 {
				return fmt.Errorf("chunk: %w", errors.Join(err, answered(m)))
			}
		}
		m, err := w.nc.RequestWithContext(ctx, begun.To, nil)
		if err != nil {
			return err
		}
		var made struct{ Error *jetstream.APIError }
		if err := json.Unmarshal(m.Data, &made); err != nil || made.Error != nil {
			return fmt.Errorf("restore: %w", errors.Join(err, answered(m)))
		}
		return nil
	})
	w.do("look at "+b.stream, func(ctx context.Context) error { return w.whoIs(ctx, b.stream) })
	w.t.Logf("%s restored %s up to %d", time.Now().Format("05.000"), b.stream, b.last)
}

func answered(m *nats.Msg) error {
	if m == nil {
		return nil
	}
	return errors.New(string(m.Data))
}

// comes says what a stream has when it is there again, for clients may hear of it first.
func (w *world) comes(b *backup) {
	w.mu.Lock()
	defer w.mu.Unlock()
	l := newLife(b.stream, w.now[b.stream].number+1)
	for seq, m := range b.of.stored {
		if seq <= b.last && !b.gone[seq] {
			l.note(seq, m)
			l.gone[seq] = b.of.gone[seq]
		}
	}
	l.last = b.last
	w.coming[b.stream] = l
}

// whoIs asks NATS which life of a stream is the present one. A stream of several replicas that was restored has another time of creation
// by its leader than by the others (nats-server 2.15), so a change of leaders makes it another one, with the same messages.
func (w *world) whoIs(ctx context.Context, stream string) error {
	s, err := w.js.Stream(ctx, stream)
	if err != nil {
		return err
	}
	created := s.CachedInfo().Created
	tag := tagOf(stream, created)
	w.mu.Lock()
	defer w.mu.Unlock()
	l := w.lives[tag]
	switch {
	case w.coming[stream] != nil && l == nil:
		l = w.coming[stream]
		delete(w.coming, stream)
		l.tag = tag
	case l == nil:
		w.t.Logf("%s is of %v by now, with the same messages", stream, created)
		same := *w.now[stream]
		l = &same
		l.tag, l.number = tag, l.number+1
	}
	w.lives[tag], w.lives[doubtedTagOf(stream, created)], w.now[stream] = l, l, l
	return nil
}

// familiar says whether a tag may be of one of the streams.
func (w *world) familiar(tag cursor.Tag) (stream string, ok bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for stream, l := range w.now {
		if tag.SameSource(l.tag) {
			return stream, true
		}
	}
	return "", false
}

// TestModel_AStreamThatIsRestored runs clients of a cluster while a stream and a bucket are backed up, go on, are deleted, and restored
// from an older backup, so that what comes then has the sequences of what is lost.
func TestModel_AStreamThatIsRestored(t *testing.T) {
	t.Parallel()
	_, url := cluster(t)
	w := newWorld(t, url)
	w.create(streamA(func(c *jetstream.StreamConfig) { c.Replicas = 3 }))
	b := streamB()
	b.Replicas = 3
	w.create(b)
	kv := w.bucket(jetstream.KeyValueConfig{Bucket: "FLAGS", History: 3, Replicas: 3})
	routes := modelRoutes()
	one := startReplica(t, modelConfig(url, routesOf(routes))).ready()
	two := startReplica(t, modelConfig(url, routesOf(routes))).ready()
	var clients []*modelClient
	for n := range 2 * len(routes) {
		clients = append(clients, w.client(t, n, routes[n%len(routes)], one, two))
	}
	ctx, cancel := context.WithTimeout(t.Context(), 9*time.Second)
	defer cancel()
	restores := map[string]int{}
	everybody(ctx, w, clients,
		func(ctx context.Context) { w.publishing(ctx, "A", 1, 300) },
		func(ctx context.Context) { w.publishing(ctx, "B", 3, 50) },
		func(ctx context.Context) { w.changing(ctx, kv, 4, 60) },
		func(ctx context.Context) { w.restoring(ctx, restores) })
	if restores["A"] == 0 || restores["KV_FLAGS"] == 0 {
		t.Errorf("restored: %v", restores)
	}
	streams := []string{"A", "B", "KV_FLAGS"}
	for _, stream := range streams {
		w.do("look at "+stream, func(ctx context.Context) error { return w.whoIs(ctx, stream) })
		w.reread(stream)
	}
	finish(w, clients, streams...)
	w.sameKeys(clients)
}

// restoring backs streams up and restores them until ctx ends, now and then with another leader behind it.
func (w *world) restoring(ctx context.Context, restores map[string]int) {
	rnd := w.rand(6000)
	streams := []string{"A", "KV_FLAGS", "B"}
	for n := 0; ; n++ {
		stream := streams[n%len(streams)]
		nap(ctx, time.Duration(200+rnd.IntN(400))*time.Millisecond)
		if ctx.Err() != nil {
			return
		}
		b := w.backUp(stream)
		if b == nil {
			continue
		}
		nap(ctx, time.Duration(100+rnd.IntN(600))*time.Millisecond)
		w.quiet.Lock()
		w.reread(stream) // behind another leader not everything that was stored was acknowledged
		w.remove(stream)
		if rnd.IntN(2) == 0 { // now and then for so long that everybody hears of it
			nap(ctx, time.Duration(rnd.IntN(1200))*time.Millisecond)
		}
		w.restore(b, rnd)
		restores[stream]++
		w.quiet.Unlock()
		if rnd.IntN(3) == 0 {
			w.stepDown(ctx, "STREAM.LEADER.STEPDOWN."+stream)
		}
	}
}
