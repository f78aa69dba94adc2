package feed

import (
	"fmt"
	"slices"
	"testing"
	"time"
)

func TestAsked_NeverSeveralFiltersWithAWildcard(t *testing.T) {
	for _, c := range []struct{ filters, server, mine []string }{
		{nil, nil, nil},
		{[]string{"a.*"}, []string{"a.*"}, nil},
		{[]string{"a.b", "a.c"}, []string{"a.b", "a.c"}, nil},
		{[]string{"a.b.*", "a.c.*"}, []string{"a.*.*"}, []string{"a.b.*", "a.c.*"}},
		{[]string{"a.*", "a.b.c"}, []string{"a.>"}, []string{"a.*", "a.b.c"}},
		{[]string{"a.*", "b.c"}, nil, []string{"a.*", "b.c"}},
	} {
		got := asked(c.filters)
		server, mine := got.server, got.mine
		if !slices.Equal(server, c.server) || !slices.Equal(mine, c.mine) {
			t.Errorf("%v: server %v, mine %v; want %v, %v", c.filters, server, mine, c.server, c.mine)
		}
	}
}

// With both filters at the server this took a millisecond for each message.
func TestFeed_WithSeveralWildcardsReadsAStreamOfManySubjectsInNoTime(t *testing.T) {
	const n = 40_000
	w := newWorld(t)
	w.stream(ordinary())
	for i := range n {
		if _, err := w.js.PublishAsync(fmt.Sprintf("s.%d.%c", i%10_000, 'a'+rune(i/10_000)), []byte("x")); err != nil {
			t.Fatal(err)
		}
		if i%4000 == 0 {
			<-w.js.PublishAsyncComplete()
		}
	}
	<-w.js.PublishAsyncComplete()
	read := func(filters []string) (*running, time.Duration) {
		f := w.run(Config{Filters: filters, PrefillAge: time.Hour, Budget: NewBudget(64 << 20)})
		began := time.Now()
		f.ready()
		return f, time.Since(began)
	}
	all, whole := read(nil) // how busy the machine is
	all.stop()
	f, took := read([]string{"s.*.a", "s.*.b"})
	if took > 5*time.Second && took > 10*whole {
		t.Errorf("%d messages took %v, and all of them without filters %v", n, took, whole)
	}
	inc := f.State().Inc
	if items, all, ok := f.Tail(inc, []string{"s.*.*"}, 0, n, 1<<30); !ok || !all || len(items) != n/2 {
		t.Errorf("%d messages are kept, all %v, %v; want %d: %+v", len(items), all, ok, n/2, f.State())
	}
}
