package delivery

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"headgate/internal/cursor"
	"headgate/internal/flow"
	"headgate/internal/sse"
)

// behind makes a group of one blocked client that has been given the first sent bytes of a round of several events, and then, as its
// policy sees it, falls too far behind.
func behind(sent int) (s *shard, g *group, sl *slot, sd *side, round []byte) {
	s = newShard(New(Config{Shards: 1}))
	g = &group{policy: &Policy{DropOldest: true, IDs: true, BufferBytes: 100, SlowGaps: []JumpGap{{Live: sse.NewFrame("$gap", []byte(`{"reason":"slow"}`))}}},
		pos: cursor.Position{{Tag: cursor.MakeTag("test"), Seq: 7}}}
	i, sl := s.slots.take()
	g.join(i, sl)
	sl.state = live
	for _, data := range []string{"first", "the second\n\nwith blank lines", "third"} {
		g.log.append(&s.buffers, sse.NewFrame("kind", []byte(data)), []byte("1~aaaaaa.1"), 0, 0, 1)
	}
	e := g.log.seal(&s.buffers, 0)
	round = bytes.Clone(e.bytes)
	sd = s.side(i, sl)
	s.hold(g, sd, e)
	sd.sent, sd.wants = sent, 1
	g.log.append(&s.buffers, sse.NewFrame("", []byte(strings.Repeat("x", 200))), nil, 0, 0, 2)
	g.log.seal(&s.buffers, 0)
	g.log.unsent = nil
	return s, g, sl, sd, round
}

func TestAJumpCopiesNoMoreThanTheRestOfTheCurrentEvent(t *testing.T) {
	_, _, _, _, round := behind(0)
	ends := []int{0}
	for at := 0; at < len(round); {
		at += bytes.Index(round[at:], []byte("\n\n")) + 2
		ends = append(ends, at)
	}
	if len(ends) != 4 {
		t.Fatalf("%d events, want 3: %q", len(ends)-1, round)
	}
	for sent := range len(round) {
		events := 0
		for ends[events] < sent {
			events++
		}
		rest := round[sent:ends[events]]
		s, g, sl, sd, _ := behind(sent)
		s.checkSlow(0, sl, sd, g)
		if jumps := len(rest) == 0; sd.jump == jumps {
			t.Fatalf("%d bytes sent, %d of the event left: still to jump is %v", sent, len(rest), sd.jump)
		}
		if sd.jump {
			if !bytes.Equal(sd.private, rest) || sd.entry != nil {
				t.Fatalf("%d bytes sent: it holds %q and an entry %v, want %q alone", sent, sd.private, sd.entry != nil, rest)
			}
			s.took(g, sl, sd, len(rest))
			s.next(0, sl, sd, g)
		}
		if got := sse.Blocks(sd.private); got != 1 || !bytes.HasPrefix(sd.private, []byte("event: $gap\n")) {
			t.Fatalf("%d bytes sent: behind the event comes %q, want one $gap", sent, sd.private)
		}
		if sl.events != uint64(events) {
			t.Fatalf("%d bytes sent: %d events counted, want %d", sent, sl.events, events)
		}
	}
}

func TestAClientThatJumpsAgainAndAgainHoldsNoMore(t *testing.T) {
	s, g, sl, sd, _ := behind(0)
	most := 0
	for range 200 {
		s.checkSlow(0, sl, sd, g)
		most = max(most, len(sd.private))
		s.took(g, sl, sd, 1) // its socket takes a byte now and then
		if len(sd.private) == 0 {
			s.next(0, sl, sd, g)
		}
		for version := range uint32(2) {
			g.log.append(&s.buffers, sse.NewFrame("", []byte(strings.Repeat("x", 200))), nil, 0, 0, version)
			g.log.seal(&s.buffers, 0)
		}
		g.log.unsent = nil
	}
	if s.stats.drops < 3 {
		t.Fatalf("it jumped %d times", s.stats.drops)
	}
	if most > 100 {
		t.Fatalf("it holds up to %d bytes of its own", most)
	}
}

// A round costs the same, however many tiny events a client is behind.
func TestTheCostOfARoundDoesNotGrowWithWhatOneClientIsBehind(t *testing.T) {
	s, g, _, _, _ := behind(0)
	g.policy = &Policy{DropOldest: true, IDs: true, BufferBytes: 1 << 30, BufferEvents: 1 << 30, BufferAge: time.Hour}
	tiny := sse.NewFrame("", []byte("12345678"))
	rounds := func(n int) time.Duration {
		began := time.Now()
		for range n {
			g.append(s, flow.Event{Frame: tiny, Seq: g.pos[0].Seq + 1})
			s.runRounds()
		}
		return time.Since(began)
	}
	least := func() time.Duration { // whatever else the machine does
		d := time.Hour
		for range 20 {
			d = min(d, rounds(50))
		}
		return d
	}
	near := least()
	rounds(100_000)
	if n := g.log.seq - g.log.first.seq; n < 100_000 || !g.idle() || s.stats.drops > 0 {
		t.Fatalf("the client is %d entries behind, and has jumped %d times", n, s.stats.drops)
	}
	if far := least(); far > 20*near {
		t.Errorf("50 rounds take %v with a client that is 100,000 behind, and %v without", far, near)
	}
}

func TestSlowest_IsWhoseSocketHasNotTakenTheOldestEvent(t *testing.T) {
	s, g, _, sd, _ := behind(0)
	s.now = int64(7 * time.Second)
	if got := time.Duration(sd.behind(s.now)); got != 7*time.Second {
		t.Errorf("%s behind", got)
	}
	s.letGo(g, sd)
	if got := time.Duration(sd.behind(s.now)); got != 7*time.Second-1 {
		t.Errorf("%s behind, since its socket has refused what is its own", got)
	}
	sd.wants = 0 // it is its budget, or we
	if got := sd.behind(s.now); got != 0 {
		t.Errorf("%d behind, though its socket has refused nothing", got)
	}
}
