package bridge

import (
	"bytes"
	"context"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/goleak"

	"headgate/internal/config"
	"headgate/internal/cursor"
	"headgate/internal/devnats"
	"headgate/internal/flow"
)

const patience = 10 * time.Second // for what has to happen, on a busy machine

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func startNATS(t testing.TB, opts devnats.Options) *devnats.Server {
	t.Helper()
	s, err := devnats.Start(opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Shutdown)
	return s
}

func testNATS(url string) config.NATS {
	c := config.DefaultConfig().NATS
	c.URL, c.Name = url, "test"
	c.ReconnectWait, c.ReconnectJitter = 20*time.Millisecond, 20*time.Millisecond
	c.TopicLinger = 50 * time.Millisecond
	return c
}

// running is a bridge under test, its log and its metrics.
type running struct {
	*Bridge
	t    testing.TB
	reg  *prometheus.Registry
	log  *lockedBuffer
	stop func() // and wait
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

// startBridge runs a bridge until the test ends. It does not wait for NATS.
func startBridge(t testing.TB, cfg config.NATS, topics int) *running {
	t.Helper()
	r := &running{t: t, reg: prometheus.NewRegistry(), log: &lockedBuffer{}}
	log := slog.New(slog.NewTextHandler(r.log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	b, err := New(config.Config{NATS: cfg, JetStream: config.DefaultConfig().JetStream, Limit: config.Limit{Topics: topics}}, log, r.reg)
	if err != nil {
		t.Fatal(err)
	}
	r.Bridge = b
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- b.Run(ctx) }()
	r.stop = sync.OnceFunc(func() {
		r.sound()
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run: %v", err)
		}
	})
	t.Cleanup(r.stop)
	return r
}

// sound is what every test ends with: nothing that must always be so is broken, whatever the test has done.
func (r *running) sound() {
	r.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if broken, err := r.Check(ctx); err != nil || len(broken) > 0 {
		r.t.Errorf("broken: %q, %v", broken, err)
	}
}

// connectedBridge is a bridge that NATS has accepted.
func connectedBridge(t testing.TB, cfg config.NATS, topics int) *running {
	t.Helper()
	r := startBridge(t, cfg, topics)
	eventually(t, "the bridge to connect", func() bool { return r.Health().Connected })
	return r
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

// metric is the sum of a metric over its labels, of those that have the given label value if one is given.
func (r *running) metric(name string, label ...string) float64 {
	r.t.Helper()
	families, err := r.reg.Gather()
	if err != nil {
		r.t.Fatal(err)
	}
	sum := 0.0
	for _, f := range families {
		if f.GetName() != name {
			continue
		}
		for _, m := range f.GetMetric() {
			if len(label) > 0 && (len(m.GetLabel()) == 0 || m.GetLabel()[0].GetValue() != label[0]) {
				continue
			}
			sum += m.GetCounter().GetValue() + m.GetGauge().GetValue()
		}
	}
	return sum
}

func publisherOf(t testing.TB, url string, opts ...nats.Option) *nats.Conn {
	t.Helper()
	nc, err := nats.Connect(url, append(opts, nats.MaxReconnects(-1), nats.ReconnectWait(10*time.Millisecond))...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { closeConn(nc) })
	return nc
}

// closeConn waits for the goroutines of nats.go, which goleak would see.
func closeConn(nc *nats.Conn) {
	closed := make(chan struct{})
	nc.SetClosedHandler(func(*nats.Conn) { close(closed) })
	nc.Close()
	select {
	case <-closed:
	case <-time.After(patience):
	}
}

func publish(t testing.TB, nc *nats.Conn, subject, data string) {
	t.Helper()
	if err := nc.Publish(subject, []byte(data)); err != nil {
		t.Fatal(err)
	}
	if err := nc.Flush(); err != nil {
		t.Fatal(err)
	}
}

// recorder is a sink that keeps what it is given.
type recorder struct {
	mu     sync.Mutex
	events []flow.Event
	hook   func() // called in every Push, before the event is kept
}

func (r *recorder) Push(e flow.Event) {
	if r.hook != nil {
		r.hook()
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.events = append(r.events, e)
}

func (r *recorder) all() []flow.Event {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]flow.Event(nil), r.events...)
}

func (r *recorder) last() (e flow.Event) {
	if all := r.all(); len(all) > 0 {
		e = all[len(all)-1]
	}
	return e
}

// texts are the events as "data" or "type: data", a gap as "$gap reason certain source".
func texts(events []flow.Event) []string {
	out := []string{}
	for _, e := range events {
		if e.Frame != nil {
			out = append(out, frameText(string(e.Frame.AppendBlock(nil, nil))))
		}
	}
	return out
}

func frameText(block string) string {
	var kind string
	var data []string
	for line := range strings.Lines(block) {
		line = strings.TrimSuffix(line, "\n")
		if v, ok := strings.CutPrefix(line, "event: "); ok {
			kind = v
		}
		if v, ok := strings.CutPrefix(line, "data: "); ok {
			data = append(data, v)
		}
	}
	text := strings.Join(data, "\n")
	switch kind {
	case "":
		return text
	case "$gap":
		f := strings.FieldsFunc(text, func(r rune) bool { return strings.ContainsRune(`{}:,"`, r) })
		return "$gap " + f[1] + " " + f[3] + " " + f[5]
	}
	return kind + ": " + text
}

func (r *recorder) texts() []string { return texts(r.all()) }

func (r *recorder) waitFor(t testing.TB, want ...string) {
	t.Helper()
	deadline := time.Now().Add(patience)
	for {
		got := r.texts()
		if strings.Join(got, "|") == strings.Join(want, "|") {
			return
		}
		if time.Now().After(deadline) || len(got) > len(want) {
			t.Fatalf("got  %q\nwant %q", got, want)
		}
		time.Sleep(2 * time.Millisecond)
	}
}

var plain = flow.Format{Data: "text", Envelope: "none", Token: -1}

// request asks for core subjects as one source named "s", with a ring.
func request(cursor string, subjects ...string) flow.Request {
	return flow.Request{Format: plain, Cursor: cursor,
		Sources: []flow.Spec{{Name: "s", Subjects: subjects, RingSize: 64, RingAge: time.Minute}}}
}

func (r *running) open(req flow.Request) flow.Opened {
	r.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	o, err := r.Open(ctx, req)
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(o.Source.Close)
	return o
}

// follow opens and attaches a recorder; position is where it starts.
func (r *running) follow(req flow.Request) (sink *recorder, src flow.Source, position cursor.Position) {
	r.t.Helper()
	o := r.open(req)
	sink = &recorder{}
	return sink, o.Source, o.Source.Attach(sink)
}

// resumed is what a client with a cursor gets before live events: the gaps of Open and what Read gives.
func (r *running) resumed(req flow.Request) (start flow.Start, got []string, src flow.Source) {
	r.t.Helper()
	o := r.open(req)
	for _, g := range o.Gaps {
		got = append(got, frameText(string(g.AppendBlock(nil, nil))))
	}
	to := o.Source.Attach(&recorder{})
	if o.Start == flow.Replay {
		b := readAll(r.t, o.Source, o.From, to, 1<<20)
		got = append(got, texts(b)...)
	}
	return o.Start, got, o.Source
}

func readAll(t testing.TB, src flow.Source, from, to cursor.Position, max int) (events []flow.Event) {
	t.Helper()
	from = append(cursor.Position(nil), from...)
	for range 10000 {
		var batch flow.Batch
		calls := 0
		src.Read(flow.Ask{From: from, To: to, MaxBytes: max}, func(b flow.Batch) { batch = b; calls++ })
		if calls != 1 || batch.Err != nil {
			t.Fatalf("Read called done %d times, error %v", calls, batch.Err)
		}
		events = append(events, batch.Events...)
		if batch.Done {
			return events
		}
		if len(batch.Events) == 0 {
			t.Fatal("Read gave nothing, and is not done")
		}
		for _, e := range batch.Events {
			from[e.Entry].Seq = max64(from[e.Entry].Seq, e.Seq)
		}
	}
	t.Fatal("Read does not end")
	return nil
}

func max64(a, b uint64) uint64 {
	if a == cursor.Live {
		return b
	}
	return max(a, b)
}

// at is the cursor of a client that has had everything up to an event.
func at(start cursor.Position, e flow.Event) string {
	p := append(cursor.Position(nil), start...)
	p[e.Entry].Seq = e.Seq
	return p.String()
}
