//go:build linux

package main

import (
	"fmt"
	"time"
)

// connect: what opening a stream costs the server, at the highest rate the client manages.
func connect(l *Lab) ([]Row, error) {
	row := Row{Name: fmt.Sprintf("connects, %d clients", l.size.Many), Unit: "µs of server CPU per connect"}
	cpu, perSecond := samples{}, samples{}
	err := l.interleave(&row, max(1, l.size.Passes*3/5), []string{"bare", "headgate", "naive", "hub"}, func(kind string) error {
		server, err := l.Start(kind)
		if err != nil {
			return err
		}
		defer l.Stop(server)
		swarm, err := NewSwarm(server.Addr, false)
		if err != nil {
			return err
		}
		defer swarm.Close()
		var opened time.Duration
		s, err := l.Measure(server, func() (Run, error) {
			start := now()
			err := swarm.Add(l.size.Many, func(int) string { return pathOf(shared) }, time.Minute)
			opened = time.Duration(now() - start)
			if err != nil {
				return Run{}, err
			}
			return Run{}, l.quiet(server) // what the server does behind the answer counts too
		})
		if err != nil {
			return err
		}
		cpu.add(kind, perEvent(s.CPU, uint64(l.size.Many)))
		perSecond.add(kind, float64(l.size.Many)/opened.Seconds())
		return nil
	})
	row.Figures = cpu.figures()
	row.below(100)
	row.note("connects/s: %s", listed(perSecond))
	return []Row{row}, err
}

// quiet returns when the server has used less than 2 % of its core for half a second.
func (l *Lab) quiet(s *Server) error {
	last, err := s.CPU()
	for range 20 {
		if err != nil {
			return err
		}
		time.Sleep(500 * time.Millisecond)
		var used time.Duration
		if used, err = s.CPU(); used-last <= clockTick {
			return err
		}
		last = used
	}
	return err
}

// resume: everybody is cut off at once and comes back with the id of the last event, while messages go on. The clock runs
// from the cut until every client is open and has received everything published so far. Naive servers know no ids: what
// they lose is counted.
func resume(l *Lab) ([]Row, error) {
	row, err := l.cutOff(fmt.Sprintf("%d clients cut off at once and back", l.size.Many), l.size.Many, []string{"headgate", "naive", "hub"}, func() error { return nil })
	return []Row{row}, err
}

func (l *Lab) cutOff(name string, clients int, kinds []string, prepare func() error) (Row, error) {
	const perSecond = 2
	row := Row{Name: fmt.Sprintf("%s, %d messages/s", name, perSecond), Unit: "ms until all are live"}
	back, lost := samples{}, samples{}
	err := l.interleave(&row, max(1, l.size.Passes*3/5), kinds, func(kind string) error {
		if err := prepare(); err != nil {
			return err
		}
		sc, err := l.Scene(kind, Cast{Clients: clients, Track: true})
		if err != nil {
			return err
		}
		defer sc.Close()
		var took time.Duration
		s, err := l.Measure(sc.Server, func() (run Run, err error) {
			took, run, err = sc.cutAndReturn(perSecond)
			return run, err
		})
		if err != nil {
			return err
		}
		back.add(kind, ms(took))
		lost.add(kind, float64(s.Tally.Lost))
		row.checkWhole(kind, s.Run)
		if kind == "headgate" {
			whole := s.Complete && s.Tally.Lost+s.Tally.Duplicated+s.Tally.Malformed == 0
			row.Checks = append(row.Checks, Check{Target: "0 lost, 0 duplicated", Got: float64(s.Tally.Lost + s.Tally.Duplicated), Met: whole})
		}
		return nil
	})
	row.Figures = back.figures()
	row.Checks = once(row.Checks)
	row.below(0.6 * 1900)
	row.note("lost messages: %s; the bound is 0.6 x the 1.9 s that the best rival took on the machine where the target was set", listed(lost))
	return row, err
}

// cutAndReturn publishes in open loop, cuts everybody off after a second, lets them reconnect as fast as they can and
// goes on for a few messages more.
func (sc *Scene) cutAndReturn(rate float64) (took time.Duration, run Run, err error) {
	s := sc.Swarm
	s.resetTally()
	const messages = 8
	first := sc.Pub.seq[shared]
	start := now()
	failed := make(chan error, 1)
	go func() { failed <- sc.Pub.pace(start, rate, messages, func(int) int { return shared }) }()
	due := func() uint32 { // sequence of the message last due
		return first + min(messages, uint32(float64(now()-start)/float64(time.Second)*rate)+1)
	}
	for now()-start < int64(1100*time.Millisecond) {
		if err = s.Poll(pollEvery); err != nil {
			return 0, run, err
		}
	}
	cut := now()
	s.DropAll()
	if err = s.Reopen(30 * time.Second); err != nil {
		return 0, run, err
	}
	for now()-cut < int64(30*time.Second) {
		if took == 0 && s.behind(due()) == 0 {
			took = time.Duration(now() - cut)
		}
		if s.behind(first+messages) == 0 {
			return took, s.run(messages, now()-start, true), <-failed
		}
		if err = s.Poll(pollEvery); err != nil {
			return 0, run, err
		}
	}
	return took, s.run(messages, now()-start, false), <-failed
}

// behind is how many clients have not received the message with this sequence.
func (s *Swarm) behind(seq uint32) (n int) {
	for i := range s.clients {
		if s.clients[i].next <= seq {
			n++
		}
	}
	return n
}
