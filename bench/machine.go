//go:build linux

package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// machineText describes where and with what a report was made.
func machineText(ctx context.Context, root string) []string {
	model := "unknown processor"
	if b, err := os.ReadFile("/proc/cpuinfo"); err == nil {
		for line := range strings.Lines(string(b)) {
			if name, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(name) == "model name" {
				model = strings.TrimSpace(value)
				break
			}
		}
	}
	var uts unix.Utsname
	_ = unix.Uname(&uts)
	memory := int64(0)
	if b, err := os.ReadFile("/proc/meminfo"); err == nil {
		memory, _ = kilobytes(b, "MemTotal:")
	}
	var files unix.Rlimit
	_ = unix.Getrlimit(unix.RLIMIT_NOFILE, &files)
	load := ""
	if b, err := os.ReadFile("/proc/loadavg"); err == nil {
		load = strings.Join(strings.Fields(string(b))[:3], " ")
	}
	return []string{
		fmt.Sprintf("%s, %d cores, %.0f GiB, loopback only", model, runtime.NumCPU(), float64(memory)/(1<<30)),
		"kernel " + unix.ByteSliceToString(uts.Release[:]),
		runtime.Version() + ", " + runtime.GOARCH,
		"commit " + commit(ctx, root),
		fmt.Sprintf("at most %d descriptors per process", files.Max),
		"load average when it began: " + load,
	}
}

func commit(ctx context.Context, root string) string {
	out, err := exec.CommandContext(ctx, "git", "-C", root, "rev-parse", "--short=12", "HEAD").Output()
	if err != nil {
		return "unknown"
	}
	id := strings.TrimSpace(string(out))
	changed, err := exec.CommandContext(ctx, "git", "-C", root, "status", "--porcelain", "--", "*.go", "go.mod").Output()
	if err != nil || len(changed) > 0 {
		id += " with changes"
	}
	return id
}

// load is a reading of the whole machine's processor time.
type load struct {
	at          int64
	busy, steal time.Duration
}

func readLoad() (load, error) {
	b, err := os.ReadFile("/proc/stat")
	if err != nil {
		return load{}, err
	}
	fields := strings.Fields(strings.SplitN(string(b), "\n", 2)[0])
	if len(fields) < 9 || fields[0] != "cpu" {
		return load{}, fmt.Errorf("/proc/stat: %q", fields)
	}
	var ticks [8]int64 // user nice system idle iowait irq softirq steal
	for i := range ticks {
		if ticks[i], err = strconv.ParseInt(fields[i+1], 10, 64); err != nil {
			return load{}, fmt.Errorf("/proc/stat: %w", err)
		}
	}
	busy := ticks[0] + ticks[1] + ticks[2] + ticks[5] + ticks[6]
	return load{at: now(), busy: time.Duration(busy) * clockTick, steal: time.Duration(ticks[7]) * clockTick}, nil
}

// raiseFiles lifts the soft limit of open files to the hard one and returns it.
func raiseFiles() (int, error) {
	var l unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &l); err != nil {
		return 0, err
	}
	l.Cur = l.Max
	return int(l.Max), unix.Setrlimit(unix.RLIMIT_NOFILE, &l)
}
