//go:build linux

package main

import (
	"fmt"
	"os"
	"strings"
	"time"
)

const (
	// perPair is how many streams one headgate and one client process hold, below the limit of descriptors.
	perPair = 19_000
	// millionHeartbeat keeps the two cores of a small machine free: at the default of 15 s a million streams are 67,000 heartbeats a
	// second, which is as much as both ends of them can carry there.
	millionHeartbeat = "SSE_HEARTBEAT=300s"
)

// million: as many streams as asked for, in pairs of a headgate and a client process. All are open at once and at rest when their
// memory is read, and one message then goes to all of them. It takes several gigabytes and minutes, and raised kernel limits: see
// README.md.
func million(l *Lab) ([]Row, error) {
	row := Row{Name: fmt.Sprintf("%d streams, all at once", l.size.Million), Unit: "bytes per stream, kernel and user"}
	if err := room(l.size.Million); err != nil {
		return nil, err
	}
	servers, empty, err := l.emptyServers((l.size.Million + perPair - 1) / perPair)
	defer func() {
		for _, s := range servers {
			l.Stop(s)
		}
	}()
	if err != nil {
		return nil, err
	}
	before, err := readKernel()
	if err != nil {
		return nil, err
	}
	start := now()
	holders, err := l.hold(servers)
	defer func() {
		for _, h := range holders {
			l.Stop(&Server{Kind: "holder", Proc: h.proc})
		}
	}()
	if err != nil {
		return nil, err
	}
	opened := time.Duration(now() - start)
	full, err := l.settleAll(servers, l.size.Still)
	if err != nil {
		return nil, err
	}
	after, err := readKernel()
	if err != nil {
		return nil, err
	}
	n := float64(l.size.Million)
	user, kernel := float64(full-empty)/n, float64(after.objects-before.objects)/n/2
	row.Figures = map[string]Figure{"headgate": {Median: user + kernel, Min: user + kernel, Max: user + kernel, Passes: 1}}
	row.below(5 << 10)
	row.note("user %s (beyond %d empty processes of %s MB each), kernel %s (half of both ends' slab)",
		number(user), len(servers), number(float64(empty)/float64(len(servers))/(1<<20)), number(kernel))
	clients, err := holdersOwn(holders)
	if err != nil {
		return nil, err
	}
	row.note("opened in %.0f s; the machine's unused memory fell by %s bytes per stream, %s of them the client processes': "+
		"what is left after all processes is %s for each end in the kernel, its objects and everything else", opened.Seconds(),
		number(float64(before.unused-after.unused)/n), number(float64(clients)/n), number(float64(before.unused-after.unused-clients-(full-empty))/n/2))
	return []Row{row}, l.tellAll(&row, servers[0].feed, holders)
}

// emptyServers starts so many headgates and returns what they take together before any stream.
func (l *Lab) emptyServers(n int) (servers []*Server, rss int64, err error) {
	for range n {
		s, err := l.StartHeadgate(millionHeartbeat)
		if err != nil {
			return servers, 0, err
		}
		servers = append(servers, s)
	}
	rss, err = l.settleAll(servers, time.Second)
	return servers, rss, err
}

// holder is a client process and how many streams it has.
type holder struct {
	proc    *Proc
	streams int
}

// hold opens the streams, a client process for each server.
func (l *Lab) hold(servers []*Server) (holders []holder, err error) {
	open := 0
	for _, s := range servers {
		n := min(perPair, l.size.Million-open)
		proc, _, err := startRole(roleSpec{Role: "holder", Server: s.Addr, Clients: n}, cores.clients)
		if err != nil {
			return holders, err
		}
		l.procs = append(l.procs, proc)
		holders = append(holders, holder{proc, n})
		open += n
		l.logf("million: %d streams", open)
	}
	return holders, nil
}

// holdersOwn is the memory of the client processes that is not the contents of a file, in bytes.
func holdersOwn(holders []holder) (total int64, err error) {
	for _, h := range holders {
		b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", h.proc.Pid))
		if err != nil {
			return 0, err
		}
		own, err := kilobytes(b, "RssAnon:")
		if err != nil {
			return 0, err
		}
		total += own
	}
	return total, nil
}

// tellAll publishes one message and fails unless every single stream gets it: that is what proves that they are held.
func (l *Lab) tellAll(row *Row, feed Feed, holders []holder) error {
	start := now()
	p := NewPublisher(feed, payloadSize)
	p.Append(shared, start)
	if err := feed.Flush(); err != nil {
		return err
	}
	total := 0
	for _, h := range holders {
		if err := h.await(); err != nil {
			return fmt.Errorf("%d streams have the message: %w", total, err)
		}
		total += h.streams
	}
	row.note("held: none had ended, and one message reached %d of them within %.1f s", total, time.Duration(now()-start).Seconds())
	return nil
}

// await reads what a holder tells until all of its streams have the message.
func (h holder) await() error {
	for {
		line, err := h.proc.Line(2 * time.Minute)
		if err != nil {
			return err
		}
		var received, lost, ended int
		if _, err := fmt.Sscanf(line, "received %d lost %d ended %d", &received, &lost, &ended); err != nil {
			return fmt.Errorf("%q: %w", line, err)
		}
		if lost+ended > 0 || received > h.streams {
			return fmt.Errorf("holder of %d: %s", h.streams, line)
		}
		if received == h.streams {
			return nil
		}
	}
}

// kernelMemory is the kernel's objects, and what nobody uses: free, holding contents of files, or a trace of somebody who looked. In bytes.
// MemAvailable would not do: it takes inodes and directory entries for reclaimable, those of open sockets too.
type kernelMemory struct{ objects, unused int64 }

func readKernel() (k kernelMemory, err error) {
	slab, err := readSlab()
	if err != nil {
		return k, err
	}
	k.objects, k.unused = slab.objects, slab.traces
	b, err := os.ReadFile("/proc/meminfo")
	if err != nil {
		return k, err
	}
	for _, name := range []string{"MemFree:", "Buffers:", "Cached:"} {
		v, err := kilobytes(b, name)
		if err != nil {
			return k, err
		}
		k.unused += v
	}
	return k, nil
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
