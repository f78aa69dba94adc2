package history

import (
	"cmp"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"headgate/bridge/internal/encode"
)

// lastOfEach is the reference of LastPerSubject.
func lastOfEach(items []*encode.Item) []*encode.Item {
	last := map[string]*encode.Item{}
	for _, it := range items {
		last[it.Subject] = it
	}
	var list []*encode.Item
	for _, it := range last {
		list = append(list, it)
	}
	slices.SortFunc(list, func(a, b *encode.Item) int { return cmp.Compare(a.Seq, b.Seq) })
	return list
}

func TestLastNewestAndSeqBefore_EqualTheStream(t *testing.T) {
	w := newWorld(t, nil)
	r := seeded(t)
	for n := range 10 {
		name := fmt.Sprintf("S%d", n)
		created, direct := randomStream(w, r, name)
		content := w.content(name)
		first, end := lastSeq(w, name)
		var wg sync.WaitGroup
		for range 15 {
			req := Request{Stream: name, Created: created, Direct: direct, Filters: randomFilters(r, name), To: r.Uint64N(end) + 1}
			if r.IntN(3) == 0 {
				req.To = end
			}
			ref := want(content, req.Filters, 0, req.To)
			from, most := r.Uint64N(req.To+1), Most{Events: r.IntN(200), Bytes: int64(r.IntN(2) * r.IntN(4000)), Each: int64(r.IntN(50))}
			at := time.Unix(0, content[r.IntN(len(content))].At+int64(r.IntN(3)-1))
			wg.Go(func() {
				a := w.ask(func(done func(Answer)) { w.c.LastPerSubject(req, done) })
				if d := same(a.Items, lastOfEach(ref)); a.Err != nil || d != "" {
					t.Errorf("LastPerSubject %+v: %v %s", req, a.Err, d)
				}
				a = w.ask(func(done func(Answer)) { w.c.Last(req, done) })
				if d := same(a.Items, ref[max(len(ref), 1)-1:]); a.Err != nil || d != "" {
					t.Errorf("Last %+v: %v %s", req, a.Err, d)
				}
				newest := req
				newest.From = from
				in := want(content, req.Filters, from, req.To)
				wantFrom := from
				size := int64(0)
				for i := len(in) - 1; i >= 0 && wantFrom == from; i-- {
					size += int64(len(in[i].Data)) + most.Each
					n := len(in) - i
					if most.Events > 0 && n > most.Events || most.Bytes > 0 && size > most.Bytes && n > 1 {
						wantFrom = in[i].Seq
					}
				}
				a = w.ask(func(done func(Answer)) {
					w.c.Newest(newest, most, func(from uint64, missed bool, err error) {
						if missed != (wantFrom > newest.From) {
							t.Errorf("Newest %+v of %+v: missed %v, %d match", most, newest, missed, len(in))
						}
						done(Answer{Upto: from, Err: err})
					})
				})
				if a.Err != nil || a.Upto != wantFrom {
					t.Errorf("Newest %+v of %+v: %d, want %d, %v", most, newest, a.Upto, wantFrom, a.Err)
				}
				a = w.ask(func(done func(Answer)) {
					w.c.SeqBefore(name, created, at, func(seq uint64, err error) { done(Answer{Upto: seq, Err: err}) })
				})
				// What is behind the answer is exactly what was stored at the time or later.
				later := slices.DeleteFunc(slices.Clone(content), func(it *encode.Item) bool { return it.At < at.UnixNano() })
				if d := same(want(content, []string{">"}, a.Upto, end), later); a.Err != nil || d != "" {
					t.Errorf("SeqBefore %v (%d to %d): %d, %v: %s", at, first, end, a.Upto, a.Err, d)
				}
			})
		}
		wg.Wait()
		w.noConsumers(name)
	}
}

func TestLastPerSubject_ManySubjects(t *testing.T) {
	w := newWorld(t, nil)
	for _, direct := range []bool{true, false} {
		for _, subjects := range []int{1, 1000, 1100, 5000} {
			name := fmt.Sprintf("S%d%v", subjects, direct)
			created := w.stream(name, func(c *jetstream.StreamConfig) { c.AllowDirect = direct })
			w.fill(3*subjects, func(i int) string { return fmt.Sprintf("%s.%d", name, i%subjects) })
			content := w.content(name)
			for _, to := range []int{3 * subjects, 3*subjects - subjects/10, subjects/2 + 1} {
				if to < 2*subjects && subjects > 1000 {
					continue // every subject is younger: one question each
				}
				r := Request{Stream: name, Created: created, Direct: direct, Filters: []string{name + ".*"}, To: uint64(to)}
				began := time.Now()
				a := w.ask(func(done func(Answer)) { w.c.LastPerSubject(r, done) })
				if d := same(a.Items, lastOfEach(want(content, r.Filters, 0, r.To))); a.Err != nil || d != "" {
					t.Errorf("%s up to %d: %v %s", name, to, a.Err, d)
				}
				t.Logf("%s up to %d of %d: %v", name, to, 3*subjects, time.Since(began))
			}
		}
	}
}

func TestLastPerSubject_EqualOnesAreOne(t *testing.T) {
	w := newWorld(t, nil)
	created := w.stream("S", nil)
	w.fill(1000, func(i int) string { return fmt.Sprintf("S.%d", i%100) })
	var wg sync.WaitGroup
	for n := range 300 {
		wg.Add(1)
		w.c.LastPerSubject(Request{Stream: "S", Created: created, Direct: true, Filters: []string{"S.*"}, To: 1000, User: fmt.Sprint(n)},
			func(a Answer) {
				if a.Err != nil || len(a.Items) != 100 {
					t.Errorf("%d items, %v", len(a.Items), a.Err)
				}
				wg.Done()
			})
	}
	wg.Wait()
	if n := value(w.c.m.gets); n > 100 {
		t.Errorf("%v direct gets for 300 equal requests", n)
	}
}
