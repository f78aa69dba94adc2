package feed

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"headgate/bridge/internal/encode"
)

// nobody follows and does not care.
type nobody struct{}

func (nobody) Message(*encode.Item, *Incarnation) {}
func (nobody) Hole(Hole, *Incarnation, uint64)    {}
func (nobody) Lost()                              {}

func TestCheck_NamesWhatIsBroken(t *testing.T) {
	w := newWorld(t)
	w.stream(ordinary())
	w.put("s.a", "s.b", "s.a")
	b := NewBudget(1 << 20)
	f := w.run(Config{Budget: b, PrefillAge: 1 << 40}).ready().Feed
	l, _, _, err := f.Follow([]string{"s.a", "s.b"}, nobody{})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	look := func() string {
		var found []string
		wrong := func(format string, args ...any) { found = append(found, fmt.Sprintf(format, args...)) }
		f.Check(wrong)
		b.Check(wrong)
		return strings.Join(found, "\n")
	}
	if found := look(); found != "" || f.tail.len() != 3 {
		t.Fatalf("%s; %d in the tail", found, f.tail.len())
	}
	item := f.tail.at(f.tail.head + 1).it
	for says, change := range map[string]func() (undo func()){
		"told of other bytes":  func() func() { f.heldTail.Add(1); return func() { f.heldTail.Add(-1) } },
		"is miscounted":        func() func() { b.used.Add(1); return func() { b.used.Add(-1) } },
		"none gives way":       func() func() { was := b.limit; b.limit = 8; return func() { b.limit = was } },
		"granted -1":           func() func() { was := b.granted.Swap(-1); return func() { b.granted.Store(was) } },
		"more than their part": func() func() { b.rooms.Add(b.limit); return func() { b.rooms.Add(-b.limit) } },
		"more has been pushed": func() func() {
			_, seq := f.progress.load()
			f.progress.raise(seq + 1)
			return func() { f.progress.raise(seq) }
		},
		"begins behind its end":     func() func() { was := f.tail.floor; f.tail.floor = 99; return func() { f.tail.floor = was } },
		"out of order":              func() func() { item.Seq += 7; return func() { item.Seq -= 7 } },
		"bytes of the tail":         func() func() { f.tail.bytes++; return func() { f.tail.bytes-- } },
		"3 filters":                 func() func() { l.filters = append(l.filters, "s.c"); return func() { l.filters = l.filters[:2] } },
		"a follower of another":     func() func() { l.feed = nil; return func() { l.feed = f } },
		"what it has of a subject":  func() func() { tr, _ := f.tail.subjects.Get("s.a"); tr.count++; return func() { tr.count-- } },
		"knows 3 subjects, and has": func() func() { f.tail.subjects.Put("x", &trail{}); return func() { f.tail.subjects.Delete("x") } },
	} {
		f.mu.Lock()
		undo := change()
		f.mu.Unlock()
		found := look()
		f.mu.Lock()
		undo()
		f.mu.Unlock()
		if !strings.Contains(found, says) {
			t.Errorf("%s: %q", says, found)
		}
	}
	if found := look(); found != "" {
		t.Errorf("afterwards: %s", found)
	}
	if !b.Has(f) || b.Len() != 1 || !slices.Contains(*b.feeds.Load(), f) {
		t.Error("the feed does not count for its budget")
	}
}
