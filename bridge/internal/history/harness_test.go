package history

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
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
	"headgate/internal/subject"
)

const patienceOfTests = 20 * time.Second

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// world is a NATS with JetStream, and a coordinator.
type world struct {
	t      testing.TB
	server *devnats.Server
	nc     *nats.Conn // the test's own
	js     jetstream.JetStream
	c      *Coordinator
	cfg    Config
	stop   func()
}

func newWorld(t testing.TB, change func(*Config)) *world {
	t.Helper()
	s, err := devnats.Start(devnats.Options{JetStream: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Shutdown)
	return worldAt(t, s, s.URL(), change)
}

func worldAt(t testing.TB, s *devnats.Server, url string, change func(*Config)) *world {
	t.Helper()
	w := &world{t: t, server: s, nc: connect(t, url)}
	js, err := jetstream.New(w.nc)
	if err != nil {
		t.Fatal(err)
	}
	w.js = js
	w.cfg = Config{API: jsapi.New("", ""), Metrics: NewMetrics(prometheus.NewRegistry())}
	if change != nil {
		change(&w.cfg)
	}
	w.c = New(w.cfg)
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- w.c.Run(ctx) }()
	w.stop = sync.OnceFunc(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(w.stop)
	w.c.Connected(connect(t, url, nats.DisconnectErrHandler(func(*nats.Conn, error) { w.c.Disconnected() }),
		nats.ReconnectHandler(w.c.Connected), nats.ReconnectWait(20*time.Millisecond), nats.MaxReconnects(-1)))
	return w
}

func connect(t testing.TB, url string, opts ...nats.Option) *nats.Conn {
	t.Helper()
	nc, err := nats.Connect(url, opts...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	return nc
}

func (w *world) context() context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), patienceOfTests)
	w.t.Cleanup(cancel)
	return ctx
}

// stream makes a stream; direct unless the configuration is changed.
func (w *world) stream(name string, change func(*jetstream.StreamConfig)) time.Time {
	w.t.Helper()
	cfg := jetstream.StreamConfig{Name: name, Subjects: []string{name + ".>"}, AllowDirect: true}
	if change != nil {
		change(&cfg)
	}
	// nats-server removes the files of a deleted stream a little after it has said so, and until then refuses to make it anew.
	const storeError = 10049
	var refused *jetstream.APIError
	s, err := w.js.CreateStream(w.context(), cfg)
	for end := time.Now().Add(patienceOfTests); errors.As(err, &refused) && refused.ErrorCode == storeError && time.Now().Before(end); {
		s, err = w.js.CreateStream(w.context(), cfg)
	}
	if err != nil {
		w.t.Fatal(err)
	}
	return s.CachedInfo().Created
}

// fill publishes n messages on subjects that next chooses.
func (w *world) fill(n int, next func(i int) string) {
	w.t.Helper()
	for i := 0; i < n; {
		var acks []jetstream.PubAckFuture
		for range min(1000, n-i) {
			m := &nats.Msg{Subject: next(i), Data: fmt.Appendf(nil, "message %d", i)}
			if i%7 == 0 {
				m.Header = nats.Header{"X": {"a", "b"}, "Nats-Sequence": {"77"}}
			}
			f, err := w.js.PublishMsgAsync(m)
			if err != nil {
				w.t.Fatal(err)
			}
			acks = append(acks, f)
			i++
		}
		for _, f := range acks {
			select {
			case <-f.Ok():
			case err := <-f.Err():
				w.t.Fatal(err)
			}
		}
	}
}

// content is the reference: what the stream has, read by an ordered consumer of nats.go.
func (w *world) content(name string) []*encode.Item {
	w.t.Helper()
	s, err := w.js.Stream(w.context(), name)
	if err != nil {
		w.t.Fatal(err)
	}
	if s.CachedInfo().State.Msgs == 0 {
		return nil
	}
	c, err := s.OrderedConsumer(w.context(), jetstream.OrderedConsumerConfig{})
	if err != nil {
		w.t.Fatal(err)
	}
	it, err := c.Messages()
	if err != nil {
		w.t.Fatal(err)
	}
	defer it.Stop()
	var items []*encode.Item
	for {
		m, err := it.Next()
		if err != nil {
			w.t.Fatal(err)
		}
		meta, err := m.Metadata()
		if err != nil {
			w.t.Fatal(err)
		}
		item := &encode.Item{Seq: meta.Sequence.Stream}
		item.Message = encode.Message{Subject: m.Subject(), Data: m.Data(), Header: m.Headers(), At: meta.Timestamp.UnixNano()}
		items = append(items, item)
		if meta.NumPending == 0 {
			if err := s.DeleteConsumer(w.context(), c.CachedInfo().Name); err != nil {
				w.t.Fatal(err)
			}
			return items
		}
	}
}

