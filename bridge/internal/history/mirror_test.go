package history

import (
	"fmt"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// A mirror answers direct gets in the place of its stream, and keeps what was purged and deleted there. None of that may come back.
func TestPitfall12_WhatIsGoneFromAMirroredStreamIsGone(t *testing.T) {
	w := newWorld(t, nil)
	created := w.stream("S", nil)
	w.fill(60, func(i int) string { return fmt.Sprintf("S.%d", i%6) })
	mirror, err := w.js.CreateStream(w.context(), jetstream.StreamConfig{Name: "M", AllowDirect: true, MirrorDirect: true, Mirror: &jetstream.StreamSource{Name: "S"}})
	if err != nil {
		t.Fatal(err)
	}
	for end := time.Now().Add(patienceOfTests); ; time.Sleep(10 * time.Millisecond) {
		i, err := mirror.Info(w.context())
		if err != nil || time.Now().After(end) {
			t.Fatalf("the mirror has not got everything: %v", err)
		}
		if i.State.Msgs == 60 {
			break
		}
	}
	s, err := w.js.Stream(w.context(), "S")
	if err != nil {
		t.Fatal(err)
	}
	// Gone: the beginning, a subject, and one message in the middle.
	for _, opts := range [][]jetstream.StreamPurgeOpt{{jetstream.WithPurgeSequence(11)}, {jetstream.WithPurgeSubject("S.3")}} {
		if err := s.Purge(w.context(), opts...); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.DeleteMsg(w.context(), 60); err != nil {
		t.Fatal(err)
	}
	content := w.content("S")
	for n := range 20 { // either answers, at random
		r := Request{Stream: "S", Created: created, Direct: true, Filters: []string{"S.>"}, From: uint64(n), To: 60}
		items, _, err := w.readAll(r)
		if d := same(items, want(content, r.Filters, r.From, r.To)); err != nil || d != "" {
			t.Fatalf("read from %d: %v %s", n, err, d)
		}
		r.From, r.Filters = 0, []string{fmt.Sprintf("S.%d", n%6), "S.0"}
		if n%6 == 0 {
			r.Filters = []string{"S.>"}
		}
		a := w.ask(func(done func(Answer)) { w.c.LastPerSubject(r, done) })
		if d := same(a.Items, lastOfEach(want(content, r.Filters, 0, 60))); a.Err != nil || d != "" {
			t.Fatalf("last per subject of %v: %v %s", r.Filters, a.Err, d)
		}
		a = w.ask(func(done func(Answer)) { w.c.Last(r, done) })
		ref := want(content, r.Filters, 0, 60)
		if d := same(a.Items, ref[max(len(ref), 1)-1:]); a.Err != nil || d != "" {
			t.Fatalf("last of %v: %v %s", r.Filters, a.Err, d)
		}
	}
}
