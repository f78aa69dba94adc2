package delivery_test

import (
	"context"
	"fmt"
	"net"
	"sync"
	"testing"
	"time"

	"headgate/internal/delivery"
)

// BenchmarkFanOut is one event to many clients, one in flight: the clock stops when every client has it. ns/op is per delivery.
func BenchmarkFanOut(b *testing.B) {
	for _, clients := range []int{1, 100, 1000} {
		b.Run(fmt.Sprint(clients), func(b *testing.B) { benchmarkFanOut(b, clients, 1) })
		b.Run(fmt.Sprintf("%d/burst16", clients), func(b *testing.B) { benchmarkFanOut(b, clients, 16) })
	}
}

func benchmarkFanOut(b *testing.B, clients, burst int) {
	srv := delivery.New(delivery.Config{Shards: 1})
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { srv.Run(ctx) })
	topic := newTopic()
	policy := &delivery.Policy{Heartbeat: time.Minute, IDs: true, BufferBytes: 64 << 20, WriteTimeout: 10 * time.Second}
	got := make(chan struct{}, clients)
	const size = 200
	data := string(make([]byte, size))
	for range clients {
		near, far := tcpPair(b)
		c := delivery.Client{Key: "k", Source: topic.open(), Policy: policy, Ready: readyFrame(0)}
		if err := srv.Handover(near, c); err != nil {
			b.Fatal(err)
		}
		running.Go(func() { countEnds(far, got) })
	}
	for srv.Streams() < clients {
		time.Sleep(time.Millisecond)
	}
	b.ResetTimer()
	for n := 0; n < b.N; n += clients * burst {
		for range burst - 1 {
			topic.publish(data)
		}
		topic.publish("END" + data[3:])
		for range clients {
			<-got
		}
		topic.log = topic.log[:0]
	}
	b.StopTimer()
	cancel()
	running.Wait()
}

// countEnds reports every block that carries END.
func countEnds(conn net.Conn, got chan<- struct{}) {
	defer conn.Close()
	buf := make([]byte, 64<<10)
	for {
		n, err := conn.Read(buf)
		for k := 0; k+3 <= n; k++ {
			if buf[k] == 'E' && buf[k+1] == 'N' && buf[k+2] == 'D' {
				got <- struct{}{}
			}
		}
		if err != nil {
			return
		}
	}
}

func tcpPair(b testing.TB) (near, far net.Conn) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	defer ln.Close()
	done := make(chan net.Conn)
	go func() {
		c, _ := ln.Accept()
		done <- c
	}()
	if far, err = net.Dial("tcp", ln.Addr().String()); err != nil {
		b.Fatal(err)
	}
	return <-done, far
}

// BenchmarkEndWhere is how long a shard looks for those that are to end.
func BenchmarkEndWhere(b *testing.B) {
	for _, clients := range []int{20_000, 1_000_000} {
		b.Run(fmt.Sprint(clients), func(b *testing.B) {
			walk := delivery.Walk(clients)
			tags := map[uint64]struct{}{}
			for i := range 1000 {
				tags[uint64(i*13)] = struct{}{}
			}
			for b.Loop() {
				walk(func(tag uint64) bool { _, ok := tags[tag]; return ok })
			}
		})
	}
}
