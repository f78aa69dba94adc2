package feed

import (
	"fmt"
	"math/rand/v2"
	"runtime"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"headgate/bridge/internal/encode"
	"headgate/internal/subject"
)

// The tail against a list, for random contents, evictions and readers.
func TestTail_EqualsAList(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	rnd := rand.New(rand.NewPCG(seed, 1))
	filters := []string{">", "s.>", "s.*.1", "s.7.*", "s.3.1", "s.*.*.x", "none", "s.1.>", "*.2.2"}
	for range 60 {
		f := New(Config{Budget: NewBudget(int64(20_000 + rnd.IntN(300_000)))})
		f.Inc = &Incarnation{epoch: 1}
		var list []*encode.Item
		seq := uint64(0)
		subjects := 1 + rnd.IntN(400)
		for range rnd.IntN(3000) {
			seq += 1 + uint64(rnd.IntN(3))
			it := &encode.Item{Seq: seq}
			n := rnd.IntN(subjects)
			it.Message = encode.Message{Subject: fmt.Sprintf("s.%d.%d", n/10, n%10), Data: make([]byte, rnd.IntN(50))}
			f.keep(it)
			list = append(list, it)
			if f.tail.bytes > f.cfg.Budget.limit || f.tail.bytes != f.cfg.Budget.Used() {
				t.Fatal("above its budget, or not told")
			}
		}
		f.Cursor = seq
		list = slices.DeleteFunc(list, func(it *encode.Item) bool { return it.Seq <= f.tail.floor })
		if len(list) != f.tail.len() {
			t.Fatalf("%d messages, want %d", f.tail.len(), len(list))
		}
		for range 40 {
			var ask []string
			for range 1 + rnd.IntN(3) {
				ask = append(ask, filters[rnd.IntN(len(filters))])
			}
			from := f.tail.floor + uint64(rnd.IntN(int(seq-f.tail.floor)+1))
			to := from + uint64(rnd.IntN(int(seq-from)+1))
			var want []uint64
			first := uint64(0)
			for _, it := range list {
				if it.Seq > from && slices.ContainsFunc(ask, func(p string) bool { return subject.Match(p, it.Subject) }) {
					if first == 0 {
						first = it.Seq
					}
					if it.Seq <= to {
						want = append(want, it.Seq)
					}
				}
			}
			if got, ok := f.FirstInTail(f.Inc, ask, from); got != first || ok != (first > 0) {
				t.Fatalf("FirstInTail(%q, %d) = %d, want %d", ask, from, got, first)
			}
			var got []uint64
			maxBytes := 1 << rnd.IntN(16)
			for at := from; ; {
				items, done, ok := f.Tail(f.Inc, ask, at, to, maxBytes)
				if !ok || !done && len(items) == 0 {
					t.Fatalf("Tail(%q, %d, %d): %v %v", ask, at, to, done, ok)
				}
				got = append(got, seqsOf(items)...)
				if done {
					break
				}
				at = items[len(items)-1].Seq
			}
			if !slices.Equal(got, want) {
				t.Fatalf("Tail(%q, %d, %d) = %v, want %v", ask, from, to, got, want)
			}
		}
		f.tail.raise(seq)
		if f.tail.bytes != 0 || f.tail.subjects.Len() != 0 || f.tail.floor != seq {
			t.Fatalf("something is left: %d bytes, %d subjects", f.tail.bytes, f.tail.subjects.Len())
		}
	}
}

// client follows, is cut and comes back at random, from the tail, and must have had every match once.
type client struct {
	f       *running
	filters []string
	rnd     *rand.Rand
	at      uint64
	got     []uint64
	start   uint64
}

func (c *client) once(t *testing.T, begin bool) {
	rec := &recorder{}
	rec.mu.Lock()
	l, inc, cursor, err := c.f.Follow(c.filters, rec)
	rec.inc, rec.at = inc, cursor
	rec.mu.Unlock()
	if err != nil {
		t.Error(err)
		return
	}
	if begin {
		c.at, c.start = cursor, cursor
	}
	for at := c.at; at < cursor; {
		items, done, ok := c.f.Tail(inc, c.filters, at, cursor, 1+c.rnd.IntN(2000))
		if !ok {
			t.Error("the tail does not reach back")
			break
		}
		c.got = append(c.got, seqsOf(items)...)
		if done {
			break
		}
		at = items[len(items)-1].Seq
	}
	time.Sleep(time.Duration(c.rnd.IntN(8)) * time.Millisecond) // how long it stays
	l.Close()
	c.at = max(cursor, rec.at)
	c.got = append(c.got, rec.seqs()...)
	if rec.wrong != "" || len(rec.holes) > 0 {
		t.Error(rec.wrong, rec.holes)
	}
}

