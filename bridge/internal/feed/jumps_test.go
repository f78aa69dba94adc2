package feed

import (
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// stopper holds the feed's loop in a push until it is let go, again and again.
type stopper struct {
	mu       sync.Mutex
	stopped  chan struct{}
	released chan struct{}
}

func (s *stopper) arm() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.stopped, s.released = make(chan struct{}), make(chan struct{})
}

func (s *stopper) hook() {
	s.mu.Lock()
	stopped, released := s.stopped, s.released
	s.stopped = nil
	s.mu.Unlock()
	if stopped != nil {
		close(stopped)
		<-released
	}
}

// purgeBehind makes the stream lose messages that the feed has not been given: it publishes some while the loop is held, and takes away
// what is before seq.
func (s *stopper) purgeBehind(w *world, n int, seq uint64, subjects ...string) {
	w.t.Helper()
	s.arm()
	stopped, released := s.stopped, s.released
	w.many(n, subjects...)
	select {
	case <-stopped:
	case <-time.After(patience):
		w.t.Fatal("the feed does not push")
	}
	w.purge(jetstream.WithPurgeSequence(seq))
	close(released)
}

func fewAtATime(t *testing.T) {
	was := pullBatch
	pullBatch = 8 // what is on its way to us cannot be purged any more
	t.Cleanup(func() { pullBatch = was })
}

// Nobody is given a message behind a hole before the hole has been told, however soon one hole comes after another.
func TestJumps_EveryHoleIsToldBeforeWhatIsBehindIt(t *testing.T) {
	fewAtATime(t)
	w := newWorld(t)
	w.stream(ordinary())
	for name, cfg := range map[string]Config{"all": {}, "a filter that matches all": {Filters: []string{"s.>"}}} {
		t.Run(name, func(t *testing.T) {
			f := w.run(cfg).ready()
			s := &stopper{}
			rec, _ := f.follow()
			rec.hook = s.hook
			begin := f.State().Cursor
			for n := range uint64(5) {
				s.purgeBehind(w, 100, begin+100*n+90, "s.a")
				f.wait("the end", func(s State) bool { return s.Cursor == begin+100*(n+1) })
			}
			eventually(t, "five holes", func() bool { rec.mu.Lock(); defer rec.mu.Unlock(); return len(rec.holes) == 5 })
			whole(t, rec, begin, begin+500)
		})
	}
}

// whole checks that all of (from, to] was given or named as missing, in order and once.
func whole(t *testing.T, rec *recorder, from, to uint64) {
	t.Helper()
	at := from
	for _, text := range rec.all() {
		var first, last, position uint64
		var certain bool
		if _, err := fmt.Sscanf(text, "hole expired certain=%t %d-%d at %d", &certain, &first, &last, &position); err == nil {
			if first != at+1 || position != last {
				t.Fatalf("%q behind %d", text, at)
			}
			at = last
			continue
		}
		if _, err := fmt.Sscanf(text, "%d", &first); err != nil || first != at+1 {
			t.Fatalf("%q behind %d", text, at)
		}
		at = first
	}
	if at != to {
		t.Errorf("it ends at %d, not at %d", at, to)
	}
}

// What was removed before it was delivered is a hole also when no message comes behind it.
func TestJumps_WhatWasRemovedAtTheEndIsTold(t *testing.T) {
	fewAtATime(t)
	w := newWorld(t)
	w.stream(ordinary())
	f := w.run(Config{VerifyEvery: 50 * time.Millisecond}).ready()
	s := &stopper{}
	rec, _ := f.follow()
	rec.hook = s.hook
	s.purgeBehind(w, 500, 501, "s.a")
	f.wait("the end", func(s State) bool { return s.Cursor == 500 })
	eventually(t, "a hole", func() bool { rec.mu.Lock(); defer rec.mu.Unlock(); return len(rec.holes) == 1 })
	whole(t, rec, 0, 500)
}

// Where the feed does not read all of a stream, what is passed over is ordinary. The holes among it are told late and are not certain,
// and the leader is not asked for every message.
func TestJumps_OfAFilteredFeed(t *testing.T) {
	fewAtATime(t)
	w := newWorld(t)
	w.stream(ordinary())
	f := w.run(Config{Filters: []string{"s.a"}}).ready()
	s := &stopper{}
	rec, _ := f.follow("s.a")
	rec.hook = s.hook
	const rounds = 5
	for n := range uint64(rounds) {
		s.purgeBehind(w, 200, 200*n+150, "s.a", "s.b")
		f.wait("the end", func(s State) bool { return s.Cursor >= 200*(n+1)-1 })
	}
	given := rec.seqs()
	eventually(t, "the holes", func() bool {
		rec.mu.Lock()
		defer rec.mu.Unlock()
		for seq := uint64(1); seq <= 200*rounds; seq += 2 { // these are s.a
			named := slices.ContainsFunc(rec.holes, func(h Hole) bool { return h.From <= seq && seq <= h.To })
			if !named && !slices.Contains(given, seq) {
				return false
			}
		}
		return true
	})
	rec.mu.Lock()
	defer rec.mu.Unlock()
	if n := len(rec.holes); n > rounds*(mostHoles+1) {
		t.Errorf("%d holes are told", n)
	}
	for _, h := range rec.holes {
		if h.Certain {
			t.Errorf("%+v is certain", h)
		}
	}
}

// Messages that were taken out of the middle are no hole, however many.
func TestJumps_OverWhatWasTakenOutAreNone(t *testing.T) {
	fewAtATime(t)
	w := newWorld(t)
	w.stream(ordinary())
	f := w.run(Config{}).ready()
	s := &stopper{}
	rec, _ := f.follow()
	rec.hook = s.hook
	s.arm()
	stopped, released := s.stopped, s.released
	w.many(1, "s.a")
	<-stopped
	w.many(300, "s.b", "s.a")
	w.purge(jetstream.WithPurgeSubject("s.b")) // the consumer may have sent some of them before
	close(released)
	f.wait("the end", func(s State) bool { return s.Cursor == 301 })
	rec.mu.Lock()
	defer rec.mu.Unlock()
	if len(rec.holes) > 0 {
		t.Errorf("%+v", rec.holes)
	}
}
