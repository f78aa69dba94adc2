package feed

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// inTail are the sequences that memory gives behind what it reaches back to.
func (r *running) inTail() []uint64 {
	s := r.State()
	items, _, ok := r.Tail(s.Inc, everything, s.Floor, s.Cursor, 1<<20)
	if !ok {
		return nil
	}
	return seqsOf(items)
}

// What was purged or deleted is not given from memory when the leader has been asked again, also where it happened while NATS was away.
func TestErased_IsNotGivenFromMemory(t *testing.T) {
	for name, remove := range map[string]struct {
		remove func(*world)
		want   []uint64
	}{
		"purge":         {func(w *world) { w.purge() }, nil},
		"purge up to":   {func(w *world) { w.purge(jetstream.WithPurgeSequence(4)) }, []uint64{4, 5, 6}},
		"the first one": {func(w *world) { w.deleteMessage(1) }, []uint64{2, 3, 4, 5, 6}},
		"in the middle": {func(w *world) { w.deleteMessage(3) }, nil},
		"a subject":     {func(w *world) { w.purge(jetstream.WithPurgeSubject("s.2")) }, nil},
		"the last one":  {func(w *world) { w.deleteMessage(6) }, nil},
	} {
		for _, away := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, away %v", name, away), func(t *testing.T) {
				w := newWorld(t)
				w.stream(ordinary())
				w.put("s.1", "s.2", "s.1", "s.2", "s.1", "s.1")
				cfg := Config{PrefillAge: time.Hour, VerifyEvery: soon}
				f := w.run(cfg).ready()
				rec, _ := f.follow()
				if got := f.inTail(); len(got) != 6 {
					t.Fatalf("in memory: %d", got)
				}
				if away {
					f.away()
				}
				doubts := f.State().Doubts
				remove.remove(w)
				if away {
					f.Connected(f.nc)
				}
				eventually(t, "memory to forget", func() bool { return slices.Equal(f.inTail(), remove.want) })
				if f.State().Doubts == doubts {
					t.Error("history may give it")
				}
				w.put("s.7")
				eventually(t, "the next message", func() bool { return slices.Equal(f.inTail(), append(slices.Clone(remove.want), 7)) })
				rec.waitFor(t, "7 s.7") // whoever is there misses nothing
			})
		}
	}
}

// A stream that was empty when the leader was asked last has been looked at all the same.
func TestErased_FromAStreamThatWasEmptyBefore(t *testing.T) {
	w := newWorld(t)
	w.stream(ordinary())
	f := w.run(Config{VerifyEvery: 500 * time.Millisecond}).ready()
	w.put("s.1", "s.2", "s.1")
	f.wait("the messages", func(s State) bool { return s.Cursor == 3 })
	w.deleteMessage(2)
	eventually(t, "memory to forget", func() bool { return len(f.inTail()) == 0 })
}

// What only had to make room is given all the same.
func TestErased_IsNotWhatALimitHasPushedOut(t *testing.T) {
	for name, limit := range map[string]func(*jetstream.StreamConfig){
		"messages":                 func(c *jetstream.StreamConfig) { c.MaxMsgs = 2 },
		"bytes":                    func(c *jetstream.StreamConfig) { c.MaxBytes = 100 },
		"messages of each subject": func(c *jetstream.StreamConfig) { c.MaxMsgsPerSubject = 1 },
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			cfg := ordinary()
			limit(&cfg)
			w.stream(cfg)
			f := w.run(Config{VerifyEvery: soon}).ready()
			for n := range uint64(6) { // one by one: what is pushed out on its way is missing
				w.put("s.1")
				f.wait("the message", func(s State) bool { return s.Cursor == n+1 })
			}
			first := w.info("S").State.FirstSeq
			if first == 1 {
				t.Fatal("nothing was pushed out")
			}
			f.wait("the leader to be asked", func(s State) bool { return s.First == first && s.Cursor == 6 })
			w.put("s.1")
			f.wait("the leader to be asked again", func(s State) bool { return s.First > first })
			if got := f.inTail(); len(got) != 7 {
				t.Errorf("in memory: %d", got)
			}
		})
	}
}

// What a limit of age removes must not live on in memory, although another limit could have removed it as well.
func TestErased_IsWhatIsTooOld(t *testing.T) {
	for name, limit := range map[string]int64{"age": -1, "age and number": 3} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			cfg := ordinary()
			cfg.MaxAge, cfg.MaxMsgs = time.Second, limit
			w.stream(cfg)
			f := w.run(Config{VerifyEvery: soon}).ready()
			w.put("s.1", "s.1", "s.1", "s.1", "s.1", "s.1")
			eventually(t, "memory to forget", func() bool { return f.State().Cursor == 6 && len(f.inTail()) == 0 })
			if s := w.info("S").State; s.Msgs != 0 {
				t.Errorf("the stream has %d messages still", s.Msgs)
			}
		})
	}
}
