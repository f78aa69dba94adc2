//go:build linux

package main

import (
	"fmt"
	"os"
	"strings"
	"time"
)

// million: as many streams as asked for, in pairs of a headgate and a client process below the limit of descriptors; one
// message then goes to all. It takes several gigabytes and minutes, and raised kernel limits: see README.md.
func million(l *Lab) ([]Row, error) {
	const perPair = 19_000
	row := Row{Name: fmt.Sprintf("%d streams in several processes", l.size.Million), Unit: "bytes per stream"}
	if err := room(l.size.Million); err != nil {
		return nil, err
	}
	kernelBefore, err := slabBytes()
	if err != nil {
		return nil, err
	}
	var holders []*Proc
	var empty, full int64
	var servers []*Server
	for open := 0; open < l.size.Million; open += perPair {
		server, err := l.Start("headgate")
		if err != nil {
			return nil, err
		}
		defer l.Stop(server)
		servers = append(servers, server)
		rss, err := rssOf(server.Proc.Pid)
		if err != nil {
			return nil, err
		}
		empty += rss
		n := min(perPair, l.size.Million-open)
		holder, _, err := startRole(roleSpec{Role: "holder", Server: server.Addr, Clients: n}, cores.clients)
		if err != nil {
			return nil, err
		}
		l.procs = append(l.procs, holder)
		defer l.Stop(&Server{Kind: "holder", Proc: holder})
		holders = append(holders, holder)
		l.logf("million: %d streams", open+n)
	}
	for _, s := range servers {
		rss, err := l.Settle(s, l.size.Still)
		if err != nil {
			return nil, err
		}
		full += rss
	}
	kernelAfter, err := slabBytes()
	if err != nil {
		return nil, err
	}
	n := float64(l.size.Million)
	user, kernel := float64(full-empty)/n, float64(kernelAfter-kernelBefore)/n/2
	row.Figures = map[string]Figure{"headgate": {Median: user + kernel, Min: user + kernel, Max: user + kernel, Passes: 1}}
	row.below(5 << 10)
	row.note("user %s, kernel %s (half of both ends' slab) in %d processes", number(user), number(kernel), len(servers))
	return []Row{row}, l.tellAll(&row, servers[0], holders)
}

// tellAll publishes one message and waits until every client has it.
func (l *Lab) tellAll(row *Row, s *Server, holders []*Proc) error {
	start := now()
	p := NewPublisher(s.feed, payloadSize)
	p.Append(shared, start)
	if err := s.feed.Flush(); err != nil {
		return err
	}
	total := 0
	for total < l.size.Million {
		before := total
		total = 0
		for _, h := range holders {
			line, err := h.Line(2 * time.Minute)
			if err != nil {
				return err
			}
			var received, lost, ended int
			if _, err := fmt.Sscanf(line, "received %d lost %d ended %d", &received, &lost, &ended); err != nil {
				return fmt.Errorf("%q: %w", line, err)
			}
			if lost+ended > 0 {
				return fmt.Errorf("holder: %s", line)
			}
			total += received
		}
		if total == before {
			break
		}
	}
	row.note("one message to %d of them took %.1f s", total, time.Duration(now()-start).Seconds())
	return nil
}

// room refuses a count that this machine cannot hold, in time and with the remedy.
func room(streams int) error {
	b, err := os.ReadFile("/proc/meminfo")
	if err != nil {
		return err
	}
	free, err := kilobytes(b, "MemAvailable:")
	if err != nil {
		return err
	}
	const each = 12 << 10 // both ends in kernel and user space
	if need := int64(streams) * each; free < need {
		return fmt.Errorf("%d streams need about %d GiB, %d are available: lower -streams", streams, need>>30, free>>30)
	}
	b, err = os.ReadFile("/proc/sys/fs/file-max")
	if err != nil {
		return err
	}
	var files int64
	if _, err := fmt.Sscan(strings.TrimSpace(string(b)), &files); err != nil {
		return err
	}
	if need := int64(streams)*2 + 100_000; files < need {
		return fmt.Errorf("fs.file-max is %d: sysctl -w fs.file-max=%d", files, need)
	}
	return nil
}
