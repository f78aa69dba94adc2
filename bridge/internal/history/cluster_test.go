package history

import (
	"fmt"
	"sync"
	"testing"

	"github.com/nats-io/nats.go/jetstream"

	"headgate/internal/devnats"
)

// A replica may answer before it has what the publisher was told is stored.
func TestRead_FromReplicasThatLag(t *testing.T) {
	servers, err := devnats.StartCluster(3, devnats.Options{JetStream: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { devnats.ShutdownAll(servers) })
	var worlds []*world
	for _, s := range servers {
		worlds = append(worlds, worldAt(t, s, s.URL(), nil))
	}
	var js jetstream.JetStream = worlds[0].js
	var s jetstream.Stream
	for s == nil { // until the cluster has a leader
		s, err = js.CreateStream(worlds[0].context(), jetstream.StreamConfig{Name: "S", Subjects: []string{"S.>"}, Replicas: 3, AllowDirect: true})
		if err != nil && worlds[0].context().Err() != nil {
			t.Fatal(err)
		}
	}
	created := s.CachedInfo().Created
	r := seeded(t)
	rounds := 700
	if testing.Short() {
		rounds = 200
	}
	before := map[string]uint64{}
	for n := range rounds {
		subject := fmt.Sprintf("S.%d", r.IntN(50))
		ack, err := js.Publish(worlds[0].context(), subject, []byte("x"))
		if err != nil {
			t.Fatal(err)
		}
		var wg sync.WaitGroup
		for i, w := range worlds {
			req := Request{Stream: "S", Created: created, Direct: r.IntN(5) > 0, Filters: []string{subject}, From: ack.Sequence - 1, To: ack.Sequence}
			if r.IntN(2) == 0 {
				req.From = before[subject]
			}
			lastToo, listToo := n%5 == 0, n%10 == 1
			wg.Go(func() {
				got, _, err := w.readAll(req)
				if err != nil || len(got) != 1 || got[0].Seq != ack.Sequence {
					t.Errorf("round %d, server %d: %d messages in (%d, %d], want 1: %v", n, i, len(got), req.From, req.To, err)
				}
				if listToo {
					if got, _ := w.parts(w.list(req, nil), req); len(got) != 1 || got[0].Seq != ack.Sequence {
						t.Errorf("round %d, server %d: listed %v", n, i, seqs(got))
					}
				}
				if lastToo {
					a := w.ask(func(done func(Answer)) { w.c.LastPerSubject(req, done) })
					if a.Err != nil || len(a.Items) != 1 || a.Items[0].Seq != ack.Sequence {
						t.Errorf("round %d, server %d: last %v, %v", n, i, seqs(a.Items), a.Err)
					}
				}
			})
		}
		wg.Wait()
		before[subject] = ack.Sequence
		if t.Failed() {
			return
		}
	}
	for _, w := range worlds {
		t.Logf("%v answers lagged, of %v direct gets; %v scans", value(w.c.m.lag), value(w.c.m.gets), value(w.c.m.scans))
	}
	worlds[0].noConsumers("S")
}
