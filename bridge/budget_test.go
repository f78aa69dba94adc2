package bridge

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"headgate/internal/cursor"
	"headgate/internal/devnats"
)

// TestBudget_OldestMessagesOfAllTopicsGoFirst: whoever comes back for what has been thrown away is told, and everybody else gets what
// is left, without a word.
func TestBudget_OldestMessagesOfAllTopicsGoFirst(t *testing.T) {
	for _, conns := range []int{1, 3} {
		t.Run(fmt.Sprint(conns, " connections"), func(t *testing.T) {
			s := startNATS(t, devnats.Options{})
			cfg := testNATS(s.URL())
			cfg.TopicLinger = time.Minute
			cfg.DataConnections = conns
			cfg.RingBytes = 4 << 20
			r := connectedBridge(t, cfg, 0)
			nc := publisherOf(t, s.URL())
			const topics, rounds = 200, 4
			large := strings.Repeat("x", 16<<10) // each of the topics alone stays far below the bound of a ring
			var sinks [topics]*recorder
			var starts [topics]string
			for i := range topics {
				sink, _, pos := r.follow(request("", fmt.Sprint("t.", i)))
				sinks[i], starts[i] = sink, pos.String()
			}
			for n := range rounds {
				for i := range topics {
					if err := nc.Publish(fmt.Sprint("t.", i), fmt.Appendf(nil, "%d %s", n, large)); err != nil {
						t.Fatal(err)
					}
				}
			}
			if err := nc.Flush(); err != nil {
				t.Fatal(err)
			}
			eventually(t, "the messages", func() bool { return r.metric("headgate_nats_messages_total") == topics*rounds })
			if n := r.metric("headgate_ring_bytes"); n > 4<<20 || n < 3<<20 {
				t.Fatalf("the rings take %v bytes", n)
			}
			kept := 0
			for i := range topics {
				eventually(t, "all events", func() bool { return len(sinks[i].all()) == rounds })
				_, got, src := r.resumed(request(starts[i], fmt.Sprint("t.", i)))
				src.Close()
				if len(got) == 0 || got[0] != "$gap expired true s" {
					t.Fatalf("topic %d: %.20q of %d, without a gap", i, got, len(got))
				}
				for j, text := range got[1:] { // the newest, without a hole
					if want := fmt.Sprint(rounds-len(got)+1+j, " "); !strings.HasPrefix(text, want) {
						t.Fatalf("topic %d: %.10q where %q was due", i, text, want)
					}
				}
				kept += len(got) - 1
				// Who has had what was thrown away gets the rest without a gap.
				last := sinks[i].all()[rounds-len(got)]
				pos := at(ok[cursor.Position](t)(cursor.Parse(starts[i])), last)
				_, rest, src := r.resumed(request(pos, fmt.Sprint("t.", i)))
				src.Close()
				if strings.Join(rest, "|") != strings.Join(got[1:], "|") {
					t.Fatalf("topic %d: %d events behind the gap, and %d without it", i, len(got)-1, len(rest))
				}
			}
			out := r.metric("headgate_ring_crowded_out_total")
			if int(out)+kept != topics*rounds || kept == 0 {
				t.Fatalf("%d messages kept, %v thrown away", kept, out)
			}

			// What a lost connection makes worthless is not counted any more, and the room is there for what comes then.
			if err := s.Restart(); err != nil {
				t.Fatal(err)
			}
			eventually(t, "empty rings", func() bool { return r.metric("headgate_ring_bytes") == 0 })
			eventually(t, "the connection", func() bool { return r.Health().Connected && nc.IsConnected() })
			publish(t, nc, "t.0", "x")
			eventually(t, "the message", func() bool { return r.metric("headgate_ring_bytes") > 0 })
			if n := r.metric("headgate_ring_crowded_out_total"); n != out {
				t.Fatalf("%v messages were thrown away for one", n-out)
			}
		})
	}
}

// TestBudget_AMessageThatDoesNotFitIsRelayedAndNotKept: the budget bounds what is kept, never what is relayed.
func TestBudget_AMessageThatDoesNotFitIsRelayedAndNotKept(t *testing.T) {
	s := startNATS(t, devnats.Options{})
	cfg := testNATS(s.URL())
	cfg.RingBytes = 1
	r := connectedBridge(t, cfg, 0)
	nc := publisherOf(t, s.URL())
	sink, _, pos := r.follow(request("", "a"))
	publish(t, nc, "a", "1")
	publish(t, nc, "a", "2")
	sink.waitFor(t, "1", "2")
	if _, got, _ := r.resumed(request(at(pos, sink.all()[0]), "a")); strings.Join(got, "|") != "$gap expired true s" {
		t.Fatalf("%q", got)
	}
	if _, got, _ := r.resumed(request(at(pos, sink.all()[1]), "a")); len(got) != 0 {
		t.Fatalf("the last event was seen, and yet %q", got)
	}
	if n := r.metric("headgate_ring_bytes"); n != 0 {
		t.Fatalf("the rings take %v bytes", n)
	}
}
