//go:build linux

package main

import (
	"fmt"
	"os"
	"path/filepath"
	"time"
)

// limitSettings are all limits, none of which is ever reached.
var limitSettings = []string{"LIMIT_CONNECTIONS=1000000", "LIMIT_CONNECTIONS_PER_IP=1000000", "LIMIT_CONNECTIONS_PER_USER=1000000",
	"LIMIT_CONNECT_RATE=1000000", "LIMIT_CONNECT_BURST=1000000", "LIMIT_CONNECT_RATE_PER_USER=1000000", "LIMIT_GLOBAL_CONNECT_RATE=1000000",
	"LIMIT_PUBLISH_RATE=1000000", "LIMIT_PUBLISH_RATE_PER_USER=1000000", "LIMIT_EVENTS_PER_SECOND=10000000", "LIMIT_BYTES_PER_SECOND=100GiB",
	"LIMIT_REPLAY_EVENT_RATE=10000000", "LIMIT_REPLAY_BYTE_RATE=100GiB", "LIMIT_REPLAY_EVENT_RATE_PER_USER=10000000",
	"LIMIT_REPLAY_BYTE_RATE_PER_USER=100GiB"}

// limitRoutes are a route with budgets, and two without that are the same: what those differ by is not the limits'.
const limitRoutes = `version: 1
routes:
  - name: limited
    path: /limited/{id}
    source: {type: core, subject: "own.{id}"}
  - name: free
    path: /free/{id}
    source: {type: core, subject: "own.{id}"}
    limits: {events_per_second: 0, bytes_per_second: 0}
  - name: control
    path: /control/{id}
    source: {type: core, subject: "own.{id}"}
    limits: {events_per_second: 0, bytes_per_second: 0}
`

const (
	limitRounds  = 18 // in each process: three times every order of three routes
	limitStretch = 200 * time.Millisecond
)

// limitsCost: what a delivery costs more when every limit is set. What is looked for is smaller than what a machine does meanwhile, and than
// what two processes differ by; so everything is compared with what was measured beside it in the same process.
func limitsCost(l *Lab) ([]Row, error) {
	n := l.size.Some
	row := Row{Name: fmt.Sprintf("limits' cost per delivery, %d clients, one message in flight, every limit set and none reached", n), Unit: "µs of server CPU per delivery"}
	c := limitsCompared{cost: samples{}}
	err := l.interleave(&row, 2*l.size.Passes, []string{"headgate"}, func(string) error { return c.process(l, &row, n) })
	row.Figures = map[string]Figure{"headgate": c.cost.figures()["limited"]}
	if ratio := c.ratio.interval(); ratio.all > 0 {
		row.Checks = append(row.Checks, Check{Target: "with 95 %, < 1.02 x the same without limits", Got: ratio.high, Met: ratio.high < 1.02})
		row.note("without limits %s µs; limited by unlimited: %s; of two routes without limits: %s", number(c.cost.figures()["free"].Median), ratio, c.control.interval())
	}
	return []Row{row}, err
}

// limitsCompared is what was measured of all three.
type limitsCompared struct {
	cost           samples
	ratio, control paired
}

// audience is clients of one route and their publisher.
type audience struct {
	route  string
	swarm  *Swarm
	pub    *Publisher
	target int
}

// process measures one process.
func (c *limitsCompared) process(l *Lab, row *Row, n int) error {
	routes := filepath.Join(l.dir, "limits.yaml")
	if err := os.WriteFile(routes, []byte(limitRoutes), 0o600); err != nil {
		return err
	}
	server, err := l.StartHeadgate(append([]string{"ROUTES_FILE=" + routes}, limitSettings...)...)
	if err != nil {
		return err
	}
	defer l.Stop(server)
	audiences := []*audience{{route: "limited"}, {route: "free"}, {route: "control"}}
	c.ratio.begin()
	c.control.begin()
	for target, k := range orders[len(c.ratio.processes)%len(orders)] { // who is there first is another one each time
		a := audiences[k]
		a.target, a.pub = target, NewPublisher(server.feed, payloadSize)
		if a.swarm, err = NewSwarm(server.Addr, false); err != nil {
			return err
		}
		defer a.swarm.Close()
		path := fmt.Sprintf("/%s/%d", a.route, target)
		if err := a.swarm.Add(n, func(int) string { return path }, time.Minute); err != nil {
			return err
		}
		if err := Warm(a.swarm, a.pub, n, func(int) int { return target }, 1); err != nil {
			return err
		}
	}
	return c.rounds(l, row, server, audiences, n)
}

// orders are those in which three can be measured.
var orders = [][3]int{{0, 1, 2}, {2, 1, 0}, {1, 2, 0}, {0, 2, 1}, {2, 0, 1}, {1, 0, 2}}

func (c *limitsCompared) rounds(l *Lab, row *Row, server *Server, audiences []*audience, n int) error {
	for round := range limitRounds {
		cost := map[string]float64{}
		for _, k := range orders[round%len(orders)] {
			a := audiences[k]
			s, err := l.Measure(server, func() (Run, error) { return saturate(a.swarm, a.pub, a.target, n, 1, limitStretch) })
			if err != nil {
				return err
			}
			row.checkWhole("headgate", s.Run)
			cost[a.route] = s.PerDelivery()
			c.cost.add(a.route, s.PerDelivery())
		}
		c.ratio.add(2 * cost["limited"] / (cost["free"] + cost["control"]))
		c.control.add(cost["control"] / cost["free"])
	}
	return nil
}
