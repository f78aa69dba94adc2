//go:build linux

package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

const (
	missedEach  = 20      // messages of its own that each client of a storm has missed
	smallTail   = 1 << 20 // the least that JETSTREAM_TAIL_BYTES may be: history has to be read
	stormLimit  = 2 * time.Minute
	stormTarget = 5000 // ms
)

// storm is one storm: everybody comes back at once with the id of its last event.
type storm struct {
	what    string
	clients int
	oneSubj bool
	tail    int // JETSTREAM_TAIL_BYTES; 0 = what it is by itself
	kinds   []string
}

func (s storm) target(i int) int {
	if s.oneSubj {
		return shared
	}
	return i
}

// span is how many messages the stream gets while the clients are away.
func (s storm) span() int { return s.clients * missedEach }

// spread is the target of the k-th of them: each client's own 20 lie far apart. With one subject it is 20 of them all.
func (s storm) spread(k int) int {
	switch {
	case !s.oneSubj:
		return k % s.clients
	case k%s.clients == 0:
		return shared
	}
	return s.clients + k%s.clients // somebody else's
}

// storms: clients that come back after the stream has gone on without them. In between headgate is replaced by another replica, which
// has to read what it can keep from the stream. With a consumer per client NATS does not make all of them within the 5 s that nats.go waits
// for each: those clients are refused, and come again. Where the history comes from is the same for that server, so it is asked once.
func storms(l *Lab) ([]Row, error) {
	return l.storms([]storm{
		{"from memory", l.size.Many, false, 0, []string{"headgate", "naive"}},
		{"from history", l.size.Many, false, smallTail, []string{"headgate"}},
		{"from memory", l.size.Many, true, 0, []string{"headgate", "naive"}},
		{"from history", l.size.Many, true, smallTail, []string{"headgate"}},
	})
}

// stormsNaive are storms of a size that a server with a consumer per client can bear.
func stormsNaive(l *Lab) ([]Row, error) {
	return l.storms([]storm{
		{"from memory", l.size.Some, false, 0, []string{"headgate", "naive"}},
		{"from history", l.size.Some, false, smallTail, []string{"headgate", "naive"}},
		{"from memory", l.size.Some, true, 0, []string{"headgate", "naive"}},
	})
}

func (l *Lab) storms(list []storm) (rows []Row, err error) {
	err = l.withStreams(jetRoutes, func(j *jet) error {
		for _, s := range list {
			subjects := "on as many subjects"
			if s.oneSubj {
				subjects = "on one subject"
			}
			row, err := j.storm(s, fmt.Sprintf("storm: %d clients %s, %d missed each of %d messages, %s", s.clients, subjects, missedEach, s.span(), s.what))
			if err != nil {
				return err
			}
			rows = append(rows, row)
		}
		return nil
	})
	return rows, err
}

func (j *jet) storm(s storm, name string) (Row, error) {
	l := j.lab
	row := Row{Name: name, Unit: "ms until all have caught up"}
	took, cpu, broker, reads := samples{}, samples{}, samples{}, samples{}
	consumers := map[string][3]int{}
	err := l.interleave(&row, max(1, l.size.Passes*3/5), s.kinds, func(kind string) error {
		m, count, err := j.oneStorm(s, kind, reads, &row)
		if err != nil {
			return err
		}
		took.add(kind, ms(m.Elapsed))
		cpu.add(kind, m.CPU.Seconds())
		broker.add(kind, m.Broker.Seconds())
		row.checkWhole(kind, m.Run)
		for i, n := range count {
			most := consumers[kind]
			most[i] = max(most[i], n)
			consumers[kind] = most
		}
		if kind == "headgate" {
			t := m.Tally
			whole := m.Complete && t.Lost+t.Duplicated+t.Malformed == 0 && t.Received == uint64(s.clients*missedEach)
			row.Checks = append(row.Checks, Check{Target: "0 lost, 0 duplicated", Got: float64(t.Lost + t.Duplicated), Met: whole})
		}
		return nil
	})
	row.Figures = took.figures()
	row.Checks = once(row.Checks)
	row.below(stormTarget)
	row.atMost(1, "naive")
	if c, ok := consumers["headgate"]; ok {
		row.Checks = append(row.Checks, Check{Target: "<= 2 consumers on the server, one of them a scan", Got: float64(c[1]), Met: c[1] <= 2 && c[2] <= 2})
	}
	for _, kind := range s.kinds {
		if c, ok := consumers[kind]; ok {
			row.note("consumers on the server with %s, at most: %d before, %d during, %d after", kind, c[0], c[1], c[2])
		}
	}
	row.note("server CPU in s: %s; the broker's: %s; headgate's reads of history: %s", listed(cpu), listed(broker), listed(reads))
	return row, err
}

