//go:build linux

package main

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

// wire is a chunked stream of events first..last, each with an id.
func wire(first, last uint32) []byte {
	var b []byte
	payload, at := newPayload(payloadSize)
	for seq := first; seq <= last; seq++ {
		putStamp(payload[at:], seq, now())
		event := fmt.Sprintf("data: %s\nid: 1~tag.%d\n\n", payload, seq)
		b = append(b, fmt.Sprintf("%x\r\n%s\r\n", len(event), event)...)
	}
	return b
}

func TestStamp_ReadsWhatWasWritten(t *testing.T) {
	for _, c := range []struct {
		seq uint32
		at  int64
	}{{0, 0}, {1, 1}, {0xffffffff, 1<<62 + 12345}, {0x01020304, 987654321}} {
		var b [stampLen]byte
		putStamp(b[:], c.seq, c.at)
		seq, at, ok := parseStamp(b[:])
		if !ok || seq != c.seq || at != c.at {
			t.Errorf("stamp of %d, %d reads %d, %d, %v", c.seq, c.at, seq, at, ok)
		}
	}
}

func TestScan_CountsEveryEventWhereverAReadIsCut(t *testing.T) {
	stream := wire(1, 4)
	for _, track := range []bool{false, true} {
		for cut := range len(stream) {
			s := &Swarm{track: track}
			var c client
			for _, part := range [][]byte{stream[:cut], stream[cut:]} {
				if track {
					s.scanBlocks(&c, part)
				} else {
					s.scan(&c, part, now())
				}
			}
			if g := s.tally; g.Received != 4 || g.Lost+g.Duplicated+g.Malformed != 0 {
				t.Fatalf("track %v, cut at %d: %+v", track, cut, []uint64{g.Received, g.Lost, g.Duplicated, g.Malformed})
			}
			if track && c.id != "1~tag.4" {
				t.Fatalf("cut at %d: last id %q", cut, c.id)
			}
		}
	}
}

func TestScan_TellsLossDuplicateAndGarbage(t *testing.T) {
	s, c := &Swarm{}, client{}
	s.scan(&c, wire(1, 2), now())
	s.scan(&c, wire(5, 5), now())
	s.scan(&c, wire(2, 2), now())
	s.scan(&c, []byte("data: ^0000\r\n0c\r\n0000000000000000\n\n"), now())
	g := s.tally
	if g.Received != 3 || g.Lost != 2 || g.Duplicated != 1 || g.Malformed != 1 {
		t.Errorf("received %d, lost %d, duplicated %d, malformed %d; want 3, 2, 1, 1", g.Received, g.Lost, g.Duplicated, g.Malformed)
	}
}

func TestScanBlocks_AnUnfinishedBlockIsNotReceived(t *testing.T) {
	s, c := &Swarm{track: true}, client{}
	stream := string(wire(1, 2))
	s.scanBlocks(&c, []byte(stream[:strings.LastIndex(stream, "id:")]))
	if s.tally.Received != 1 || c.id != "1~tag.1" {
		t.Errorf("received %d with last id %q, want one and that of the first event", s.tally.Received, c.id)
	}
}

func TestHistogram_QuantilesAreAtMostThreePercentTooHigh(t *testing.T) {
	var h Histogram
	for i := range 100_000 {
		h.Record(int64(i+1) * 1000)
	}
	for _, q := range []float64{0.01, 0.5, 0.99, 1} {
		want := time.Duration(q * 100_000 * 1000)
		if got := h.Quantile(q); got < want || float64(got) > 1.032*float64(want) {
			t.Errorf("quantile %v is %v, want %v to 3 %% more", q, got, want)
		}
	}
	if got := (&Histogram{}).Quantile(0.99); got != 0 {
		t.Errorf("quantile of nothing is %v", got)
	}
}

func TestMarkdown_SaysWhichTargetsWereMissed(t *testing.T) {
	by := samples{}
	by.add("headgate", 90)
	by.add("headgate", 100)
	by.add("headgate", 300)
	by.add("bare", 200)
	row := Row{Name: "fan-out", Unit: "deliveries/s", Figures: by.figures(), Noise: Noise{Others: 0.5}}
	row.atLeast(0.4, "bare")
	row.atLeast(0.88, "bare")
	row.atLeast(2, "naive") // not measured: compares nothing
	text := newTable([]string{"a machine"}, "go run ./bench", []Row{row}).String()
	for _, want := range []string{"met: 1, missed: 1", "100 (90.0 to 300)", ">= 0.4 x bare: 0.5, met", ">= 0.88 x bare: 0.5, **missed**", "0.50 (n)"} {
		if !strings.Contains(text, want) {
			t.Errorf("no %q in\n%s", want, text)
		}
	}
}

func TestChoose_AnUnknownScenarioIsRefusedWithTheListOfAll(t *testing.T) {
	if _, err := choose("fanout,nonsense"); err == nil || !strings.Contains(err.Error(), "fanout-max") {
		t.Errorf("error %v, want one that lists the scenarios", err)
	}
}
