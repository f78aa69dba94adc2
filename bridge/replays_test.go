package bridge

import (
	"sync"
	"testing"
	"time"

	"headgate/internal/flow"
)

// charges is a budget that the test decides about: who waits does so before every part.
type charges struct {
	mu     sync.Mutex
	asked  map[string]int
	events map[string]int
	bytes  map[string]int
	wait   map[string]time.Duration
}

func newCharges(greedy time.Duration) *charges {
	return &charges{asked: map[string]int{}, events: map[string]int{}, bytes: map[string]int{}, wait: map[string]time.Duration{"greedy": greedy}}
}

func (c *charges) MayReplay(user string) time.Duration {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.asked[user]++; c.asked[user]%2 == 0 {
		return 0
	}
	return c.wait[user]
}

func (c *charges) Replayed(user string, events, bytes int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.events[user] += events
	c.bytes[user] += bytes
}

func (w *stateWorld) replayOf(user string) *stepper {
	w.t.Helper()
	spec := flow.Spec{Name: "s", Kind: flow.Stream, Stream: "S", Subjects: []string{"s.*"}}
	o, err := w.r.Open(w.t.Context(), flow.Request{Sources: []flow.Spec{spec}, Format: flow.Format{Data: "text", Token: -1, IDs: true},
		Since: time.Now().Add(-time.Hour), User: user})
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(o.Source.Close)
	return w.read(o)
}

// Whose budget is spent gets everything all the same, in order, later; others are not concerned.
func TestReplays_WaitForTheBudgetOfTheirUser(t *testing.T) {
	const messages = 60
	w := newStateWorld(t, messages)
	c := newCharges(50 * time.Millisecond)
	w.r.LimitReplays(c)
	for _, user := range []string{"greedy", "modest"} {
		began := time.Now()
		s := w.replayOf(user)
		steps := 0
		for !s.done {
			s.step()
			steps++
		}
		took := time.Since(began)
		if len(s.got) < messages {
			t.Errorf("%s got %d events, want %d", user, len(s.got), messages)
		}
		if least := time.Duration(steps-3) * 50 * time.Millisecond; user == "greedy" && took < least {
			t.Errorf("%s took %v for %d parts", user, took, steps)
		}
		c.mu.Lock()
		if c.events[user] != messages || c.bytes[user] < messages*300 {
			t.Errorf("%s was charged %d events and %d bytes", user, c.events[user], c.bytes[user])
		}
		c.mu.Unlock()
	}
}

// What waits when the process ends is handed out: nobody's reader hangs.
func TestReplays_AreHandedOutAtTheEnd(t *testing.T) {
	w := newStateWorld(t, 10)
	c := newCharges(time.Hour)
	w.r.LimitReplays(c)
	s := w.replayOf("greedy")
	answered := make(chan flow.Batch, 1)
	s.o.Source.(flow.History).Read(flow.Ask{From: s.from, To: s.to, MaxBytes: 2000, State: s.state}, func(b flow.Batch) { answered <- b })
	select {
	case <-answered:
		t.Error("it did not wait")
	default:
	}
	w.r.stop()
	select {
	case <-answered:
	case <-time.After(patience):
		t.Error("a part of a replay is lost")
	}
}
