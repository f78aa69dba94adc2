//go:build linux

package main

import (
	"context"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

const bucketLimit = 5 * time.Minute // a watcher per client takes its time

// bucket: clients that come all at once and want the current value of every key.
func bucket(l *Lab) (rows []Row, err error) {
	err = l.withStreams(kvRoutes, func(j *jet) error {
		if err := j.keys(l.size.Keys); err != nil {
			return err
		}
		for _, s := range []struct {
			clients int
			kinds   []string
		}{{10, []string{"headgate", "naive"}}, {100, []string{"headgate", "naive"}}} {
			row, err := j.snapshot(s.clients, s.kinds)
			if err != nil {
				return err
			}
			rows = append(rows, row)
		}
		return nil
	})
	return rows, err
}

// keys puts as many keys, with values numbered like messages: 1 for the first.
func (j *jet) keys(n int) error {
	ctx, cancel := context.WithTimeout(j.lab.ctx, 5*time.Minute)
	defer cancel()
	if _, err := j.js.CreateKeyValue(ctx, jetstream.KeyValueConfig{Bucket: jetBucket}); err != nil {
		return err
	}
	value, at := newPayload(64)
	for k := range n {
		putStamp(value[at:], uint32(k+1), now())
		if _, err := j.js.PublishAsync(fmt.Sprintf("$KV.%s.key.%d", jetBucket, k), value, jetstream.WithStallWait(jetWait)); err != nil {
			return err
		}
	}
	return (&jetFeed{js: j.js}).Flush()
}

func (j *jet) snapshot(clients int, kinds []string) (Row, error) {
	l := j.lab
	row := Row{Name: fmt.Sprintf("snapshot of a bucket, %d keys to %d clients at once", l.size.Keys, clients), Unit: "ms until all have it"}
	took, cpu, broker, memory := samples{}, samples{}, samples{}, samples{}
	err := l.interleave(&row, max(1, l.size.Passes*3/5), kinds, func(kind string) error {
		server, err := l.Start(kind)
		if err != nil {
			return err
		}
		defer l.Stop(server)
		swarm, err := NewSwarm(server.Addr, true)
		if err != nil {
			return err
		}
		defer swarm.Close()
		before, err := l.Settle(server, time.Second)
		if err != nil {
			return err
		}
		s, most, err := l.takeBucket(server, swarm, clients)
		if err != nil {
			return err
		}
		row.checkWhole(kind, s.Run)
		took.add(kind, ms(s.Elapsed))
		cpu.add(kind, s.CPU.Seconds())
		broker.add(kind, s.Broker.Seconds())
		memory.add(kind, float64(max(most, before)-before)/(1<<20))
		if kind == "headgate" {
			t := s.Tally
			row.Checks = append(row.Checks, Check{Target: "every value once", Got: float64(t.Received), Met: s.Complete && t.Lost+t.Duplicated+t.Malformed == 0})
		}
		return nil
	})
	row.Checks = once(row.Checks)
	row.Figures = took.figures()
	row.atMost(1, "naive")
	row.note("server CPU in s: %s; the broker's: %s; growth of resident memory in MB, at most: %s", listed(cpu), listed(broker), listed(memory))
	return row, err
}

// takeBucket lets so many clients ask for the bucket at once, and looks how much memory the server takes at most meanwhile.
func (l *Lab) takeBucket(server *Server, swarm *Swarm, clients int) (s Sample, most int64, err error) {
	s, err = l.Measure(server, func() (Run, error) {
		start := now()
		for range clients {
			swarm.clients = append(swarm.clients, client{fd: -1, path: "/bucket", next: 1})
		}
		if err := swarm.Reopen(time.Minute); err != nil {
			return Run{}, err
		}
		for looked := start; now()-start < int64(bucketLimit); {
			if swarm.withID() == clients { // the first id is that of $snapshot
				return swarm.run(l.size.Keys, now()-start, swarm.tally.Received == uint64(clients*l.size.Keys)), nil
			}
			if now()-looked > int64(50*time.Millisecond) {
				looked = now()
				rss, err := rssOf(server.Proc.Pid)
				if err != nil {
					return Run{}, err
				}
				most = max(most, rss)
			}
			if err := swarm.Poll(pollEvery); err != nil {
				return Run{}, err
			}
		}
		return swarm.run(l.size.Keys, now()-start, false), nil
	})
	return s, most, err
}

// withID is how many clients have seen an id.
func (s *Swarm) withID() (n int) {
	for i := range s.clients {
		if s.clients[i].id != "" {
			n++
		}
	}
	return n
}
