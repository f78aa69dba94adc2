//go:build !windows

package bridge

import (
	"context"
	"fmt"
	"runtime"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"headgate/internal/devnats"
	"headgate/internal/flow"
)

// countingSink counts.
type countingSink struct{ n atomic.Int64 }

func (s *countingSink) Push(flow.Event) { s.n.Add(1) }

// cpuTime is the CPU time of this process, server and publisher included: the difference between two receivers is what counts.
func cpuTime() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		panic(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// BenchmarkReceive is what headgate adds to a message on its way from NATS to a frame: a bare receiver of nats.go, and the bridge
// with one sink, with the same server and publisher in the same process. Compare cpu-ns/msg; the target is bare + 1500.
func BenchmarkReceive(b *testing.B) {
	payload := make([]byte, 128)
	for i := range payload {
		payload[i] = 'a' + byte(i%26)
	}
	for _, subjects := range []int{1, 1000} {
		b.Run(fmt.Sprintf("bare/%d", subjects), func(b *testing.B) { benchBare(b, subjects, payload) })
		b.Run(fmt.Sprintf("bridge/%d", subjects), func(b *testing.B) { benchBridge(b, subjects, payload, plain) })
	}
	envelope := plain
	envelope.Envelope, envelope.IDs = "headgate", true
	b.Run("bridge-envelope/1", func(b *testing.B) { benchBridge(b, 1, payload, envelope) })
}

func benchBare(b *testing.B, subjects int, payload []byte) {
	s := startNATS(b, devnats.Options{})
	nc, pub := publisherOf(b, s.URL()), publisherOf(b, s.URL())
	ch := make(chan *nats.Msg, 65536)
	for i := range subjects {
		if _, err := nc.ChanSubscribe(fmt.Sprint("bench.", i), ch); err != nil {
			b.Fatal(err)
		}
	}
	nc.Flush()
	var got atomic.Int64
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			select {
			case <-ctx.Done():
				return
			case <-ch:
				got.Add(1)
			}
		}
	}()
	benchFlow(b, pub, subjects, payload, &got)
	cancel()
	<-done
}

func benchBridge(b *testing.B, subjects int, payload []byte, f flow.Format) {
	s := startNATS(b, devnats.Options{})
	r := connectedBridge(b, testNATS(s.URL()), 0)
	pub := publisherOf(b, s.URL())
	sink := &countingSink{}
	for i := range subjects {
		req := request("", fmt.Sprint("bench.", i))
		req.Format = f
		r.open(req).Source.Attach(sink)
	}
	benchFlow(b, pub, subjects, payload, &sink.n)
}

// benchFlow publishes b.N messages with at most 32k on their way, and stops the clock when all have arrived.
func benchFlow(b *testing.B, pub *nats.Conn, subjects int, payload []byte, got *atomic.Int64) {
	names := make([]string, subjects)
	for i := range names {
		names[i] = fmt.Sprint("bench.", i)
	}
	runtime.GC()
	b.ResetTimer()
	start := cpuTime()
	for i := range b.N {
		for int64(i)-got.Load() > 32768 {
			time.Sleep(50 * time.Microsecond)
		}
		if err := pub.Publish(names[i%subjects], payload); err != nil {
			b.Fatal(err)
		}
	}
	pub.Flush()
	for deadline := time.Now().Add(patience); got.Load() < int64(b.N); {
		if time.Now().After(deadline) {
			b.Fatalf("%d of %d arrived", got.Load(), b.N)
		}
		time.Sleep(50 * time.Microsecond)
	}
	b.StopTimer()
	b.ReportMetric(float64(cpuTime()-start)/float64(b.N), "cpu-ns/msg")
}
