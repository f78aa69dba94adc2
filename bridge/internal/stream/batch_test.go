package stream

import (
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"headgate/bridge/internal/encode"
	"headgate/bridge/internal/feed"
	"headgate/internal/flow"
	"headgate/internal/gap"
)

// What was read just before it was removed is either sent or named as missing, never both: the position would go back.
func TestBatch_WhatAGapNamesIsNotSent(t *testing.T) {
	s := &Source{streams: &Streams{cfg: Config{Gaps: gap.NewCounters(prometheus.NewRegistry())}}, spec: flow.Spec{Name: "x"},
		filters: []string{">"}, format: encode.Compile(flow.Format{IDs: true})}
	var items []*encode.Item
	for seq := uint64(11); seq <= 20; seq++ {
		items = append(items, &encode.Item{Message: encode.Message{Subject: "a"}, Seq: seq})
	}
	b := s.batch(Reading(), &feed.Incarnation{IDPrefix: "1~AAAAAA."}, items, 10, 20, 20, 16)
	at := uint64(10)
	for _, e := range b.Events {
		if e.Seq < at {
			t.Fatalf("an event of %d behind %d", e.Seq, at)
		}
		at = e.Seq
	}
	if n := len(b.Events); n != 1+5+1 || b.Events[0].Seq != 15 || b.Events[1].Seq != 16 || !b.Done {
		t.Errorf("%d events, done %v: %+v", n, b.Done, b.Events)
	}
}
