package feed

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
	"go.uber.org/goleak"

	"headgate/bridge/internal/encode"
	"headgate/bridge/internal/jsapi"
	"headgate/internal/devnats"
)

const patience = 20 * time.Second // for what has to happen, on a busy machine

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// world is a NATS server with a stream, and somebody who works on it.
type world struct {
	t      testing.TB
	server *devnats.Server
	nc     *nats.Conn
	js     jetstream.JetStream
}

func newWorld(t testing.TB) *world {
	t.Helper()
	s, err := devnats.Start(devnats.Options{JetStream: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Shutdown)
	return worldOn(t, s, s.URL())
}

func worldOn(t testing.TB, s *devnats.Server, url string) *world {
	nc := connect(t, url, nil, nil)
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	return &world{t, s, nc, js}
}

func connect(t testing.TB, url string, up func(*nats.Conn), down func(), opts ...nats.Option) *nats.Conn {
	t.Helper()
	closed := make(chan struct{})
	opts = append(opts, nats.MaxReconnects(-1), nats.ReconnectWait(20*time.Millisecond), nats.RetryOnFailedConnect(true),
		nats.ReconnectBufSize(-1), nats.ErrorHandler(func(*nats.Conn, *nats.Subscription, error) {}),
		nats.ClosedHandler(func(*nats.Conn) { close(closed) }))
	if up != nil {
		opts = append(opts, nats.ConnectHandler(up), nats.ReconnectHandler(up),
			nats.DisconnectErrHandler(func(*nats.Conn, error) { down() }))
	}
	nc, err := nats.Connect(url, opts...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		nc.Close()
		select {
		case <-closed:
		case <-time.After(patience):
		}
	})
	return nc
}

func (w *world) do(what string, f func(ctx context.Context) error) {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if err := f(ctx); err != nil {
		w.t.Fatalf("%s: %v", what, err)
	}
}

func (w *world) stream(cfg jetstream.StreamConfig) {
	w.t.Helper()
	w.do("create stream", func(ctx context.Context) error {
		_, err := w.js.CreateStream(ctx, cfg)
		return err
	})
}

func ordinary(subjects ...string) jetstream.StreamConfig {
	if subjects == nil {
		subjects = []string{"s.>"}
	}
	return jetstream.StreamConfig{Name: "S", Subjects: subjects, Storage: jetstream.FileStorage, AllowDirect: true}
}

func (w *world) deleteStream(name string) {
	w.t.Helper()
	w.do("delete stream", func(ctx context.Context) error { return w.js.DeleteStream(ctx, name) })
}

func (w *world) purge(opts ...jetstream.StreamPurgeOpt) {
	w.t.Helper()
	w.do("purge", func(ctx context.Context) error {
		s, err := w.js.Stream(ctx, "S")
		if err != nil {
			return err
		}
		return s.Purge(ctx, opts...)
	})
}

func (w *world) deleteMessage(seq uint64) {
	w.t.Helper()
	w.do("delete message", func(ctx context.Context) error {
		s, err := w.js.Stream(ctx, "S")
		if err != nil {
			return err
		}
		return s.DeleteMsg(ctx, seq)
	})
}

func (w *world) info(name string) (i *jetstream.StreamInfo) {
	w.t.Helper()
	w.do("info", func(ctx context.Context) error {
		s, err := w.js.Stream(ctx, name)
		if err == nil {
			i, err = s.Info(ctx)
		}
		return err
	})
	return i
}

func (w *world) put(subjects ...string) {
	w.t.Helper()
	for _, s := range subjects {
		w.do("publish", func(ctx context.Context) error {
			_, err := w.js.Publish(ctx, s, []byte(s))
			return err
		})
	}
}

// many publishes n messages, the subjects in turn.
func (w *world) many(n int, subjects ...string) {
	w.t.Helper()
	for i := range n {
		if _, err := w.js.PublishAsync(subjects[i%len(subjects)], fmt.Appendf(nil, "%d", i)); err != nil {
			w.t.Fatal(err)
		}
	}
	select {
	case <-w.js.PublishAsyncComplete():
	case <-time.After(patience):
		w.t.Fatal("publishing does not end")
	}
}

// running is a feed under test with a connection of its own.
type running struct {
	*Feed
	t    testing.TB
	nc   *nats.Conn
	reg  *prometheus.Registry
	log  *lockedBuffer
	stop func()
}

func (w *world) run(cfg Config, opts ...nats.Option) *running {
	w.t.Helper()
	return w.runOn(w.server.URL(), cfg, opts...)
}