func want(content []*encode.Item, filters []string, from, to uint64) []*encode.Item {
	var items []*encode.Item
	for _, it := range content {
		if it.Seq > from && it.Seq <= to && slices.ContainsFunc(filters, func(f string) bool { return subject.Match(f, it.Subject) }) {
			items = append(items, it)
		}
	}
	return items
}

func same(a, b []*encode.Item) string {
	if len(a) != len(b) {
		return fmt.Sprintf("%d items, want %d: %v, want %v", len(a), len(b), seqs(a), seqs(b))
	}
	for i := range a {
		x, y := a[i], b[i]
		if x.Seq != y.Seq || x.Subject != y.Subject || string(x.Data) != string(y.Data) || x.At != y.At ||
			fmt.Sprint(x.Header) != fmt.Sprint(y.Header) {
			return fmt.Sprintf("item %d: %d %+v, want %d %+v", i, x.Seq, x.Message, y.Seq, y.Message)
		}
	}
	return ""
}

func seqs(items []*encode.Item) []uint64 {
	var s []uint64
	for _, it := range items[:min(len(items), 30)] {
		s = append(s, it.Seq)
	}
	return s
}

func (w *world) ask(what func(done func(Answer))) Answer {
	w.t.Helper()
	ch := make(chan Answer, 2)
	what(func(a Answer) { ch <- a })
	select {
	case a := <-ch:
		return a
	case <-time.After(2 * patience):
		w.t.Fatal("no answer")
		return Answer{}
	}
}

// readAll reads a range to its end, as a client does.
func (w *world) readAll(r Request) (items []*encode.Item, first uint64, err error) {
	for r.From < r.To {
		a := w.ask(func(done func(Answer)) { w.c.Read(r, done) })
		if a.Err != nil {
			return items, first, a.Err
		}
		if a.Upto < r.From || a.Upto > r.To {
			return items, first, fmt.Errorf("(%d, %d] answered up to %d", r.From, r.To, a.Upto)
		}
		first = max(first, a.First)
		items = append(items, a.Items...)
		r.From = a.Upto
	}
	return items, first, nil
}

func value(c prometheus.Metric) float64 {
	var m dto.Metric
	if err := c.Write(&m); err != nil {
		panic(err)
	}
	if m.Counter != nil {
		return m.Counter.GetValue()
	}
	return m.Gauge.GetValue()
}

func (w *world) noConsumers(name string) {
	w.t.Helper()
	s, err := w.js.Stream(w.context(), name)
	if err != nil {
		w.t.Fatal(err)
	}
	deadline := time.Now().Add(patienceOfTests)
	for {
		left := 0
		for range s.ListConsumers(w.context()).Info() {
			left++
		}
		if left == 0 {
			return
		}
		if time.Now().After(deadline) {
			w.t.Fatalf("%d consumers left", left)
		}
	}
}

func seeded(t testing.TB) *rand.Rand {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	return rand.New(rand.NewPCG(seed, 1))
}

func randomFilters(r *rand.Rand, name string) []string {
	pool := []string{">", "*.*", "a.>", "*.1", "a.1", "a.2", "b.1", "b.3", "c.0", "c.*", "d.d", "a.0", "b.0", "b.2"}
	var list []string
	for range 1 + r.IntN(3) {
		list = append(list, name+"."+pool[r.IntN(len(pool))])
	}
	if r.IntN(15) == 0 {
		list = nil
		for _, p := range pool[4:] {
			list = append(list, name+"."+p)
		}
		list = append(list, name+".a.*", name+".*.3")
	}
	if r.IntN(15) == 0 {
		list = []string{">"}
	}
	return list
}

func randomSubject(r *rand.Rand, name string) string {
	return strings.Join([]string{name, string(rune('a' + r.IntN(3))), fmt.Sprint(r.IntN(4))}, ".")
}
