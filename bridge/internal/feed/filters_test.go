package feed

import (
	"context"
	"slices"
	"testing"
	"time"

	"headgate/internal/flow"
)

func (r *running) reads(filters ...string) {
	r.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if err := r.Read(ctx, filters); err != nil {
		r.t.Fatalf("Read: %v", err)
	}
}

// While a stream is being written what is read of it changes again and again. Who follows what is always read gets all of it, once and in
// order; who follows something new gets all of that from then on, and what the tail says it has, it has.
func TestRead_OtherSubjectsWithoutABreakForTheOthers(t *testing.T) {
	w := newWorld(t)
	w.stream(ordinary())
	f := w.run(Config{Filters: []string{"s.a"}}).ready()
	always, _ := f.follow("s.a")
	ctx, stop := context.WithCancel(t.Context())
	written := make(chan uint64, 1)
	go func() {
		n := uint64(0)
		for subjects := []string{"s.a", "s.b", "s.c"}; ctx.Err() == nil; n++ {
			if _, err := w.js.Publish(context.Background(), subjects[n%3], []byte("x")); err != nil {
				t.Error(err)
				break
			}
		}
		written <- n
	}()
	type joined struct {
		rec  *recorder
		from uint64
		to   uint64
	}
	var others []joined
	for n := range 60 {
		more := []string{"s.b", "s.c"}[n%2]
		f.reads("s.a", more)
		rec, link := f.follow(more)
		from := f.State().Cursor
		rec.mu.Lock()
		from = min(from, rec.at)
		rec.mu.Unlock()
		eventually(t, "some more", func() bool { return len(rec.seqs()) > 5 })
		to := rec.seqs()[5]
		st := f.State()
		got, _, ok := f.Tail(st.Inc, []string{"s.a", more}, st.Floor, st.Cursor, 1<<30)
		if !ok {
			t.Fatal("the tail does not reach back to its floor")
		}
		for seq := st.Floor + 1; seq <= st.Cursor; seq++ {
			wanted := seq%3 == 1 || seq%3 == uint64(2+n%2)%3
			if _, found := slices.BinarySearch(seqsOf(got), seq); found != wanted {
				t.Fatalf("message %d in the tail behind %d: %v", seq, st.Floor, found)
			}
		}
		link.Close()
		others = append(others, joined{rec, from, to})
	}
	stop()
	last := <-written
	eventually(t, "everything", func() bool { return f.State().Cursor >= last })
	got := always.seqs()
	for i, seq := range got {
		if seq != uint64(3*i+1) {
			t.Fatalf("message %d is %d, with sequence %d missing or twice", i, seq, 3*i+1)
		}
	}
	if want := int(last+2) / 3; len(got) != want {
		t.Errorf("%d messages, want %d", len(got), want)
	}
	for n, o := range others {
		seqs := o.rec.seqs()
		for i := 1; i < len(seqs); i++ {
			if seqs[i] != seqs[i-1]+3 {
				t.Errorf("follower %d: %d behind %d", n, seqs[i], seqs[i-1])
			}
		}
		if len(seqs) > 0 && seqs[0] > o.from+3 {
			t.Errorf("follower %d, from %d: begins with %d", n, o.from, seqs[0])
		}
	}
	if holes := always.holes; len(holes) > 0 {
		t.Errorf("holes: %+v", holes)
	}
}

// What is read less does not cost the others their memory.
func TestRead_FewerSubjectsKeepsTheTail(t *testing.T) {
	w := newWorld(t)
	w.stream(ordinary())
	w.many(30, "s.a", "s.b", "s.c")
	f := w.run(Config{Filters: []string{"s.a", "s.b"}, PrefillAge: time.Hour}).ready()
	f.reads("s.a")
	if st := f.State(); st.Floor != 0 || st.Cursor != 30 {
		t.Errorf("floor %d, cursor %d", st.Floor, st.Cursor)
	}
	f.reads("s.a", "s.c")
	if st := f.State(); st.Floor != 30 {
		t.Errorf("of s.c the tail has nothing, and its floor is %d", st.Floor)
	}
	f.reads() // all of it
	rec, _ := f.follow("s.z")
	w.put("s.z")
	rec.waitFor(t, "31 s.z")
}

func TestRead_WhileNATSIsAway(t *testing.T) {
	w := newWorld(t)
	w.stream(ordinary())
	f := w.run(Config{Filters: []string{"s.a"}}).ready()
	f.away()
	f.reads("s.a", "s.b")
	rec, _ := f.follow("s.b")
	w.put("s.a", "s.b")
	f.Connected(f.nc)
	rec.waitFor(t, "2 s.b")
}

func TestRetire_OnlyAFeedThatNobodyFollows(t *testing.T) {
	w := newWorld(t)
	w.stream(ordinary())
	f := w.run(Config{}).ready()
	_, link := f.follow("s.a")
	if f.Retire() {
		t.Fatal("somebody follows it")
	}
	w.put("s.a")
	link.Close()
	if !f.Retire() {
		t.Fatal("nobody follows it")
	}
	if _, _, _, err := f.Follow([]string{"s.a"}, &recorder{}); err != flow.ErrClosed {
		t.Errorf("followed: %v", err)
	}
	if err := f.Read(t.Context(), nil); err != flow.ErrClosed {
		t.Errorf("read: %v", err)
	}
}