func (w *world) runOn(url string, cfg Config, opts ...nats.Option) *running {
	w.t.Helper()
	r := &running{t: w.t, reg: prometheus.NewRegistry(), log: &lockedBuffer{}}
	if cfg.Stream == "" {
		cfg.Stream = "S"
	}
	cfg.API, cfg.ConsumerPrefix, cfg.Metrics = jsapi.New("", ""), "test", NewMetrics(r.reg)
	cfg.Log = slog.New(slog.NewTextHandler(r.log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	r.Feed = New(cfg)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- r.Run(ctx) }()
	r.stop = sync.OnceFunc(func() {
		cancel()
		select {
		case err := <-done:
			if err != nil {
				w.t.Errorf("Run: %v", err)
			}
		case <-time.After(patience):
			w.t.Error("Run does not return")
		}
	})
	r.nc = connect(w.t, url, r.Connected, r.Disconnected, opts...)
	w.t.Cleanup(r.stop)
	w.t.Cleanup(func() {
		if w.t.Failed() {
			w.t.Logf("log of the feed:\n%s", r.log)
		}
	})
	return r
}

func (r *running) ready() *running {
	r.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if err := r.Wait(ctx); err != nil {
		r.t.Fatalf("Wait: %v", err)
	}
	return r
}

func (r *running) metric(name, label string) float64 {
	r.t.Helper()
	families, err := r.reg.Gather()
	if err != nil {
		r.t.Fatal(err)
	}
	sum := 0.0
	for _, f := range families {
		for _, m := range f.GetMetric() {
			labels := m.GetLabel()
			if f.GetName() == name && (label == "" || slices.ContainsFunc(labels, func(l *dto.LabelPair) bool { return l.GetValue() == label })) {
				sum += m.GetCounter().GetValue() + m.GetGauge().GetValue()
			}
		}
	}
	return sum
}

type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !ok(); {
		if time.Now().After(deadline) {
			t.Fatalf("waited in vain for %s", what)
		}
		time.Sleep(2 * time.Millisecond)
	}
}

// recorder is a follower that keeps what it is given. Order is checked at once.
type recorder struct {
	mu    sync.Mutex
	texts []string
	items []*encode.Item
	holes []Hole
	at    uint64
	inc   *Incarnation
	wrong string
	hook  func()
}

func (r *recorder) Message(it *encode.Item, inc *Incarnation) {
	if r.hook != nil {
		r.hook()
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if !inc.Same(r.inc) || it.Seq <= r.at {
		r.wrong += fmt.Sprintf("message %d of %v behind %d of %v; ", it.Seq, inc, r.at, r.inc)
	}
	r.at = it.Seq
	r.items = append(r.items, it)
	r.texts = append(r.texts, fmt.Sprintf("%d %s", it.Seq, it.Subject))
}

func (r *recorder) Hole(h Hole, inc *Incarnation, position uint64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if h.Renamed && position < r.at {
		r.wrong += fmt.Sprintf("another tag at %d behind %d; ", position, r.at)
	}
	r.at, r.inc = position, inc
	if h.Renamed {
		return // nothing is missing
	}
	r.holes = append(r.holes, h)
	text := fmt.Sprintf("hole %s certain=%v %d-%d at %d", h.Reason, h.Certain, h.From, h.To, position)
	if h.Silent {
		text = fmt.Sprintf("silent at %d", position)
	}
	r.texts = append(r.texts, text)
}

func (r *recorder) Lost() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.texts = append(r.texts, "lost")
}

func (r *recorder) all() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.texts)
}

func (r *recorder) seqs() (list []uint64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, it := range r.items {
		list = append(list, it.Seq)
	}
	return list
}

// follow ties a recorder to the feed.
func (r *running) follow(filters ...string) (*recorder, *Link) {
	r.t.Helper()
	if filters == nil {
		filters = everything
	}
	rec := &recorder{}
	rec.mu.Lock()
	defer rec.mu.Unlock()
	l, inc, cursor, err := r.Follow(filters, rec)
	if err != nil {
		r.t.Fatalf("Follow: %v", err)
	}
	rec.inc, rec.at = inc, cursor
	r.t.Cleanup(l.Close)
	r.t.Cleanup(func() {
		rec.mu.Lock()
		defer rec.mu.Unlock()
		if rec.wrong != "" {
			r.t.Error(rec.wrong)
		}
	})
	return rec, l
}

func (r *recorder) waitFor(t testing.TB, want ...string) {
	t.Helper()
	deadline := time.Now().Add(patience)
	for {
		got := r.all()
		if slices.Equal(got, want) {
			return
		}
		if time.Now().After(deadline) || len(got) > len(want) {
			t.Fatalf("got  %q\nwant %q", got, want)
		}
		time.Sleep(2 * time.Millisecond)
	}
}

func (r *running) wait(what string, ok func(State) bool) State {
	r.t.Helper()
	eventually(r.t, what, func() bool { return ok(r.State()) })
	return r.State()
}

func seqsOf(items []*encode.Item) (list []uint64) {
	for _, it := range items {
		list = append(list, it.Seq)
	}
	return list
}

// away takes the connection from the feed, and waits until it reads no more.
func (r *running) away() {
	r.t.Helper()
	noticed := func() int { return strings.Count(r.log.String(), "cause=connection") }
	before := noticed()
	r.Disconnected()
	eventually(r.t, "the feed to read no more", func() bool { return noticed() > before })
}
