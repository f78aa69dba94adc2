//go:build linux

package main

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"time"
)

// Size is how large the suite runs.
type Size struct {
	Idle     int           // streams of the memory rows
	Many     int           // clients of the large rows: 10,000
	Some     int           // clients of the small rows: 1,000
	Secure   int           // TLS and HTTP/2 streams
	Passes   int           // interleaved passes of the closed-loop rows
	Stretch  time.Duration // of one measurement
	Still    time.Duration // memory that has not changed for so long has settled
	Patience time.Duration // how long to wait before each measurement for others to be quiet
	Replay   int           // messages of the replays
	Keys     int           // of the bucket
	Tail     int64         // bytes of the tail whose memory is measured
	Million  int           // streams of the scenario of that name
	Rounds   int           // of revocations
	Beat     time.Duration // between heartbeats
}

var sizes = map[string]Size{
	"full": {Idle: 19_000, Many: 10_000, Some: 1_000, Secure: 3_000, Passes: 5, Stretch: 5 * time.Second, Still: 12 * time.Second,
		Replay: 100_000, Keys: 100_000, Tail: 64 << 20, Rounds: 100, Beat: 15 * time.Second},
	"quick": {Idle: 5_000, Many: 3_000, Some: 500, Secure: 1_000, Passes: 3, Stretch: 2 * time.Second, Still: 12 * time.Second,
		Replay: 20_000, Keys: 20_000, Tail: 16 << 20, Rounds: 30, Beat: 5 * time.Second},
	"test": {Idle: 2_000, Many: 400, Some: 200, Secure: 50, Passes: 1, Stretch: 700 * time.Millisecond, Still: 11 * time.Second,
		Replay: 2_000, Keys: 2_000, Tail: 4 << 20, Rounds: 5, Beat: time.Second},
}

const payloadSize = 192 // with "data: " and the blank line 200 bytes

// Scene is a server with its clients and a publisher.
type Scene struct {
	*Server
	Swarm *Swarm
	Pub   *Publisher
	N     int

	lab *Lab
}

// Cast says what a scene consists of.
type Cast struct {
	Clients  int
	Target   func(i int) int    // of client i; nil: all share one subject
	Path     func(i int) string // nil: that of the target
	Track    bool               // follow event ids
	Retry    bool               // who is refused comes again
	Patience time.Duration      // for the clients to be open; 0: a minute
	Payload  int                // 0: payloadSize
	Burst    int                // of the publisher
	Settings []string           // of headgate
}

// Scene starts a server, opens its clients and waits until messages reach all of them.
func (l *Lab) Scene(kind string, c Cast) (sc *Scene, err error) {
	server, err := l.start(kind, "", "", c.Settings...)
	if err != nil {
		return nil, err
	}
	if c.Target == nil {
		c.Target = func(int) int { return shared }
	}
	if c.Path == nil {
		c.Path = func(i int) string { return pathOf(c.Target(i)) }
	}
	if c.Payload == 0 {
		c.Payload = payloadSize
	}
	sc = &Scene{Server: server, N: c.Clients, lab: l, Pub: NewPublisher(server.feed, c.Payload)}
	sc.Pub.Burst = c.Burst
	defer func() {
		if err != nil {
			sc.Close()
		}
	}()
	if sc.Swarm, err = NewSwarm(server.Addr, c.Track); err != nil {
		return nil, err
	}
	sc.Swarm.retry = c.Retry
	if c.Patience == 0 {
		c.Patience = time.Minute
	}
	if err = sc.Swarm.Add(c.Clients, c.Path, c.Patience); err != nil {
		return nil, fmt.Errorf("%s: open: %w: %s", kind, err, server.Proc.tail.String())
	}
	targets := c.Clients
	if c.Target(0) == shared {
		targets = 1
	}
	if err = Warm(sc.Swarm, sc.Pub, c.Clients, c.Target, targets); err != nil {
		return nil, fmt.Errorf("%s: %w: %s", kind, err, server.Proc.tail.String())
	}
	return sc, nil
}

