//go:build linux

package main

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"
)

// limitSettings are all limits, none of which is ever reached.
var limitSettings = []string{"LIMIT_CONNECTIONS=1000000", "LIMIT_CONNECTIONS_PER_IP=1000000", "LIMIT_CONNECTIONS_PER_USER=1000000",
	"LIMIT_CONNECT_RATE=1000000", "LIMIT_CONNECT_BURST=1000000", "LIMIT_CONNECT_RATE_PER_USER=1000000", "LIMIT_GLOBAL_CONNECT_RATE=1000000",
	"LIMIT_PUBLISH_RATE=1000000", "LIMIT_PUBLISH_RATE_PER_USER=1000000", "LIMIT_EVENTS_PER_SECOND=10000000", "LIMIT_BYTES_PER_SECOND=100GiB",
	"LIMIT_REPLAY_EVENT_RATE=10000000", "LIMIT_REPLAY_BYTE_RATE=100GiB", "LIMIT_REPLAY_EVENT_RATE_PER_USER=10000000",
	"LIMIT_REPLAY_BYTE_RATE_PER_USER=100GiB"}

// limitRoutes are a route with budgets and one without.
const limitRoutes = `version: 1
routes:
  - name: limited
    path: /limited/{id}
    source: {type: core, subject: "own.{id}"}
  - name: free
    path: /own/{id}
    source: {type: core, subject: "own.{id}"}
    limits: {events_per_second: 0, bytes_per_second: 0}
`

// limitPairs is how many pairs of stretches are compared in each pass: what is looked for is smaller than what the machine does meanwhile.
const limitPairs = 20

// limitsCost: what a delivery costs more when every limit is set. One server has clients on both routes, which are measured in turn, in
// short stretches.
func limitsCost(l *Lab) ([]Row, error) {
	n := min(l.size.Many, 4000)
	row := Row{Name: fmt.Sprintf("limits' cost per delivery, %d clients, one message in flight, every limit set and none reached", n), Unit: "µs of server CPU per delivery"}
	c := limitsCompared{with: samples{}, without: samples{}}
	err := l.interleave(&row, max(1, l.size.Passes*3/5), []string{"headgate"}, func(string) error { return c.pass(l, &row, n) })
	row.Figures = c.with.figures()
	if len(c.ratios) > 0 {
		slices.Sort(c.ratios)
		ratio := median(c.ratios)
		row.Checks = append(row.Checks, Check{Target: "<= 1.02 x the same without limits", Got: ratio, Met: ratio <= 1.02})
		row.note("without limits %s µs; limited by unlimited, of %d pairs of stretches: median %.3f, quartiles %.3f and %.3f",
			number(c.without.figures()["headgate"].Median), len(c.ratios), ratio, c.ratios[len(c.ratios)/4], c.ratios[len(c.ratios)*3/4])
	}
	return []Row{row}, err
}

// limitsCompared is what was measured of both.
type limitsCompared struct {
	with, without samples
	ratios        []float64
}

// audience is clients of one route and their publisher.
type audience struct {
	swarm  *Swarm
	pub    *Publisher
	target int
}

func (c *limitsCompared) pass(l *Lab, row *Row, n int) error {
	routes := filepath.Join(l.dir, "limits.yaml")
	if err := os.WriteFile(routes, []byte(limitRoutes), 0o600); err != nil {
		return err
	}
	server, err := l.StartHeadgate(append([]string{"ROUTES_FILE=" + routes}, limitSettings...)...)
	if err != nil {
		return err
	}
	defer l.Stop(server)
	var audiences []*audience
	for target, path := range []string{"/own/0", "/limited/1"} {
		a := &audience{pub: NewPublisher(server.feed, payloadSize), target: target}
		if a.swarm, err = NewSwarm(server.Addr, false); err != nil {
			return err
		}
		defer a.swarm.Close()
		if err := a.swarm.Add(n, func(int) string { return path }, time.Minute); err != nil {
			return err
		}
		if err := Warm(a.swarm, a.pub, n, func(int) int { return target }, 1); err != nil {
			return err
		}
		audiences = append(audiences, a)
	}
	for pair := range limitPairs {
		order := slices.Clone(audiences)
		if pair%2 == 1 {
			slices.Reverse(order)
		}
		got := map[int]float64{}
		for _, a := range order {
			s, err := l.Measure(server, func() (Run, error) { return saturate(a.swarm, a.pub, a.target, n, 1, l.size.Stretch/8) })
			if err != nil {
				return err
			}
			row.checkWhole("headgate", s.Run)
			got[a.target] = s.PerDelivery()
		}
		c.without.add("headgate", got[0])
		c.with.add("headgate", got[1])
		c.ratios = append(c.ratios, got[1]/got[0])
	}
	return nil
}
