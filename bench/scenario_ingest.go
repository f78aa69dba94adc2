//go:build linux

package main

import (
	"fmt"
	"time"
)

const (
	ingestRate  = 50_000
	ingestBurst = 250 // every 5 ms
)

// ingest: what a message costs from NATS to frame, with one client who gets them all, against a program that takes the same
// messages out of a nats.go channel and does nothing with them. They come in bursts, so that neither wake-ups nor the sends
// to the client, one per round, hide what is asked.
func ingest(l *Lab) ([]Row, error) {
	row := Row{Name: fmt.Sprintf("NATS to frame, one client, %d messages/s in bursts of %d", ingestRate, ingestBurst), Unit: "µs of server CPU per message"}
	err := l.ingest(&row, ingestRate, func() error { return nil })
	return []Row{row}, err
}

func (l *Lab) ingest(row *Row, rate float64, prepare func() error) error {
	cpu := samples{}
	err := l.interleave(row, max(1, l.size.Passes*3/5), []string{"receiver", "headgate"}, func(kind string) error {
		if err := prepare(); err != nil {
			return err
		}
		if kind == "receiver" {
			v, err := receive(l, rate)
			if err == nil {
				cpu.add(kind, v)
			}
			return err
		}
		s, err := l.pace(row, kind, Cast{Clients: 1, Burst: ingestBurst}, rate, 1, 2*l.size.Stretch)
		if err != nil {
			return err
		}
		cpu.add(kind, perEvent(s.CPU, uint64(s.Messages)))
		return nil
	})
	if err != nil {
		return err
	}
	row.Figures = cpu.figures()
	mine, ok1 := row.Figures["headgate"]
	theirs, ok2 := row.Figures["receiver"]
	if ok1 && ok2 {
		over := mine.Median - theirs.Median
		row.Checks = append(row.Checks, Check{Target: "<= receiver + 1.5 µs", Got: over, Met: over <= 1.5})
	}
	return nil
}

// receive paces messages into a receiver process and returns its processor time per message.
func receive(l *Lab, rate float64) (float64, error) {
	proc, _, err := startRole(roleSpec{Role: l.roleOf("receiver"), NATS: l.nats}, cores.server)
	if err != nil {
		return 0, err
	}
	l.procs = append(l.procs, proc)
	server := &Server{Kind: "receiver", Proc: proc}
	defer l.Stop(server)
	if server.feed, err = dialNATS(l.nats); err != nil {
		return 0, err
	}
	p := NewPublisher(server.feed, payloadSize)
	p.Burst = ingestBurst
	d := 2 * l.size.Stretch
	total := int(rate * d.Seconds())
	s, err := l.Measure(server, func() (Run, error) {
		err := p.pace(now(), rate, total, func(int) int { return shared })
		time.Sleep(100 * time.Millisecond) // what is on the way arrives; a receiver has no way to say so
		return Run{Messages: total}, err
	})
	return perEvent(s.CPU, uint64(total)), err
}
