//go:build linux

package main

import (
	"context"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	if runRole() { // the servers under test are this executable
		return
	}
	goleak.VerifyTestMain(m)
}

// Small sizes on a busy machine: only ratios, and only such as hold by a wide margin.
func TestSuite_InSmallHeadgateBeatsTheNaiveServer(t *testing.T) {
	if raceDetector {
		t.Skip("nothing is measured under the race detector, which slows the naive server; make test runs this once more without it")
	}
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	chosen, err := choose("memory,heartbeat,fanout,fanout-max,resume,storm-naive,million")
	if err != nil {
		t.Fatal(err)
	}
	size := sizes["test"]
	size.Million = size.Some
	_, rows, err := run(ctx, size, []string{"headgate", "naive"}, chosen)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		row      string
		min, max float64 // of headgate's figure as a multiple of the naive server's
	}{
		{"memory per idle stream", 0, 0.1},
		{"fan-out, 400 clients, one message in flight", 0.8, 1000},
		{"fan-out at maximum rate, 200", 2, 1e6},
		{"fan-out at maximum rate, 400", 2, 1e6},
		{"storm: 200 clients on as many subjects, 20 missed each of 4000 messages, from memory", 0, 2},
		{"storm: 200 clients on as many subjects, 20 missed each of 4000 messages, from history", 0, 3},
		{"storm: 200 clients on one subject, 20 missed each of 4000 messages, from memory", 0, 2},
	} {
		row := find(t, rows, c.row)
		mine, naive := row.Figures["headgate"], row.Figures["naive"]
		if mine.Passes == 0 || naive.Passes == 0 || naive.Median <= 0 {
			t.Errorf("%s: not measured: %+v, %v", row.Name, row.Figures, row.Notes)
			continue
		}
		if x := mine.Median / naive.Median; x < c.min || x > c.max {
			t.Errorf("%s: headgate %v, naive %v %s: %.3g times, want %v to %v; %v", row.Name, mine, naive, row.Unit, x, c.min, c.max, row.Notes)
		}
	}
	if beats := find(t, rows, "heartbeats, 400 silent streams"); beats.Figures["headgate"].Passes == 0 || !strings.Contains(strings.Join(beats.Notes, "\n"), "packets each") {
		t.Errorf("heartbeats: not measured: %+v, %v", beats.Figures, beats.Notes)
	}
	if held := find(t, rows, "200 streams, all at once"); !strings.Contains(strings.Join(held.Notes, "\n"), "one message reached 200 of them") {
		t.Errorf("million: not held: %v", held.Notes)
	}
	whole := 0
	for _, row := range rows {
		for _, check := range row.Checks {
			switch {
			case !strings.HasPrefix(check.Target, "0 lost") && !strings.Contains(check.Target, "consumers on the server"):
			case check.Met:
				whole++
			default:
				t.Errorf("%s: %s, measured %v; %v", row.Name, check.Target, check.Got, row.Notes)
			}
		}
	}
	if whole != 1+3*2 {
		t.Errorf("%d checks of what was delivered, want one of resume and two of each storm", whole)
	}
}

// Real processes on a real cluster, with a wide margin for a machine that is busy.
func TestSuite_InSmallARevocationEndsStreamsWithinSeconds(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	chosen, err := choose("revoke")
	if err != nil {
		t.Fatal(err)
	}
	_, rows, err := run(ctx, sizes["test"], []string{"headgate"}, chosen)
	if err != nil {
		t.Fatal(err)
	}
	if len(rows) != 3 {
		t.Fatalf("%d rows", len(rows))
	}
	for _, row := range rows[1:] {
		if f := row.Figures["headgate"]; f.Passes != sizes["test"].Rounds || f.Max <= 0 || f.Max > 3000 {
			t.Errorf("%s: %v %s", row.Name, f, row.Unit)
		}
	}
}

func find(t *testing.T, rows []Row, prefix string) Row {
	t.Helper()
	for _, r := range rows {
		if strings.HasPrefix(r.Name, prefix) {
			return r
		}
	}
	t.Fatalf("no row %q", prefix)
	return Row{}
}

func TestWriteReport_KeepsWhatIsWrittenByHand(t *testing.T) {
	path := t.TempDir() + "/performance.md"
	if err := os.WriteFile(path, []byte("# Mine\n\nbefore\n"+beginMark+"old"+endMark+"\nafter\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := writeReport(path, newTable([]string{"a machine"}, "a command", []Row{{Name: "new"}}), false); err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"before", "new", "after"} {
		if !strings.Contains(string(got), want) {
			t.Errorf("no %q in %q", want, got)
		}
	}
	if strings.Contains(string(got), "old") {
		t.Errorf("the old figures are still there: %q", got)
	}
}

func TestWriteReport_KeepsTheRowsOfOtherScenarios(t *testing.T) {
	path := t.TempDir() + "/performance.md"
	figure := func(name string, v float64) Row {
		return Row{Name: name, Unit: "bytes", Figures: map[string]Figure{"headgate": {Median: v, Passes: 1}}, Notes: []string{fmt.Sprintf("note %v", v)},
			Checks: []Check{{Target: "<= 3", Got: v, Met: v <= 3}}}
	}
	for n, rows := range [][]Row{{figure("one", 1), figure("two, with more", 2)}, {figure("two, with more", 4), figure("three", 3)}, {figure("one", 5)}} {
		if err := writeReport(path, newTable([]string{"machine"}, fmt.Sprintf("command %d", n), rows), n > 0); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"1. `command 1`: machine\n2. `command 2`: machine\n\nTargets met: 1, missed: 2.",
		"| one | bytes | 5 |  |  |  |  |  | <= 3: 5, **missed** | 0.00 | 2 |\n" +
			"| two, with more | bytes | 4 |  |  |  |  |  | <= 3: 4, **missed** | 0.00 | 1 |\n" +
			"| three | bytes | 3 |  |  |  |  |  | <= 3: 3, met | 0.00 | 1 |\n\n" +
			"- one: note 5\n- two, with more: note 4\n- three: note 3\n",
	} {
		if !strings.Contains(string(got), want) {
			t.Errorf("no %q in:\n%s", want, got)
		}
	}
}