// oneStorm is a storm on one server. It counts the consumers that there were before, during and after.
func (j *jet) oneStorm(s storm, kind string, reads samples, row *Row) (m Sample, count [3]int, err error) {
	l := j.lab
	if err = j.fresh(); err != nil {
		return m, count, err
	}
	var settings []string
	if s.tail > 0 {
		settings = append(settings, fmt.Sprint("JETSTREAM_TAIL_BYTES=", s.tail))
	}
	sc, err := l.Scene(kind, Cast{Clients: s.clients, Track: true, Target: s.target, Settings: settings, Retry: kind == "naive", Patience: stormLimit})
	if err != nil {
		return m, count, err
	}
	defer sc.Close()
	if count[0], err = j.consumers(); err != nil {
		return m, count, err
	}
	sc.Swarm.DropAll()
	if err = j.fill(sc.Pub, s.span(), s.spread); err != nil {
		return m, count, err
	}
	if kind == "headgate" {
		if err = j.replace(sc, settings); err != nil {
			return m, count, err
		}
	}
	if err = l.quiet(sc.Server); err != nil {
		return m, count, err
	}
	stop := j.watchConsumers()
	m, err = l.Measure(sc.Server, func() (Run, error) { return sc.comeBack(s.target) })
	count[1] = stop()
	if err != nil {
		return m, count, err
	}
	if err = sc.lookOn(min(time.Second, l.size.Stretch/2)); err != nil { // duplicates would come now
		return m, count, err
	}
	if count[2], err = j.consumers(); err != nil {
		return m, count, err
	}
	m.Tally = sc.Swarm.tally
	if err = sc.noteRefusals(kind, s, m.Run, row); err != nil {
		return m, count, err
	}
	if kind == "headgate" {
		err = sc.addMetrics(reads, "scans", "direct_gets", "leader_requests")
	}
	return m, count, err
}

// noteRefusals says what a storm has cost the clients of a server that refused some: how often they had to come again, why, and what they
// have not got.
func (sc *Scene) noteRefusals(kind string, s storm, run Run, row *Row) error {
	missing := uint64(s.clients*missedEach) - min(run.Tally.Received, uint64(s.clients*missedEach))
	if sc.Swarm.made == 0 && missing == 0 {
		return nil
	}
	why := "no reason known"
	if kind == "naive" {
		var err error
		if why, err = getText(sc.Addr, "/debug/refusals"); err != nil {
			return err
		}
	}
	row.note("%s: clients came again %d times, each after a second and then longer; %d of %d had no stream in the end, %d of %d messages had not come after %v; refused since the start: %s",
		kind, sc.Swarm.made, s.clients-sc.Swarm.opened, s.clients, missing, s.clients*missedEach, run.Elapsed.Round(time.Second), why)
	return nil
}

// getText asks a server for a short text.
func getText(addr, path string) (string, error) {
	resp, err := http.Get("http://" + addr + path)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	return strings.TrimSpace(string(text)), err
}

// addMetrics adds counters of history to samples.
func (s *Server) addMetrics(to samples, names ...string) error {
	for _, name := range names {
		v, err := s.metric("headgate_history_" + name + "_total")
		if err != nil {
			return err
		}
		to.add(strings.ReplaceAll(name, "_", " "), v)
	}
	return nil
}

