package core

import (
	"container/list"
	"context"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"go.uber.org/goleak"

	"headgate/bridge/internal/conn"
	"headgate/internal/config"
	"headgate/internal/devnats"
	"headgate/internal/flow"
	"headgate/internal/gap"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const patience = 10 * time.Second

// sink takes everything.
type sink chan struct{}

func (s sink) Push(flow.Event) { s <- struct{}{} }

// startCore runs one on a real NATS.
func startCore(t *testing.T) (*Core, *devnats.Server) {
	t.Helper()
	server, err := devnats.Start(devnats.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(server.Shutdown)
	cfg := config.DefaultConfig().NATS
	cfg.URL, cfg.Name, cfg.TopicLinger = server.URL(), "test", time.Hour
	options, err := conn.Options(cfg)
	if err != nil {
		t.Fatal(err)
	}
	c := New(Config{NATS: cfg, Options: options, Log: slog.New(slog.DiscardHandler), Connections: conn.NewMetrics(nil), Gaps: gap.NewCounters(nil)})
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- c.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	for end := time.Now().Add(patience); !c.States()[0].Connected; time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("not connected")
		}
	}
	return c, server
}

func open(t *testing.T, c *Core, subject string) *Source {
	t.Helper()
	o, err := c.Open(t.Context(), flow.Request{Sources: []flow.Spec{{Name: subject, Subjects: []string{subject}, RingSize: 10, RingAge: time.Hour}}})
	if err != nil {
		t.Fatal(err)
	}
	return o.Source.(*Source)
}

func TestCheck_NamesWhatIsBroken(t *testing.T) {
	c, server := startCore(t)
	d := c.conns[0]
	a, b := open(t, c, "a"), open(t, c, "b")
	defer a.Close()
	got := make(sink, 10)
	a.Attach(got)
	b.Close() // lingers
	nc, err := nats.Connect(server.URL())
	if err != nil {
		t.Fatal(err)
	}
	for range 3 {
		if err := nc.Publish("a", []byte("x")); err != nil {
			t.Fatal(err)
		}
	}
	for range 3 {
		<-got
	}
	nc.Close()
	if broken, err := c.Check(t.Context()); err != nil || len(broken) > 0 {
		t.Fatalf("%q, %v", broken, err)
	}

	d.mu.Lock()
	ta, tb := d.topics["a"], d.topics["b"]
	d.mu.Unlock()
	other := &topic{subject: "other"}
	for says, change := range map[string]func() (undo func()){
		"is not looked after": func() func() { was := ta.listed; ta.listed = 0; return func() { ta.listed = was } },
		"bytes of its ring":   func() func() { ta.ring.bytes++; return func() { ta.ring.bytes-- } },
		"bytes of all rings":  func() func() { d.budget.bytes++; return func() { d.budget.bytes-- } },
		"the rings take":      func() func() { was := d.budget.share; d.budget.share = 1; return func() { d.budget.share = was } },
		"out of order":        func() func() { ta.items[1].Seq -= 100; return func() { ta.items[1].Seq += 100 } },
		"is not in a row":     func() func() { it := ta.items[1]; was := it.prev; it.prev = it; return func() { it.prev = was } },
		"than it is for":      func() func() { ta.size = 2; return func() { ta.size = 10 } },
		"more followers than references": func() func() {
			ta.refs = 0
			ta.idle = list.New().PushBack(1)
			return func() { ta.refs = 1; ta.idle = nil }
		},
		"-1 references":                    func() func() { ta.refs = -1; return func() { ta.refs = 1 } },
		"are miscounted":                   func() func() { ta.gone++; return func() { ta.gone-- } },
		"a link that is not its own":       func() func() { l := ta.links[0]; l.topic = other; return func() { l.topic = ta } },
		"does not wait for its end":        func() func() { was := tb.idle; tb.idle = nil; return func() { tb.idle = was } },
		"waits for its end":                func() func() { tb.refs = 1; return func() { tb.refs = 0 } },
		"there is no subscription":         func() func() { was := ta.sub; ta.sub = nil; return func() { ta.sub = was } },
		"its subscription is for":          func() func() { was := ta.sub; ta.sub = tb.sub; return func() { ta.sub = was } },
		"refused true":                     func() func() { ta.deaf = true; return func() { ta.deaf = false } },
		"is to be tried again, and is not": func() func() { d.deaf[other] = &healing{}; return func() { delete(d.deaf, other) } },
		"leads to the topic":               func() func() { d.topics["c"] = ta; return func() { delete(d.topics, "c") } },
		"count for LIMIT_TOPICS":           func() func() { c.topics.Add(1); return func() { c.topics.Add(-1) } },
	} {
		d.mu.Lock()
		undo := change()
		d.mu.Unlock()
		broken, err := c.Check(t.Context())
		d.mu.Lock()
		undo()
		d.mu.Unlock()
		if text := strings.Join(broken, "\n"); err != nil || !strings.Contains(text, says) {
			t.Errorf("%s: %q, %v", says, text, err)
		}
	}
	if broken, err := c.Check(t.Context()); err != nil || len(broken) > 0 {
		t.Errorf("afterwards: %q, %v", broken, err)
	}
}

// What comes and goes while it is looked at is not taken for broken.
func TestCheck_WhileTopicsComeAndGo(t *testing.T) {
	c, _ := startCore(t)
	stop, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		for n := 0; ; n++ {
			select {
			case <-stop:
				return
			default:
			}
			s := open(t, c, "s."+string(rune('a'+n%20)))
			s.Attach(make(sink, 1))
			s.Close()
		}
	}()
	for range 50 {
		if broken, err := c.Check(t.Context()); err != nil || len(broken) > 0 {
			t.Errorf("%q, %v", broken, err)
		}
	}
	close(stop)
	<-ended
}