// Close ends clients and server.
func (sc *Scene) Close() {
	if sc.Swarm != nil {
		sc.Swarm.Close()
	}
	sc.lab.Stop(sc.Server)
}

// own gives every client its own subject.
func own(i int) int { return i }

// Scenario is one question or a few that are measured together.
type Scenario struct {
	Name string // for -only
	Run  func(l *Lab) ([]Row, error)
	Opt  bool // runs only when it is named
}

// scenarios are in the order of the report.
var scenarios = []Scenario{
	{Name: "memory", Run: memory},
	{Name: "memory-own", Run: memoryOwn},
	{Name: "secure", Run: secure},
	{Name: "fanout", Run: fanout},
	{Name: "fanout-max", Run: fanoutMax},
	{Name: "paced", Run: paced},
	{Name: "rate", Run: rate},
	{Name: "lone", Run: lone},
	{Name: "unicast", Run: unicast},
	{Name: "ingest", Run: ingest},
	{Name: "connect", Run: connect},
	{Name: "heartbeat", Run: heartbeat},
	{Name: "resume", Run: resume},
	{Name: "slow", Run: slow},
	{Name: "storm", Run: storms},
	{Name: "storm-naive", Run: stormsNaive},
	{Name: "dropped", Run: dropped},
	{Name: "replay", Run: replay},
	{Name: "tail", Run: tailMemory},
	{Name: "bucket", Run: bucket},
	{Name: "ingest-stream", Run: ingestStream},
	{Name: "memory-stream", Run: memoryStream},
	{Name: "revoke", Run: revoke},
	{Name: "limits", Run: limitsCost},
	{Name: "memory-identity", Run: memoryIdentity},
	{Name: "connect-identity", Run: connectIdentity},
	{Name: "million", Run: million, Opt: true},
}

// interleave runs f for each server in turn, passes times over, so that drift of the machine meets all alike. A server
// that fails is left out from then on and named in the row's notes: the others still get their figures.
func (l *Lab) interleave(row *Row, passes int, kinds []string, f func(kind string) error) error {
	failed := map[string]bool{}
	for pass := range passes {
		for _, kind := range kinds {
			if !l.has(kind) || failed[kind] {
				continue
			}
			if err := l.ctx.Err(); err != nil {
				return context.Cause(l.ctx)
			}
			if err := l.awaitQuiet(); err != nil {
				return err
			}
			l.logf("%s: pass %d of %d, %s", row.Name, pass+1, passes, kind)
			if err := f(kind); err != nil {
				failed[kind] = true
				row.note("%s failed: %v", kind, err)
				l.logf("%s: %s failed: %v", row.Name, kind, err)
			}
		}
	}
	row.noteLosses()
	row.Noise = l.TakeNoise()
	return nil
}

func (l *Lab) has(kind string) bool { return slices.Contains(l.kinds, kind) }

// wholeness is what the runs of one server lost, doubled or garbled, over all passes.
type wholeness struct {
	lost, duplicated, malformed uint64
	runs, short                 int // short: something that was expected never came
}

// checkWhole counts a run's losses; interleave notes them once per row.
func (r *Row) checkWhole(kind string, run Run) {
	if r.whole == nil {
		r.whole = map[string]wholeness{}
	}
	w := r.whole[kind]
	w.lost += run.Tally.Lost
	w.duplicated += run.Tally.Duplicated
	w.malformed += run.Tally.Malformed
	w.runs++
	if !run.Complete {
		w.short++
	}
	r.whole[kind] = w
}

// noteLosses says who was not whole; silence means that everybody else was.
func (r *Row) noteLosses() {
	for _, kind := range slices.Sorted(maps.Keys(r.whole)) {
		w := r.whole[kind]
		if w.lost+w.duplicated+w.malformed > 0 || w.short > 0 {
			r.note("%s: %d lost, %d duplicated, %d malformed in %d runs, %d of them without an end", kind, w.lost, w.duplicated, w.malformed, w.runs, w.short)
		}
	}
}
