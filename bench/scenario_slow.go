//go:build linux

package main

import (
	"context"
	"fmt"
	"os/exec"
	"strconv"
	"strings"
	"time"
)

// The large events fill what a silent client may hold with bytes, the tiny ones with what is kept beside the bytes of an event, and
// they come in many more rounds.
const (
	slowPayload = 1000
	tinyPayload = 64
)

// slow: some clients stop reading, messages go on at full rate for the others. What do the silent ones cost, and do the
// others notice? headgate's route is one that keeps slow clients (drop_oldest); the naive servers lose what does not fit.
// What a silent client costs in the server's own heap is the difference between many of them and a few: whatever is
// held once for all of them, however much, is no copy.
func slow(l *Lab) ([]Row, error) {
	large, err := slowRows(l, slowPayload, "events of 1 KB", "")
	if err != nil {
		return nil, err
	}
	tiny, err := slowRows(l, tinyPayload, "events of 64 B", ", events of 64 B")
	return append(large, tiny...), err
}

func slowRows(l *Lab, payload int, events, suffix string) ([]Row, error) {
	healthy, few, many := l.size.Some/5, l.size.Some/50, l.size.Some/5
	kernel := Row{Name: fmt.Sprintf("slow clients, %d beside %d healthy, %s", few, healthy, events), Unit: "KB of kernel memory per slow client, at most"}
	user := Row{Name: fmt.Sprintf("the same: %d slow clients against %d%s", many, few, suffix), Unit: "KB of live heap per slow client"}
	speed := Row{Name: "healthy clients beside slow ones" + suffix, Unit: "share of their rate without slow ones"}
	held, each, share := samples{}, samples{}, samples{}
	err := l.interleave(&kernel, max(1, l.size.Passes/5), []string{"headgate", "naive", "hub"}, func(kind string) error {
		var runs [3]slowResult
		for i, silent := range []int{0, few, many} {
			var err error
			if runs[i], err = slowRun(l, kind, healthy, silent, payload); err != nil {
				return err
			}
			kernel.checkWhole(kind+" (healthy clients)", runs[i].Run)
		}
		held.add(kind, float64(max(runs[1].kernel, runs[2].kernel))/1024)
		each.add(kind, float64(runs[2].live-runs[1].live)/1024/float64(many-few))
		share.add(kind, runs[1].Rate()/runs[0].Rate())
		return nil
	})
	if err != nil {
		return nil, err
	}
	kernel.Figures, user.Figures, speed.Figures = held.figures(), each.figures(), share.figures()
	user.Noise, speed.Noise = kernel.Noise, kernel.Noise
	kernel.below(64)
	if f, ok := user.Figures["headgate"]; ok {
		// A payload copy would be what a client may fall behind: 1 MiB.
		user.Checks = append(user.Checks, Check{Target: "no copies: <= 16 KB", Got: f.Median, Met: f.Median <= 16})
	}
	if f, ok := speed.Figures["headgate"]; ok {
		speed.Checks = append(speed.Checks, Check{Target: ">= 0.9", Got: f.Median, Met: f.Median >= 0.9})
	}
	return []Row{kernel, user, speed}, nil
}

type slowResult struct {
	Run
	kernel int64 // the most that one slow client's socket held on the server's side, in bytes
	live   int64 // the server's live heap, while the slow ones still hold theirs
}

// slowRun saturates the healthy clients; the silent ones, connected first, never read.
func slowRun(l *Lab, kind string, healthy, silent, payload int) (r slowResult, err error) {
	path := pathOf(shared)
	if kind == "headgate" {
		path = "/lossy"
	}
	sc, err := l.Scene(kind, Cast{Clients: silent + healthy, Path: func(int) string { return path }, Payload: payload})
	if err != nil {
		return r, err
	}
	defer sc.Close()
	if err := sc.Swarm.Deafen(0, silent); err != nil {
		return r, err
	}
	s, err := l.Measure(sc.Server, func() (Run, error) { return Saturate(sc.Swarm, sc.Pub, healthy, window, 2*l.size.Stretch) })
	if err != nil {
		return r, err
	}
	r.Run = s.Run
	if r.live, err = sc.LiveHeap(); err != nil {
		return r, err
	}
	if silent > 0 {
		r.kernel, err = largestSendQueue(l.ctx, sc.Addr)
	}
	return r, err
}

// largestSendQueue is the most kernel memory that a server-side socket of this address holds for data to send. It is read
// when the healthy clients have received everything, so only those who do not read hold anything.
func largestSendQueue(ctx context.Context, addr string) (int64, error) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	out, err := exec.CommandContext(ctx, "ss", "-tmnH", "state", "established", "src", addr).Output()
	if err != nil {
		return 0, fmt.Errorf("ss (package iproute2): %w", err)
	}
	// skmem:(r0,rb131072,t0,tb2626560,f0,w0,o0,bl0,d0): w is queued for sending, f allocated ahead (ss(8)).
	most := int64(-1)
	for line := range strings.Lines(string(out)) {
		_, mem, ok := strings.Cut(line, "skmem:(")
		if !ok {
			continue
		}
		total := int64(0)
		for field := range strings.SplitSeq(mem[:strings.IndexByte(mem, ')')], ",") {
			if v, err := strconv.ParseInt(strings.TrimLeft(field, "wf"), 10, 64); err == nil && (field[0] == 'w' || field[0] == 'f') {
				total += v
			}
		}
		most = max(most, total)
	}
	if most < 0 {
		return 0, fmt.Errorf("ss shows no socket of %s", addr)
	}
	return most, nil
}
