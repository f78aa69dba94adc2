//go:build linux

package main

import (
	"fmt"
	"maps"
	"slices"
	"time"
)

// fanout: one message in flight to every client. The bound is the kernel's send; nothing can be batched.
func fanout(l *Lab) ([]Row, error) {
	row := Row{Name: fmt.Sprintf("fan-out, %d clients, one message in flight", l.size.Many), Unit: "deliveries/s"}
	if err := saturated(l, &row, l.size.Many, 1); err != nil {
		return nil, err
	}
	row.atLeast(0.88, "bare")
	row.atLeast(2, "naive")
	return []Row{row}, nil
}

// window is how many messages are in flight at maximum rate: half of what the naive server's channels hold, so that it
// loses none.
const window = naiveChannel / 2

// fanoutMax: as many messages as the server takes. What counts is how it batches.
func fanoutMax(l *Lab) ([]Row, error) {
	var rows []Row
	for _, n := range []int{l.size.Some, l.size.Many} {
		row := Row{Name: fmt.Sprintf("fan-out at maximum rate, %d clients, %d messages in flight", n, window), Unit: "deliveries/s"}
		if err := saturated(l, &row, n, window); err != nil {
			return nil, err
		}
		row.atLeast(0.85, "bare")
		row.atLeast(10, "naive")
		rows = append(rows, row)
	}
	return rows, nil
}

func saturated(l *Lab, row *Row, n, window int) error {
	rates, cpu := samples{}, samples{}
	kinds := []string{"bare", "headgate", "naive", "hub"}
	if window > 1 {
		kinds = append(kinds, "bare-each")
	}
	err := l.interleave(row, l.size.Passes, kinds, func(kind string) error {
		sc, err := l.Scene(kind, Cast{Clients: n})
		if err != nil {
			return err
		}
		defer sc.Close()
		s, err := l.Measure(sc.Server, func() (Run, error) { return Saturate(sc.Swarm, sc.Pub, n, window, l.size.Stretch) })
		if err != nil {
			return err
		}
		row.checkWhole(kind, s.Run)
		rates.add(kind, s.Rate())
		cpu.add(kind, s.PerDelivery())
		return nil
	})
	row.Figures = rates.figures()
	row.note("server CPU per delivery in µs: %s", listed(cpu))
	return err
}

// paced: an ordinary load in open loop; what a delivery costs when nobody hurries.
func paced(l *Lab) ([]Row, error) {
	var rows []Row
	for _, c := range []struct {
		n    int
		rate float64
	}{{l.size.Some, 30}, {l.size.Many, 3}} {
		row := Row{Name: fmt.Sprintf("paced fan-out, %d clients x %s/s", c.n, number(c.rate)), Unit: "µs of server CPU per delivery"}
		cpu, p99 := samples{}, samples{}
		err := l.interleave(&row, max(1, l.size.Passes*3/5), []string{"bare", "headgate", "naive", "hub"}, func(kind string) error {
			s, err := l.pace(&row, kind, Cast{Clients: c.n}, c.rate, c.n, 2*l.size.Stretch)
			if err != nil {
				return err
			}
			cpu.add(kind, s.PerDelivery())
			p99.add(kind, ms(s.Tally.Latency.Quantile(0.99)))
			return nil
		})
		if err != nil {
			return nil, err
		}
		row.Figures = cpu.figures()
		row.atMost(1.1, "bare")
		row.note("p99 latency in ms: %s", listed(p99))
		rows = append(rows, row)
	}
	return rows, nil
}

// pace runs one open-loop stretch on the shared subject, or on each client's own in turn.
func (l *Lab) pace(row *Row, kind string, c Cast, rate float64, fan int, d time.Duration) (Sample, error) {
	sc, err := l.Scene(kind, c)
	if err != nil {
		return Sample{}, err
	}
	defer sc.Close()
	target := func(int) int { return shared }
	if c.Target != nil {
		target = func(k int) int { return c.Target(k % c.Clients) }
	}
	s, err := l.Measure(sc.Server, func() (Run, error) { return Pace(sc.Swarm, sc.Pub, rate, d, fan, target) })
	if err == nil {
		row.checkWhole(kind, s.Run)
	}
	return s, err
}

// rate: many messages to many clients, the gateway on one core. The naive server is beyond its means here: it runs to show
// what becomes of it.
func rate(l *Lab) ([]Row, error) {
	const perSecond = 1000
	row := Row{Name: fmt.Sprintf("%d clients x %d messages/s on one core", l.size.Some, perSecond), Unit: "p99 latency, ms"}
	p99, got, lost := samples{}, samples{}, samples{}
	err := l.interleave(&row, max(1, l.size.Passes*3/5), []string{"bare", "headgate", "naive", "hub"}, func(kind string) error {
		s, err := l.pace(&row, kind, Cast{Clients: l.size.Some}, perSecond, l.size.Some, 2*l.size.Stretch)
		if err != nil {
			return err
		}
		p99.add(kind, ms(s.Tally.Latency.Quantile(0.99)))
		got.add(kind, s.Rate())
		lost.add(kind, float64(s.Messages*l.size.Some)-float64(s.Tally.Received))
		return nil
	})
	if err != nil {
		return nil, err
	}
	row.Figures = p99.figures()
	row.below(40)
	if v := lost["headgate"]; len(v) > 0 {
		f := lost.figures()["headgate"]
		row.Checks = append(row.Checks, Check{Target: "nothing lost", Got: f.Max, Met: f.Max == 0})
	}
	row.note("deliveries/s: %s; not delivered: %s", listed(got), listed(lost))
	return []Row{row}, nil
}

func ms(d time.Duration) float64 { return float64(d.Microseconds()) / 1e3 }

// listed prints the medians of several servers in the order of the table.
func listed(s samples) string {
	text := ""
	f := s.figures()
	order := append(slices.Clone(columns), slices.Sorted(maps.Keys(f))...) // servers as in the table, then what is not one
	for i, kind := range order {
		if v, ok := f[kind]; ok && !slices.Contains(order[:i], kind) {
			if text != "" {
				text += ", "
			}
			text += kind + " " + number(v.Median)
		}
	}
	return text
}
