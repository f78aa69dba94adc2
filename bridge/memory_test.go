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
