package gap

import (
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
)

func TestFrame_IsTheEventOfTheProtocol(t *testing.T) {
	for _, c := range []struct {
		hole Hole
		want string
	}{
		{Hole{Reason: Overflow, Source: "prices"}, `{"reason":"overflow","certain":true,"source":"prices","next":"live"}`},
		{Hole{Reason: Reconnect, Source: "a"}, `{"reason":"reconnect","certain":false,"source":"a","next":"live"}`},
		{Hole{Reason: Expired, Source: "a", From: 3, To: 9}, `{"reason":"expired","certain":true,"source":"a","from":3,"to":9,"next":"live"}`},
		{Hole{Reason: Expired, Source: "a", From: 3, To: 9, Unsure: true}, `{"reason":"expired","certain":false,"source":"a","from":3,"to":9,"next":"live"}`},
		{Hole{Reason: Reset, Source: "a", Unsure: true}, `{"reason":"reset","certain":false,"source":"a","next":"live"}`},
		{Hole{Reason: Reset, Source: "a", Snapshot: true}, `{"reason":"reset","certain":false,"source":"a","next":"snapshot"}`},
	} {
		got := string(Frame(c.hole).AppendBlock(nil, nil))
		if want := "event: $gap\ndata: " + c.want + "\n\n"; got != want {
			t.Errorf("got  %q\nwant %q", got, want)
		}
	}
}

func TestReasons_HaveTheirWordsAndCountersAtZero(t *testing.T) {
	reg := prometheus.NewRegistry()
	c := NewCounters(reg)
	want := "expired reset rewound unknown-position reconnect overflow limit slow rate invalid too-large"
	var got []string
	for _, r := range Reasons() {
		got = append(got, r.String())
	}
	if strings.Join(got, " ") != want {
		t.Fatalf("got %v", got)
	}
	if n := testutil.CollectAndCount(reg, "headgate_gaps_total"); n != len(got) {
		t.Fatalf("%d counters for %d reasons", n, len(got))
	}
	c.Add(Slow, 2)
	if v := testutil.ToFloat64(c.by[Slow]); v != 2 {
		t.Fatalf("counted %v", v)
	}
}
