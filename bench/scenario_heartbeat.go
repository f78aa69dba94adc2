//go:build linux

package main

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"golang.org/x/sys/unix"
)

// heartbeat: what silence costs. All clients follow a subject on which nothing is published, so each thing that they read is a
// heartbeat. Packets are those that the kernel counts on the clients' sockets, acknowledgements among them.
func heartbeat(l *Lab) ([]Row, error) {
	var rows []Row
	// The second one is the rate of ten times as many streams, as far as settings allow.
	for _, every := range slices.Compact([]time.Duration{l.size.Beat, max(l.size.Beat/10, time.Second)}) {
		row, err := l.heartbeats(every)
		if err != nil {
			return rows, err
		}
		rows = append(rows, row)
	}
	return rows, nil
}

func (l *Lab) heartbeats(every time.Duration) (Row, error) {
	row := Row{Name: fmt.Sprintf("heartbeats, %d silent streams, one every %v", l.size.Many, every), Unit: "µs of server CPU per heartbeat"}
	cost := samples{}
	err := l.interleave(&row, max(1, l.size.Passes/5), []string{"headgate"}, func(kind string) error {
		server, err := l.start(kind, "", "", "SSE_HEARTBEAT="+every.String())
		if err != nil {
			return err
		}
		defer l.Stop(server)
		swarm, err := NewSwarm(server.Addr, false)
		if err != nil {
			return err
		}
		defer swarm.Close()
		if err := swarm.Add(l.size.Many, func(int) string { return pathOf(shared) }, time.Minute); err != nil {
			return err
		}
		if err := swarm.idle(max(every, l.size.Beat/5)); err != nil { // what belongs to the connects is over
			return err
		}
		packetsBefore, err := swarm.packets()
		if err != nil {
			return err
		}
		reads, bytes := swarm.tally.Reads, swarm.tally.Bytes
		began := now()
		s, err := l.Measure(server, func() (Run, error) { return Run{}, swarm.idle(2 * l.size.Beat) })
		if err != nil {
			return err
		}
		seconds := time.Duration(now() - began).Seconds()
		packets, err := swarm.packets()
		if err != nil {
			return err
		}
		beats := swarm.tally.Reads - reads
		if beats == 0 || swarm.ended > 0 {
			return fmt.Errorf("%d heartbeats came, and %d streams were ended", beats, swarm.ended)
		}
		cost.add(kind, perEvent(s.CPU, beats))
		row.note("%.0f heartbeats/s, %.1f %% of the server's core; %.1f bytes and %.2f packets each", float64(beats)/seconds,
			100*s.CPU.Seconds()/seconds, float64(swarm.tally.Bytes-bytes)/float64(beats), float64(packets-packetsBefore)/float64(beats))
		return nil
	})
	row.Figures = cost.figures()
	return row, err
}

// idle reads what comes for a while.
func (s *Swarm) idle(d time.Duration) error {
	for end := now() + int64(d); now() < end; {
		if err := s.Poll(20 * time.Millisecond); err != nil {
			return err
		}
	}
	return nil
}

// packets are the segments that all open clients have sent and received, by the kernel's count.
func (s *Swarm) packets() (sum uint64, err error) {
	for i := range s.clients {
		if s.clients[i].state != clientOpen {
			return 0, errors.New("a client is not open")
		}
		info, err := unix.GetsockoptTCPInfo(int(s.clients[i].fd), unix.IPPROTO_TCP, unix.TCP_INFO)
		if err != nil {
			return 0, fmt.Errorf("TCP_INFO: %w", err)
		}
		sum += uint64(info.Segs_in) + uint64(info.Segs_out)
	}
	return sum, nil
}
