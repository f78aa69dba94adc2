//go:build linux

package main

import (
	"fmt"
	"time"
)

const replayLimit = 20 * time.Second // what is delivered by then counts

// replay: clients that read a long stretch of the stream again.
func replay(l *Lab) (rows []Row, err error) {
	err = l.withStreams(jetRoutes, func(j *jet) error {
		for _, clients := range []int{1, 100} {
			for _, from := range []string{"memory", "history"} {
				row, err := j.replay(clients, from)
				if err != nil {
					return err
				}
				rows = append(rows, row)
			}
		}
		return nil
	})
	return rows, err
}

func (j *jet) replay(clients int, from string) (Row, error) {
	l := j.lab
	row := Row{Name: fmt.Sprintf("replay from %s, %d clients, %d messages each", from, clients, l.size.Replay), Unit: "messages/s, all clients together"}
	settings := []string{"JETSTREAM_REPLAY_EVENTS=0", "JETSTREAM_REPLAY_BYTES=0"}
	if from == "history" {
		settings = append(settings, fmt.Sprint("JETSTREAM_TAIL_BYTES=", smallTail))
	}
	rate, bytes, cpu, broker := samples{}, samples{}, samples{}, samples{}
	if err := j.fresh(); err != nil {
		return row, err
	}
	p := NewPublisher(nil, payloadSize)
	if err := j.fill(p, l.size.Replay, func(int) int { return shared }); err != nil {
		return row, err
	}
	err := l.interleave(&row, max(1, l.size.Passes*3/5), []string{"headgate", "naive"}, func(kind string) error {
		server, err := l.start(kind, "", "", settings...)
		if err != nil {
			return err
		}
		defer l.Stop(server)
		swarm, err := NewSwarm(server.Addr, false)
		if err != nil {
			return err
		}
		defer swarm.Close()
		want := uint64(clients * l.size.Replay)
		s, err := l.Measure(server, func() (Run, error) {
			start := now()
			for range clients {
				swarm.clients = append(swarm.clients, client{fd: -1, path: "/shared?since=1h", next: 1})
			}
			if err := swarm.Reopen(time.Minute); err != nil {
				return Run{}, err
			}
			for swarm.tally.progress() < want && now()-start < int64(replayLimit) {
				if err := swarm.Poll(pollEvery); err != nil {
					return Run{}, err
				}
			}
			return swarm.run(l.size.Replay, now()-start, kind == "naive" || swarm.tally.progress() >= want), nil
		})
		if err != nil {
			return err
		}
		row.checkWhole(kind, s.Run)
		rate.add(kind, s.Rate())
		bytes.add(kind, float64(s.Tally.Bytes)/s.Elapsed.Seconds()/1e6)
		cpu.add(kind, s.PerDelivery())
		broker.add(kind, s.Broker.Seconds()*1e6/float64(max(1, s.Tally.Received)))
		return nil
	})
	row.Figures = rate.figures()
	row.atLeast(1, "naive")
	row.note("MB/s: %s; µs of server CPU per message: %s; of the broker's: %s; after %v what has come by then counts", listed(bytes), listed(cpu), listed(broker), replayLimit)
	return row, err
}

// tailMemory: what the messages that are kept take, against what they are counted as.
func tailMemory(l *Lab) ([]Row, error) {
	row := Row{Name: fmt.Sprintf("memory of the tail, JETSTREAM_TAIL_BYTES=%d MiB, overfilled", l.size.Tail>>20), Unit: "x JETSTREAM_TAIL_BYTES"}
	factor, live, peak := samples{}, samples{}, samples{}
	var perMessage float64
	err := l.withStreams(jetRoutes, func(j *jet) error {
		if err := j.fresh(); err != nil {
			return err
		}
		return l.interleave(&row, 1, []string{"headgate"}, func(kind string) error {
			sc, err := l.Scene(kind, Cast{Clients: 1, Settings: []string{fmt.Sprint("JETSTREAM_TAIL_BYTES=", l.size.Tail)}})
			if err != nil {
				return err
			}
			defer sc.Close()
			before, err := l.Settle(sc.Server, l.size.Still)
			if err != nil {
				return err
			}
			heapBefore, err := sc.LiveHeap()
			if err != nil {
				return err
			}
			full, err := j.overfill(sc)
			if err != nil {
				return err
			}
			after, err := l.Settle(sc.Server, l.size.Still)
			if err != nil {
				return err
			}
			heapAfter, err := sc.LiveHeap()
			if err != nil {
				return err
			}
			kept, err := sc.metric("headgate_feed_tail_messages")
			if err != nil {
				return err
			}
			if err := sc.lookOn(100 * time.Millisecond); err != nil {
				return err
			}
			perMessage = float64(after-before) / kept
			factor.add(kind, float64(after-before)/float64(l.size.Tail))
			live.add(kind, float64(heapAfter-heapBefore)/float64(l.size.Tail))
			peak.add(kind, float64(full-before)/float64(l.size.Tail))
			row.note("%s messages of %d bytes are kept: %.0f bytes of resident memory each, %.0f of them live", number(kept), payloadSize, perMessage,
				float64(heapAfter-heapBefore)/kept)
			return nil
		})
	})
	row.Figures = factor.figures()
	row.below(1)
	row.note("live heap: %s; resident at once behind the last message: %s", listed(live), listed(peak))
	return []Row{row}, err
}

// overfill publishes half as much again as the tail holds, and says how much memory the server takes then.
func (j *jet) overfill(sc *Scene) (rss int64, err error) {
	l := j.lab
	n := int(l.size.Tail) * 3 / 2 / (payloadSize * 2)
	if err := j.fill(sc.Pub, n, func(int) int { return shared }); err != nil {
		return 0, err
	}
	if err := l.quiet(sc.Server); err != nil {
		return 0, err
	}
	return rssOf(sc.Proc.Pid)
}
