package pull

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"go.uber.org/goleak"

	"headgate/bridge/internal/jsapi"
	"headgate/internal/devnats"
)

const patience = 20 * time.Second // for what has to happen, on a busy machine

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// world is a stream S that keeps one message per subject, and a consumer of it whose messages come to ch.
type world struct {
	t    *testing.T
	nc   *nats.Conn
	js   jetstream.JetStream
	ch   chan *nats.Msg
	made jetstream.ConsumerConfig
}

func newWorld(t *testing.T) *world {
	t.Helper()
	s, err := devnats.Start(devnats.Options{JetStream: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Shutdown)
	closed := make(chan struct{})
	w := &world{t: t, ch: make(chan *nats.Msg, 1000)}
	if w.nc, err = nats.Connect(s.URL(), nats.ClosedHandler(func(*nats.Conn) { close(closed) })); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { w.nc.Close(); <-closed })
	if w.js, err = jetstream.New(w.nc); err != nil {
		t.Fatal(err)
	}
	if _, err := w.js.CreateStream(t.Context(), jetstream.StreamConfig{Name: "S", Subjects: []string{"s.>"}, MaxMsgsPerSubject: 1}); err != nil {
		t.Fatal(err)
	}
	return w
}

func (w *world) put(subjects ...string) {
	w.t.Helper()
	for _, s := range subjects {
		if _, err := w.js.Publish(w.t.Context(), s, make([]byte, 300)); err != nil {
			w.t.Fatal(err)
		}
	}
}

func (w *world) consumer(cfg jetstream.ConsumerConfig) {
	w.t.Helper()
	cfg.Name, cfg.AckPolicy, cfg.MemoryStorage = "c", jetstream.AckNonePolicy, true
	made, err := jsapi.New("", "").CreateConsumer(w.t.Context(), w.nc, "S", cfg)
	if err != nil {
		w.t.Fatal(err)
	}
	w.made = made.Config
	if _, err := w.nc.ChanSubscribe("inbox", w.ch); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) puller(cfg Config) *Puller {
	cfg.Subject, cfg.Reply = "$JS.API.CONSUMER.MSG.NEXT.S.c", "inbox"
	return New(cfg, w.made)
}

// take gives the subjects of the messages until there have been n, or a while is over.
func (w *world) take(p *Puller, n int, while time.Duration) (subjects []string) {
	w.t.Helper()
	over := time.After(while)
	for len(subjects) < n {
		if err := p.Fill(w.nc); err != nil {
			w.t.Fatal(err)
		}
		select {
		case m := <-w.ch:
			if _, ok := PlaceOf(m.Reply); ok {
				p.Took()
				subjects = append(subjects, m.Subject)
			} else if e := p.Status(m); e != GoesOn {
				w.t.Fatalf("ending %d: %v", e, m.Header)
			}
		case <-over:
			return subjects
		}
	}
	return subjects
}

func TestPoke_GetsAConsumerPastWhatWasReplaced(t *testing.T) {
	w := newWorld(t)
	w.put("s.1", "s.2", "s.3", "s.4", "s.5")
	w.consumer(jetstream.ConsumerConfig{DeliverPolicy: jetstream.DeliverLastPerSubjectPolicy, FilterSubject: ">"})
	w.put("s.2", "s.4") // before their turn
	p := w.puller(Config{Batch: 100, Bytes: 1 << 20, Expires: 30 * time.Second})
	got := w.take(p, 5, 200*time.Millisecond)
	t.Logf("without it: %q", got)
	for end := time.Now().Add(patience); len(got) < 5 && time.Now().Before(end); {
		if err := p.Poke(w.nc); err != nil {
			t.Fatal(err)
		}
		got = append(got, w.take(p, 5-len(got), 20*time.Millisecond)...)
	}
	if slices.Sort(got); fmt.Sprint(got) != "[s.1 s.2 s.3 s.4 s.5]" {
		t.Errorf("%q", got)
	}
}

// However requests end, by number, by size or by time, everything comes, and each once.
func TestPuller_GoesOnBehindEveryEndOfARequest(t *testing.T) {
	for name, cfg := range map[string]Config{
		"number":       {Batch: 3, Bytes: 1 << 20, Expires: 30 * time.Second},
		"number ahead": {Batch: 3, Bytes: 1 << 20, Expires: 30 * time.Second, Ahead: true},
		"size":         {Batch: 1000, Bytes: 400, Expires: 30 * time.Second, Ahead: true},
		"too small":    {Batch: 1000, Bytes: 10, Expires: 30 * time.Second},
		"time":         {Batch: 1000, Bytes: 1 << 20, Expires: time.Second, Heartbeat: 100 * time.Millisecond},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			w.consumer(jetstream.ConsumerConfig{DeliverPolicy: jetstream.DeliverAllPolicy})
			p := w.puller(cfg)
			if name == "time" {
				w.take(p, 1, 1500*time.Millisecond)
			}
			for i := range 50 {
				w.put(fmt.Sprintf("s.%02d", i))
			}
			got := w.take(p, 50, patience)
			if len(slices.Compact(slices.Clone(got))) != 50 || !slices.IsSorted(got) {
				t.Errorf("%d: %q", len(got), got)
			}
		})
	}
}
