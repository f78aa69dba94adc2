package delivery_test

import (
	"context"
	"net"
	"os"
	"testing"

	"headgate/internal/delivery"
)

func TestConnectionStaysTheCallersWhenItCannotBeTakenOver(t *testing.T) {
	topic := newTopic()
	srv := delivery.New(delivery.Config{})
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if err := srv.Run(ctx); err != nil {
		t.Fatal(err)
	}
	client := delivery.Client{Key: "k", Source: topic.open(), Policy: &delivery.Policy{}, Ready: readyFrame(1)}

	near, far := tcpPair(t)
	defer far.Close()
	before := openFiles(t)
	if err := srv.Handover(near, client); err == nil {
		t.Fatal("a stopped server took a connection")
	}
	if n := openFiles(t); n != before {
		t.Fatalf("%d descriptors, %d before", n, before)
	}
	if _, err := near.Write([]byte("still mine")); err != nil {
		t.Fatal(err)
	}
	near.Close()

	a, b := net.Pipe()
	defer a.Close()
	defer b.Close()
	if delivery.CanHandover(a) {
		t.Fatal("a pipe is not plain TCP")
	}
	if err := srv.Handover(a, client); err == nil {
		t.Fatal("a pipe was taken over")
	}
	client.Source.Close()
}

func TestDescriptorsAreGivenBack(t *testing.T) {
	r := newRig(t, "socket")
	first := r.connect("").start()
	first.expect("$ready", "") // the shards have opened what they need
	first.conn.Close()
	eventually(t, "gone", func() bool { return r.server.Streams() == 0 })
	before := openFiles(t)
	for range 5 {
		var all []*stream
		for range 50 {
			s := r.connect("").start()
			s.expect("$ready", "")
			all = append(all, s)
		}
		for n, s := range all {
			if n%2 == 0 {
				s.conn.Close()
			}
		}
		r.server.EndWhere(func(uint64) bool { return true }, delivery.Kicked, 0)
		eventually(t, "all gone", func() bool { return r.server.Streams() == 0 })
		for _, s := range all {
			s.conn.Close()
		}
	}
	eventually(t, "descriptors back", func() bool { return openFiles(t) <= before })
}

func openFiles(t *testing.T) int {
	t.Helper()
	list, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(list)
}
