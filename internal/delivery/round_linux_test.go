package delivery

import (
	"bytes"
	"fmt"
	"slices"
	"testing"
	"time"

	"golang.org/x/sys/unix"
	"pgregory.net/rapid"

	"headgate/internal/cursor"
	"headgate/internal/flow"
	"headgate/internal/sse"
)

// still is a source that only the test pushes for.
type still struct{}

func (still) Attach(flow.Sink) cursor.Position { return cursor.Position{{Tag: cursor.MakeTag("test")}} }
func (still) Read(flow.Ask, func(flow.Batch))  {}
func (still) Progress(cursor.Position)         {}
func (still) Close()                           {}

// byHand is a shard whose steps the test takes, with one group, at a clock that stands.
type byHand struct {
	t        rapid.TB
	shard    *shard
	policy   Policy
	sent     int             // events appended
	members  map[uint32]*far // by slot
	sideways int             // times a socket had refused bytes
}

// far is the other end of a member's socket.
type far struct {
	fd    int
	since int // events appended before it came
	got   []byte
}

func newByHand(t rapid.TB, policy Policy) *byHand {
	now := time.Now()
	b := &byHand{t: t, policy: policy, members: map[uint32]*far{}}
	b.shard = newShard(New(Config{Shards: 1, Now: func() time.Time { return now }}))
	if err := b.shard.poll.open(); err != nil {
		t.Fatal(err)
	}
	return b
}

func (b *byHand) close() {
	for i, f := range b.members {
		b.shard.end(i, ClientGone)
		unix.Close(f.fd)
	}
	b.shard.poll.close()
}

func (b *byHand) group() *group { return b.shard.groups.byKey["k"] }

func (b *byHand) join() {
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		b.t.Fatal(err)
	}
	c := Client{Key: "k", Source: still{}, Policy: &b.policy, Ready: sse.NewFrame("$ready", []byte("{}"))}
	b.shard.join(&joining{client: c, fd: int32(pair[0])})
	g := b.group()
	// What has been appended and not sealed is sent to whoever comes now, too.
	since := b.sent
	if g.log.pending() {
		since -= g.log.tail.events
	}
	f := &far{fd: pair[1], since: since}
	b.members[g.members[len(g.members)-1]] = f
	b.read(f)
	f.got = nil // $ready
}

func (b *byHand) leave(i uint32) {
	unix.Close(b.members[i].fd)
	delete(b.members, i)
	b.shard.end(i, ClientGone)
}

// publish appends an event that says which it is.
func (b *byHand) publish(size int) {
	b.group().append(b.shard, flow.Event{Frame: sse.NewFrame("", event(b.sent, size)), Seq: uint64(b.sent + 1)})
	b.sent++
}

func event(n, size int) []byte {
	return append(fmt.Appendf(nil, "%d %d ", n, size), bytes.Repeat([]byte("x"), size)...)
}

func (b *byHand) slice() {
	b.shard.runRounds()
	for i, f := range b.members {
		b.read(f)
		for sl := b.shard.slots.at(i); sl.hasSide && b.shard.sides[i].armed; b.read(f) {
			b.sideways++
			b.shard.flush(i) // its socket takes bytes again
		}
	}
}

func (b *byHand) read(f *far) {
	var buf [64 << 10]byte
	for {
		n, err := unix.Read(f.fd, buf[:])
		if n <= 0 || err != nil {
			return
		}
		f.got = append(f.got, buf[:n]...)
	}
}

// TestWhatComesDuringARoundIsSentAlong counts: who has not had its turn in a round is given what came meanwhile in the same send.
func TestWhatComesDuringARoundIsSentAlong(t *testing.T) {
	b := newByHand(t, Policy{Heartbeat: time.Minute, BufferBytes: 1 << 20})
	defer b.close()
	const members = 200
	for range members {
		b.join()
	}
	before := b.shard.stats.sends
	b.publish(10)
	b.slice()
	if n := b.shard.stats.sends - before; n != sliceSends {
		t.Fatalf("a slice took %d sends, want %d", n, sliceSends)
	}
	b.publish(10)
	for !b.group().idle() {
		b.slice()
	}
	// The members of the first slice are sent two events one by one, the others both at once.
	if n := b.shard.stats.sends - before; n != members+sliceSends {
		t.Errorf("two events, one of them in the middle of a round, took %d sends, want %d", n, members+sliceSends)
	}
	b.check()
}

// TestEveryMemberIsGivenEverythingInOrder lets members come and go and events of all sizes arrive while rounds run.
func TestEveryMemberIsGivenEverythingInOrder(t *testing.T) {
	sideways := 0
	rapid.Check(t, func(rt *rapid.T) {
		policy := Policy{Heartbeat: time.Minute, BufferBytes: 64 << 20}
		if rapid.Bool().Draw(rt, "limited") {
			policy.EventsPerSecond = 1e12
		}
		b := newByHand(rt, policy)
		defer b.close()
		for range rapid.IntRange(1, 300).Draw(rt, "members") {
			b.join()
		}
		for range rapid.IntRange(1, 60).Draw(rt, "steps") {
			switch rapid.SampledFrom([]string{"publish", "publish", "publish", "slice", "slice", "slice", "join", "leave"}).Draw(rt, "step") {
			case "publish":
				size := rapid.SampledFrom([]int{1, 1, 100, 5_000, 40_000}).Draw(rt, "size")
				for range rapid.IntRange(1, 5).Draw(rt, "events") {
					b.publish(size)
				}
			case "slice":
				b.slice()
			case "join":
				b.join()
			case "leave":
				if g := b.group(); len(g.members) > 1 {
					b.leave(g.members[rapid.IntRange(0, len(g.members)-1).Draw(rt, "who")])
				}
			}
		}
		for !b.group().idle() {
			b.slice()
		}
		b.check()
		sideways += b.sideways
	})
	if sideways == 0 {
		t.Error("no socket ever refused bytes: half of it was not tested")
	}
}

// check compares what each member got with what was published while it was there, and has the shard look at itself.
func (b *byHand) check() {
	b.t.Helper()
	for i, f := range b.members {
		var got, want []int
		for block := range bytes.SplitSeq(bytes.TrimSuffix(f.got, []byte("\n\n")), []byte("\n\n")) {
			var n, size int
			if _, err := fmt.Sscanf(string(block), "data: %d %d ", &n, &size); err != nil || len(block) != len("data: ")+len(event(n, size)) {
				if len(f.got) > 0 {
					b.t.Fatalf("slot %d got a torn block of %d bytes", i, len(block))
				}
				continue
			}
			got = append(got, n)
		}
		for n := f.since; n < b.sent; n++ {
			want = append(want, n)
		}
		if !slices.Equal(got, want) {
			b.t.Fatalf("slot %d came behind %d events: got %v, want %v", i, f.since, got, want)
		}
	}
	c := &checking{done: make(chan struct{})}
	b.shard.check(c)
	if len(c.found) > 0 {
		b.t.Fatal(c.found)
	}
}
