package bridge

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"

	"headgate/internal/config"
	"headgate/internal/cursor"
	"headgate/internal/devnats"
	"headgate/internal/flow"
)

// streamBridge is a bridge whose tail begins empty, with a route for s.* of the stream S.
func streamBridge(t *testing.T, url string) *running {
	t.Helper()
	return bridgeOf(t, url, config.DefaultConfig().JetStream.TailBytes, config.Source{Name: "s", Type: "stream", Stream: "S", Subject: "s.{id}"})
}

// bridgeOf is a bridge whose tails begin empty, with a route of one source.
func bridgeOf(t *testing.T, url string, tail config.Bytes, of config.Source) *running {
	t.Helper()
	cfg := config.DefaultConfig()
	cfg.NATS, cfg.JetStream.TailAge, cfg.JetStream.TailBytes = testNATS(url), 0, tail
	cfg.Routes = []config.Route{{Name: "r", Sources: []config.Source{of}}}
	r := &running{t: t, reg: prometheus.NewRegistry(), log: &lockedBuffer{}}
	b, err := New(cfg, slog.New(slog.NewTextHandler(r.log, nil)), r.reg)
	if err != nil {
		t.Fatal(err)
	}
	r.Bridge = b
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- b.Run(ctx) }()
	r.stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run: %v", err)
		}
	})
	t.Cleanup(r.stop)
	eventually(t, "the bridge to have read its streams", func() bool {
		ok, _ := r.Prefilled()
		return ok && r.Health().Connected
	})
	return r
}

// replayed is everything that a reader gets in small reads, until it has all up to where it would go live.
func replayed(t *testing.T, o flow.Opened, maxBytes int) []flow.Event {
	t.Helper()
	to := o.Source.Attach(&recorder{})
	from, state := append(cursor.Position(nil), o.From...), o.State
	var events []flow.Event
	for range 1000 {
		batches := make(chan flow.Batch, 1)
		o.Source.(flow.History).Read(flow.Ask{From: from, To: to, MaxBytes: maxBytes, State: state}, func(b flow.Batch) { batches <- b })
		var b flow.Batch
		select {
		case b = <-batches:
		case <-time.After(patience):
			t.Fatal("no answer to a read")
		}
		if b.Err != nil {
			t.Fatal(b.Err)
		}
		state = b.State
		for _, e := range b.Events {
			events = append(events, e)
			from[e.Entry].Seq = e.Seq
		}
		if b.Done {
			return events
		}
	}
	t.Fatal("a replay does not end")
	return nil
}

func TestReplay_OfFewMessagesInALongRangeReadsThemOnce(t *testing.T) {
	const each, subjects = 40, 10
	ns := startNATS(t, devnats.Options{JetStream: true})
	nc := publisherOf(t, ns.URL())
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := js.CreateStream(t.Context(), jetstream.StreamConfig{Name: "S", Subjects: []string{"s.>"}, AllowDirect: true}); err != nil {
		t.Fatal(err)
	}
	var all []string // of s.3
	for i := range each * subjects {
		text := fmt.Sprintf("%03d", i)
		if _, err := js.Publish(t.Context(), fmt.Sprintf("s.%d", i%subjects), []byte(text)); err != nil {
			t.Fatal(err)
		}
		if i%subjects == 3 {
			all = append(all, text)
		}
	}
	format := plain
	format.IDs = true
	r := streamBridge(t, ns.URL())
	for _, c := range []struct {
		most int
		gap  bool
		want []string
		read float64 // reads of history, at most
	}{
		{100, false, all, 1}, // 400 sequences are more than 100, 40 messages are not
		{each, false, all, 1},
		{7, true, all[each-7:], 3}, // one to count, one to search, one to read
	} {
		before := r.metric("headgate_history_reads_total")
		src := flow.Spec{Name: "s", Kind: flow.Stream, Stream: "S", Subjects: []string{"s.3"}, Bounds: flow.Bounds{MaxEvents: c.most}}
		// A position before the first message.
		tag := r.open(flow.Request{Format: format, Sources: []flow.Spec{src}}).Source.Attach(&recorder{})[0].Tag
		o := r.open(flow.Request{Format: format, Sources: []flow.Spec{src}, Cursor: cursor.Position{{Tag: tag}}.String()})
		if o.Start != flow.Replay || len(o.Gaps) > 0 {
			t.Fatalf("most %d: start %v, %d gaps", c.most, o.Start, len(o.Gaps))
		}
		got := texts(replayed(t, o, 20)) // a few messages at a time
		if gap := len(got) > 0 && strings.HasPrefix(got[0], "$gap limit"); gap != c.gap {
			t.Errorf("most %d: %q, want a gap: %v", c.most, got, c.gap)
		} else if gap {
			got = got[1:]
		}
		if !slices.Equal(got, c.want) {
			t.Errorf("most %d: %q, want %q", c.most, got, c.want)
		}
		if n := r.metric("headgate_history_reads_total") - before; !c.gap && n > c.read {
			t.Errorf("most %d: history was asked %v times, want %v at most", c.most, n, c.read)
		}
	}
}

// The bounds by size keep the newest, of a replay and of a state that is all messages, from memory and from history.
func TestBounds_BySizeKeepTheNewest(t *testing.T) {
	for _, from := range []string{"history", "memory"} {
		w := newStateWorld(t, 1)
		tag := w.read(w.open(flow.Spec{}, flow.Format{}, "")).to[0].Tag
		w.publish(400)
		eventually(t, "all messages", func() bool { return w.read(w.open(flow.Spec{}, flow.Format{}, "")).to[0].Seq == 401 })
		if from == "history" {
			w.r = streamBridge(t, w.url)
		}
		for name, c := range map[string]struct {
			bytes, low, high int64
			at               uint64
			initial          flow.SnapshotMode
		}{
			"replay":                {bytes: 20_000, low: 40, high: 65, at: 1},
			"replay of all":         {bytes: 1 << 20, low: 400, high: 400, at: 1},
			"one larger than that":  {bytes: 10, low: 1, high: 1, at: 1},
			"all messages":          {bytes: 20_000, low: 40, high: 65, initial: flow.AllMessages},
			"all messages in bound": {bytes: 1 << 20, low: 401, high: 401, initial: flow.AllMessages},
		} {
			t.Run(from+", "+name, func(t *testing.T) {
				cursors := ""
				if c.at > 0 {
					cursors = cursor.Position{{Tag: tag, Seq: c.at}}.String()
				}
				s := w.read(w.open(flow.Spec{Bounds: flow.Bounds{MaxBytes: c.bytes}, Initial: flow.Initial{Mode: c.initial}}, flow.Format{}, cursors))
				s.finish()
				n := int64(s.count("data: 000"))
				if n < c.low || n > c.high {
					t.Errorf("%d events", n)
				}
				gaps := s.count(`"reason":"limit"`)
				if want := n < 400; (gaps == 1) != want || gaps > 1 {
					t.Errorf("%d gaps", gaps)
				}
				if n < 400 && !strings.Contains(s.got[0], `"reason":"limit"`) {
					t.Errorf("begins with %q", s.got[0])
				}
				if s.count(fmt.Sprintf("%0300d", 399)) != 1 {
					t.Error("the newest is not there")
				}
			})
		}
	}
}
