//go:build linux

package main

import (
	"fmt"
	"time"
)

// memory: what an idle stream costs when all follow one subject.
func memory(l *Lab) ([]Row, error) {
	row := Row{Name: fmt.Sprintf("memory per idle stream, %d streams, one subject", l.size.Idle), Unit: "bytes"}
	err := growth(l, &row, []string{"headgate", "naive", "bare"}, func(int) int { return shared })
	row.below(600)
	row.atMost(1.0/40, "naive")
	return []Row{row}, err
}

// memoryOwn: the same with a subject for each client, so that topics, groups and subscriptions count too.
func memoryOwn(l *Lab) ([]Row, error) {
	row := Row{Name: fmt.Sprintf("memory per idle stream, %d streams, each its own subject", l.size.Idle), Unit: "bytes"}
	err := growth(l, &row, []string{"headgate", "naive", "bare"}, own)
	row.below(1536)
	return []Row{row}, err
}

// growth is the growth of the server's resident memory from no stream to size.Idle streams, when it has settled.
func growth(l *Lab, row *Row, kinds []string, target func(i int) int) error {
	perStream, slab := samples{}, samples{}
	err := l.interleave(row, 1, kinds, func(kind string) error {
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
		before, err := l.Settle(server, time.Second)
		if err != nil {
			return err
		}
		slabBefore, err := slabBytes()
		if err != nil {
			return err
		}
		if err := swarm.Add(l.size.Idle, func(i int) string { return pathOf(target(i)) }, 2*time.Minute); err != nil {
			return err
		}
		slabAfter, err := slabBytes()
		if err != nil {
			return err
		}
		after, err := l.Settle(server, l.size.Still)
		if err != nil {
			return err
		}
		if swarm.ended > 0 {
			return fmt.Errorf("%d streams were ended", swarm.ended)
		}
		perStream.add(kind, float64(after-before)/float64(l.size.Idle))
		slab.add(kind, float64(slabAfter-slabBefore)/float64(l.size.Idle))
		return nil
	})
	row.Figures = perStream.figures()
	row.note("kernel slab per stream, both ends, in bytes: %s", listed(slab))
	return err
}
