package feed

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"headgate/internal/devnats"
)

// The publisher counts what was acknowledged, with message ids, so that what it repeats is stored once.
func (w *world) publishSteadily(stop <-chan struct{}, done chan<- int) {
	for n := 0; ; {
		select {
		case <-stop:
			done <- n
			return
		default:
		}
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		_, err := w.js.Publish(ctx, fmt.Sprintf("s.%d", n%5), nil, jetstream.WithMsgID(fmt.Sprint(n)))
		cancel()
		if err == nil {
			n++
		}
	}
}

func TestCluster_NothingIsLostOrRepeatedOverStepDownAndKill(t *testing.T) {
	if testing.Short() {
		t.Skip("SKIPPED with -short: a cluster of three servers")
	}
	servers, err := devnats.StartCluster(3, devnats.Options{JetStream: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { devnats.ShutdownAll(servers) })
	urls := servers[0].URL() + "," + servers[1].URL() + "," + servers[2].URL()
	w := worldOn(t, servers[0], urls)
	cfg := ordinary()
	cfg.Replicas = 3
	eventually(t, "the cluster to make a stream", func() bool {
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
		defer cancel()
		_, err := w.js.CreateStream(ctx, cfg)
		return err == nil
	})
	f := w.runOn(urls, Config{VerifyEvery: 500 * time.Millisecond}, nats.Timeout(time.Second)).ready()
	rec, _ := f.follow()
	stop, done := make(chan struct{}), make(chan int, 1)
	go w.publishSteadily(stop, done)
	more := func(what string) {
		t.Helper()
		n := len(rec.seqs())
		began := time.Now()
		eventually(t, "messages after "+what, func() bool { return len(rec.seqs()) > n+200 })
		t.Logf("%s: %v to the next 200 messages", what, time.Since(began).Round(time.Millisecond))
	}
	more("the start")
	for range 2 {
		w.nc.Request("$JS.API.STREAM.LEADER.STEPDOWN.S", nil, 2*time.Second)
		more("a step-down")
	}
	leader := w.info("S").Cluster.Leader
	i := slices.IndexFunc(servers, func(s *devnats.Server) bool { return s.NATS().Name() == leader })
	servers[i].Stop()
	more("the end of the leader's server")
	if err := servers[i].Restart(); err != nil {
		t.Fatal(err)
	}
	more("its return")
	close(stop)
	n := <-done
	eventually(t, "the last message", func() bool { s := w.info("S").State; return f.State().Cursor == s.LastSeq && s.LastSeq >= uint64(n) })
	for i, seq := range rec.seqs() {
		if seq != uint64(i+1) {
			t.Fatalf("message %d is %d", i+1, seq)
		}
	}
	if len(rec.holes) > 0 {
		t.Errorf("%v", rec.holes)
	}
}
