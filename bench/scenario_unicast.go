//go:build linux

package main

import "fmt"

// unicast: every client on its own subject, a message for one of them 2,000 times a second.
func unicast(l *Lab) ([]Row, error) {
	const perSecond = 2000
	row := Row{Name: fmt.Sprintf("unicast, %d clients on their own subjects, %d messages/s", l.size.Many, perSecond), Unit: "µs of server CPU per message"}
	cpu, both, p99 := samples{}, samples{}, samples{}
	err := l.interleave(&row, max(1, l.size.Passes*3/5), []string{"bare", "headgate", "naive", "hub"}, func(kind string) error {
		s, err := l.pace(&row, kind, Cast{Clients: l.size.Many, Target: own}, perSecond, 1, 2*l.size.Stretch)
		if err != nil {
			return err
		}
		cpu.add(kind, s.PerDelivery())
		both.add(kind, perEvent(s.CPU+s.Broker, s.Tally.Received))
		p99.add(kind, ms(s.Tally.Latency.Quantile(0.99)))
		return nil
	})
	if err != nil {
		return nil, err
	}
	row.Figures = cpu.figures()
	row.atMost(2, "bare")
	row.note("with the broker's share: %s; p99 latency in ms: %s", listed(both), listed(p99))
	return []Row{row}, nil
}
