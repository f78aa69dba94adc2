package bridge

import (
	"bufio"
	"fmt"
	"net"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"headgate/internal/flow"
)

// silentNATS speaks as much of the client protocol as a subscriber needs and keeps nothing, so that a measurement of this process
// shows headgate's share alone (https://docs.nats.io/reference/reference-protocols/nats-protocol).
func silentNATS(t testing.TB) string { return stallingNATS(t, &atomic.Bool{}) }

// stallingNATS is silentNATS that answers nothing while it is stalled. When the test ends, it is not.
func stallingNATS(t testing.TB, stalled *atomic.Bool) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			wg.Go(func() { silentClient(c, stalled) })
		}
	})
	t.Cleanup(func() { stalled.Store(false); ln.Close(); wg.Wait() })
	return "nats://" + ln.Addr().String()
}

func silentClient(c net.Conn, stalled *atomic.Bool) {
	defer c.Close()
	fmt.Fprintf(c, "INFO {\"server_id\":\"silent\",\"version\":\"2.15.0\",\"max_payload\":1048576,\"headers\":true,\"proto\":1}\r\n")
	for in := bufio.NewScanner(c); in.Scan(); {
		if strings.HasPrefix(in.Text(), "PING") {
			for stalled.Load() {
				time.Sleep(time.Millisecond)
			}
			fmt.Fprint(c, "PONG\r\n")
		}
	}
}

// floodNATS is a server of one connection that sends every subscription a message when it is told to.
type floodNATS struct {
	url string

	mu   sync.Mutex
	conn net.Conn
	subs []string // "subject sid"
}

func newFloodNATS(t testing.TB) *floodNATS {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	f := &floodNATS{url: "nats://" + ln.Addr().String()}
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			wg.Go(func() { f.serve(c) })
		}
	})
	t.Cleanup(func() { ln.Close(); wg.Wait() })
	return f
}

func (f *floodNATS) serve(c net.Conn) {
	defer c.Close()
	fmt.Fprintf(c, "INFO {\"server_id\":\"flood\",\"version\":\"2.15.0\",\"max_payload\":1048576,\"headers\":true,\"proto\":1}\r\n")
	for in := bufio.NewScanner(c); in.Scan(); {
		f.mu.Lock()
		if sub, ok := strings.CutPrefix(in.Text(), "SUB "); ok {
			f.conn = c
			f.subs = append(f.subs, strings.Join(strings.Fields(sub), " "))
		}
		if strings.HasPrefix(in.Text(), "PING") {
			fmt.Fprint(c, "PONG\r\n")
		}
		f.mu.Unlock()
	}
}

// send sends one message for each subscription.
func (f *floodNATS) send(payload string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	w := bufio.NewWriterSize(f.conn, 1<<16)
	for _, s := range f.subs {
		fmt.Fprintf(w, "MSG %s %d\r\n%s\r\n", s, len(payload), payload)
	}
	return w.Flush()
}

// TestMemory_OfRingsStaysWithinTheBudget fills many rings with far more than NATS_RING_BYTES, in large messages and in small ones. What
// the budget counts must be what the heap shows, and when the rings are old, a topic takes no more than before its first message.
func TestMemory_OfRingsStaysWithinTheBudget(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector takes memory of its own")
	}
	const topics, budget = 2000, 8 << 20
	for _, c := range []struct {
		size, rounds int
		age          time.Duration
	}{{16 << 10, 3, time.Minute}, {1 << 10, 16, time.Minute}, {16, 64, 4 * time.Second}} {
		t.Run(fmt.Sprint(c.size), func(t *testing.T) {
			f := newFloodNATS(t)
			cfg := testNATS(f.url)
			cfg.RingBytes = budget
			r := connectedBridge(t, cfg, 0)
			for i := range topics {
				req := request("", fmt.Sprintf("users.%08d.notify", i))
				req.Sources[0].RingAge = c.age
				r.open(req).Source.Attach(nullSink{})
			}
			before := inUse()
			payload := strings.Repeat("x", c.size)
			for n := range c.rounds {
				if err := f.send(payload); err != nil {
					t.Fatal(err)
				}
				eventually(t, "the messages", func() bool { return r.metric("headgate_nats_messages_total") == float64((n+1)*topics) })
			}
			counted, took := int64(r.metric("headgate_ring_bytes")), inUse()-before
			t.Logf("%d KiB counted, %d KiB taken, %v crowded out", counted>>10, took>>10, r.metric("headgate_ring_crowded_out_total"))
			if counted > budget || counted < budget*9/10 {
				t.Errorf("the rings count %d bytes", counted)
			}
			if took > budget*11/10 {
				t.Errorf("the rings take %d bytes", took)
			}
			if c.age == time.Minute {
				return
			}
			eventually(t, "the rings to be old", func() bool { return r.metric("headgate_ring_bytes") == 0 })
			per := (inUse() - before) / topics
			t.Logf("%d bytes are left per topic", per)
			if per > 64 {
				t.Errorf("%d bytes are left per topic", per)
			}
		})
	}
}

// nullSink keeps nothing.
type nullSink struct{}

func (nullSink) Push(flow.Event) {}

// TestMemory_OfAStreamWithItsOwnSubject prints what the bridge and nats.go keep for a client that nobody shares a subject with. A
// whole stream of that kind may take 1.5 KB; delivery's part of it is 600 bytes.
func TestMemory_OfAStreamWithItsOwnSubject(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector takes memory of its own")
	}
	const n, allowed = 20000, 900
	r := connectedBridge(t, testNATS(silentNATS(t)), 0)
	open := func(from, to int) []flow.Source {
		sources := make([]flow.Source, 0, to-from)
		for i := from; i < to; i++ {
			o, err := r.Open(t.Context(), request("", fmt.Sprintf("users.%08d.notify", i)))
			if err != nil {
				t.Fatal(err)
			}
			o.Source.Attach(nullSink{})
			sources = append(sources, o.Source)
		}
		return sources
	}
	warm := open(0, 1000)
	before := inUse()
	sources := open(1000, 1000+n)
	per := (inUse() - before) / n
	t.Logf("%d bytes per stream in bridge and nats.go", per)
	if per > allowed {
		t.Errorf("%d bytes per stream; at most %d are allowed", per, allowed)
	}
	for _, s := range append(warm, sources...) {
		s.Close()
	}
	eventually(t, "the topics to go", func() bool { return r.metric("headgate_nats_topics") == 0 })
}

func inUse() int64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc + m.StackInuse)
}
