package feed

import (
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

func TestPurgeWhileLagging_IsToldAsExpired(t *testing.T) {
	was := pullBatch
	pullBatch = 8 // what is on its way to us cannot be purged any more
	t.Cleanup(func() { pullBatch = was })
	w := newWorld(t)
	w.stream(ordinary())
	f := w.run(Config{}).ready()
	rec, _ := f.follow()
	held, blocked, once := make(chan struct{}), make(chan struct{}), sync.Once{}
	rec.hook = func() { once.Do(func() { close(blocked); <-held }) }
	w.many(500, "s.a")
	<-blocked
	w.purge(jetstream.WithPurgeSequence(400))
	close(held)
	f.wait("the end", func(s State) bool { return s.Cursor == 500 })
	eventually(t, "a hole", func() bool { rec.mu.Lock(); defer rec.mu.Unlock(); return len(rec.holes) == 1 })
	rec.mu.Lock()
	h := rec.holes[0]
	rec.mu.Unlock()
	if !h.Certain || h.To != 399 || h.From < 2 || h.From > 30 {
		t.Errorf("%+v", h)
	}
	want := []uint64{}
	for i := uint64(1); i <= 500; i++ {
		if i < h.From || i > h.To {
			want = append(want, i)
		}
	}
	eventually(t, "the rest", func() bool { return slices.Equal(rec.seqs(), want) })
	if i := slices.Index(rec.all(), "400 s.a"); rec.all()[i-1] != fmt.Sprintf("hole expired certain=true %d-399 at 399", h.From) {
		t.Errorf("the hole is not where the messages are missing: %q", rec.all()[i-1])
	}
	if s := f.State(); s.Floor < 399 {
		t.Errorf("a reader of the tail would pass over the hole: %+v", s)
	}
}

// Whatever Pushed says has been pushed, while foreign messages move it as well.
func TestFilteredFeed_PushedIsNeverAheadOfAMatch(t *testing.T) {
	w := newWorld(t)
	w.stream(ordinary())
	f := w.run(Config{Filters: []string{"s.0", "s.1"}, VerifyEvery: 2 * time.Millisecond, Heartbeat: 100 * time.Millisecond}).ready()
	rec, _ := f.follow()
	type sight struct {
		pushed uint64
		had    int
	}
	var seen []sight
	stop, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		for {
			_, p := f.Pushed()
			rec.mu.Lock()
			seen = append(seen, sight{p, len(rec.items)})
			rec.mu.Unlock()
			select {
			case <-stop:
				return
			case <-time.After(50 * time.Microsecond):
			}
		}
	}()
	for range 30 {
		w.many(100, "s.0", "s.2", "s.3", "s.4", "s.1", "s.5", "s.6")
	}
	eventually(t, "Pushed to reach the end", func() bool { _, p := f.Pushed(); return p == 3000 })
	close(stop)
	<-stopped
	all := rec.seqs()
	for _, s := range seen {
		if s.had < len(all) && all[s.had] <= s.pushed {
			t.Fatalf("Pushed said %d when %d had not been pushed", s.pushed, all[s.had])
		}
	}
}