// once keeps the worst of the checks of all passes.
func once(checks []Check) []Check {
	for _, c := range checks {
		if !c.Met {
			return []Check{c}
		}
	}
	return checks[:min(1, len(checks))]
}

// comeBack connects everybody again and runs until each has everything that was published for it.
func (sc *Scene) comeBack(target func(i int) int) (Run, error) {
	s := sc.Swarm
	s.resetTally()
	start := now()
	if err := s.Reopen(stormLimit); err != nil && !s.retry {
		return Run{}, err
	}
	for {
		left := 0
		for i := range s.clients {
			if s.clients[i].next <= sc.Pub.seq[target(i)] {
				left++
			}
		}
		elapsed := now() - start
		if left == 0 {
			return s.run(0, elapsed, true), nil
		}
		if elapsed > int64(stormLimit) {
			sc.lab.logf("%d of %d clients have not caught up", left, len(s.clients))
			return s.run(0, elapsed, false), nil
		}
		if err := s.Poll(pollEvery); err != nil {
			return Run{}, err
		}
	}
}

// lookOn reads what still comes.
func (sc *Scene) lookOn(d time.Duration) error {
	for until := now() + int64(d); now() < until; {
		if err := sc.Swarm.Poll(pollEvery); err != nil {
			return err
		}
	}
	return nil
}

// replace starts another headgate in the place of the one that there is, which leaves a consumer behind, being killed. Clients that come
// back meet the new one.
func (j *jet) replace(sc *Scene, settings []string) error {
	sc.lab.Stop(sc.Server)
	ctx, cancel := context.WithTimeout(j.lab.ctx, jetWait)
	defer cancel()
	for name := range j.stream.ConsumerNames(ctx).Name() {
		if err := j.stream.DeleteConsumer(ctx, name); err != nil {
			return err
		}
	}
	server, err := sc.lab.start("headgate", "", "", settings...)
	if err != nil {
		return err
	}
	sc.Server, sc.Pub.feed = server, server.feed
	ap, err := netip.ParseAddrPort(server.Addr)
	if err != nil {
		return err
	}
	sc.Swarm.addr = unix.SockaddrInet4{Addr: ap.Addr().As4(), Port: int(ap.Port())}
	return nil
}

// dropped is resume with a route of a stream: everybody is cut off at once and comes back, while messages go on.
func dropped(l *Lab) (rows []Row, err error) {
	err = l.withStreams(jetRoutes, func(j *jet) error {
		for _, s := range []storm{{clients: l.size.Many, kinds: []string{"headgate"}}, {clients: l.size.Some, kinds: []string{"headgate", "naive"}}} {
			row, err := l.cutOff(fmt.Sprintf("%d clients of a stream cut off at once and back", s.clients), s.clients, s.kinds, j.fresh)
			if err != nil {
				return err
			}
			rows = append(rows, row)
		}
		return nil
	})
	return rows, err
}

// memoryStream: what an idle stream costs when all follow one subject of a JetStream stream.
func memoryStream(l *Lab) ([]Row, error) {
	row := Row{Name: fmt.Sprintf("memory per idle stream, %d streams, one subject of a JetStream stream", l.size.Idle), Unit: "bytes"}
	err := l.withStreams(jetRoutes, func(j *jet) error {
		if err := j.fresh(); err != nil {
			return err
		}
		return growth(l, &row, []string{"headgate"}, func(int) int { return shared })
	})
	row.below(600)
	return []Row{row}, err
}

// ingestStream is ingest with a route of a stream, against a bare pull consumer.
func ingestStream(l *Lab) ([]Row, error) {
	const rate = ingestRate
	row := Row{Name: fmt.Sprintf("JetStream to frame, one client, %d messages/s in bursts of %d", rate, ingestBurst), Unit: "µs of server CPU per message"}
	err := l.withStreams(jetRoutes, func(j *jet) error { return l.ingest(&row, rate, j.fresh) })
	return []Row{row}, err
}