func TestFollow_AtRandomMomentsLosesAndRepeatsNothing(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	w := newWorld(t)
	w.stream(ordinary())
	f := w.run(Config{}).ready()
	sets := [][]string{{">"}, {"s.1"}, {"s.*", "s.2"}, {"s.3", "s.4", "s.5"}}
	var wg sync.WaitGroup
	stop := make(chan struct{})
	clients := make([]*client, 12)
	for i := range clients {
		c := &client{f: f, filters: sets[i%len(sets)], rnd: rand.New(rand.NewPCG(seed, uint64(i)))}
		clients[i] = c
		wg.Go(func() {
			for begin := true; ; begin = false {
				c.once(t, begin)
				select {
				case <-stop:
					return
				default:
				}
			}
		})
	}
	// The reader is interrupted now and then, which nobody may notice.
	rnd := rand.New(rand.NewPCG(seed, 99))
	for range 8 {
		w.many(1000, "s.1", "s.2", "s.3", "s.4", "s.6", "s.x")
		if rnd.IntN(2) == 0 {
			f.Disconnected()
			f.Connected(f.nc)
		}
	}
	f.wait("everything", func(s State) bool { return s.Cursor == 8000 })
	close(stop)
	wg.Wait()
	items, _, ok := f.Tail(f.State().Inc, everything, 0, 8000, 1<<30)
	if !ok || len(items) != 8000 {
		t.Fatalf("%d messages in the tail", len(items))
	}
	for i, c := range clients {
		c.once(t, false)
		var want []uint64
		for _, it := range items {
			if it.Seq > c.start && slices.ContainsFunc(c.filters, func(p string) bool { return subject.Match(p, it.Subject) }) {
				want = append(want, it.Seq)
			}
		}
		if !slices.Equal(c.got, want) {
			t.Errorf("client %d of %q: %d messages, want %d", i, c.filters, len(c.got), len(want))
		}
	}
}

func TestEviction_RaisesTheFloor(t *testing.T) {
	w := newWorld(t)
	w.stream(ordinary())
	f := w.run(Config{Budget: NewBudget(50_000)}).ready()
	w.many(1000, "s.a", "s.b")
	s := f.wait("everything", func(s State) bool { return s.Cursor == 1000 })
	items, done, ok := f.Tail(s.Inc, everything, s.Floor, 1000, 1<<30)
	if s.Floor < 800 || !ok || !done || uint64(len(items)) != 1000-s.Floor {
		t.Errorf("%+v: %d items, %v %v", s, len(items), done, ok)
	}
	if _, _, ok := f.Tail(s.Inc, everything, s.Floor-1, 1000, 1); ok {
		t.Error("read below the floor")
	}
}

// A channel that is too small loses messages between nats.go and the loop: they are read again.
func TestDroppedByTheClient_IsReadAgain(t *testing.T) {
	was := channelSize
	channelSize = 512
	t.Cleanup(func() { channelSize = was })
	w := newWorld(t)
	w.stream(ordinary())
	f := w.run(Config{}).ready()
	rec, _ := f.follow()
	rec.hook = func() { time.Sleep(20 * time.Microsecond) }
	w.many(3000, "s.a")
	eventually(t, "all messages", func() bool { return len(rec.seqs()) == 3000 })
	if f.metric("headgate_feed_resets_total", "sequence") == 0 {
		t.Skip("SKIPPED: nothing was dropped on this machine")
	}
}

func TestLargeMessages_AreNotStuckAtTheSizeOfARequest(t *testing.T) {
	w := newWorld(t)
	w.stream(ordinary())
	f := w.run(Config{Budget: NewBudget(256 << 20)}).ready()
	rec, _ := f.follow()
	for range 40 {
		if _, err := w.js.PublishAsync("s.a", make([]byte, 1000_000)); err != nil {
			t.Fatal(err)
		}
	}
	eventually(t, "all messages", func() bool { return len(rec.seqs()) == 40 })
	if n := f.metric("headgate_feed_resets_total", ""); n > 0 {
		t.Errorf("%v resets", n)
	}
}

func TestMemory_OfTheTailStaysWithinItsShare(t *testing.T) {
	if testing.Short() {
		t.Skip("SKIPPED with -short")
	}
	for _, payload := range []int{0, 100, 1000} {
		f := New(Config{Budget: NewBudget(32 << 20)})
		before := heapBytes()
		var sum int64
		for i := range 60_000 {
			m := &nats.Msg{Subject: fmt.Sprintf("orders.%d.new", i%20_000), Data: make([]byte, payload)}
			it := &encode.Item{Seq: uint64(i + 1)}
			it.Message = encode.Message{Subject: m.Subject, Data: m.Data}
			f.keep(it)
		}
		took := heapBytes() - before
		sum = f.tail.bytes
		t.Logf("payload %d: %d messages, counted %d B each, took %d", payload, f.tail.len(), sum/int64(f.tail.len()), took/int64(f.tail.len()))
		if took > sum {
			t.Errorf("payload %d: counted %d, took %d", payload, sum, took)
		}
		runtime.KeepAlive(f)
	}
}

func heapBytes() int64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}
