package delivery

import "github.com/prometheus/client_golang/prometheus"

// metrics are the process's delivery metrics.
type metrics struct {
	streams    prometheus.GaugeFunc
	held       prometheus.GaugeFunc
	slowest    prometheus.GaugeFunc
	deliveries prometheus.Counter
	bytes      prometheus.Counter
	sends      prometheus.Counter
	blocks     prometheus.Counter
	drops      prometheus.Counter
	rateWaits  prometheus.Counter
	rateDrops  prometheus.Counter
	heartbeats prometheus.Counter
	groups     prometheus.Gauge
	perSend    prometheus.Histogram
	latency    prometheus.Histogram
}

func newMetrics(reg prometheus.Registerer, streams, slowest, held func() float64) *metrics {
	counter := func(name, help string) prometheus.Counter {
		return prometheus.NewCounter(prometheus.CounterOpts{Name: "headgate_delivery_" + name, Help: help})
	}
	m := &metrics{
		held: prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "headgate_delivery_held_bytes",
			Help: "Bytes that were read for clients that come back, and that their sockets have not taken yet."}, held),
		streams: prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "headgate_delivery_streams",
			Help: "Clients that are being served."}, streams),
		slowest: prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "headgate_delivery_slowest_seconds",
			Help: "Age of the oldest event that a client's socket has not taken, looked at once a second."}, slowest),
		deliveries: counter("events_total", "Events offered to clients: events times clients."),
		bytes:      counter("bytes_total", "Bytes of events offered to clients."),
		sends:      counter("sends_total", "Send calls and ResponseWriter writes."),
		blocks:     counter("blocked_total", "Times a socket refused bytes."),
		drops:      counter("drops_total", "Jumps of slow clients to the head of their log (drop_oldest)."),
		rateWaits:  counter("rate_waits_total", "Times a client had spent its budget and had to wait."),
		rateDrops:  counter("rate_drops_total", "Jumps of clients that were over their rate to the head of their log (drop_oldest)."),
		heartbeats: counter("heartbeats_total", "Heartbeats sent."),
		groups: prometheus.NewGauge(prometheus.GaugeOpts{Name: "headgate_delivery_groups",
			Help: "Groups of clients that share their bytes."}),
		perSend: prometheus.NewHistogram(prometheus.HistogramOpts{Name: "headgate_delivery_round_events",
			Help: "Events that came together: in one entry of a log. A send carries one entry or several.", Buckets: prometheus.ExponentialBuckets(1, 4, 7)}),
		latency: prometheus.NewHistogram(prometheus.HistogramOpts{Name: "headgate_delivery_latency_seconds",
			Help:    "From the arrival of a round's first message to the last client's send.",
			Buckets: []float64{.0001, .00025, .0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5}}),
	}
	if reg != nil {
		reg.MustRegister(m.held, m.streams, m.slowest, m.deliveries, m.bytes, m.sends, m.blocks, m.drops, m.rateWaits, m.rateDrops, m.heartbeats, m.groups, m.perSend, m.latency)
	}
	return m
}

// stats are a shard's own counts, given to the metrics before it parks, so that a send costs no atomic operation.
type stats struct {
	metrics    *metrics
	sends      uint64
	blocks     uint64
	drops      uint64
	rateWaits  uint64
	rateDrops  uint64
	heartbeats uint64
	deliveries uint64
	bytes      uint64
	published  struct{ sends, blocks, drops, rateWaits, rateDrops, heartbeats, deliveries, bytes uint64 }
	rounds     int
}

// publishRounds is after how many rounds a shard that never parks gives its counts.
const publishRounds = 256

func (s *stats) round(e *entry, members int, wall int64) {
	s.deliveries += uint64(e.events) * uint64(members)
	s.bytes += uint64(len(e.bytes)) * uint64(members)
	s.metrics.perSend.Observe(float64(e.events))
	if e.arrived > 0 && wall > e.arrived {
		s.metrics.latency.Observe(float64(wall-e.arrived) / 1e9)
	}
	if s.rounds++; s.rounds%publishRounds == 0 {
		s.publish()
	}
}

func (s *stats) publish() {
	give := func(c prometheus.Counter, now uint64, given *uint64) {
		if now != *given {
			c.Add(float64(now - *given))
			*given = now
		}
	}
	give(s.metrics.sends, s.sends, &s.published.sends)
	give(s.metrics.blocks, s.blocks, &s.published.blocks)
	give(s.metrics.drops, s.drops, &s.published.drops)
	give(s.metrics.rateWaits, s.rateWaits, &s.published.rateWaits)
	give(s.metrics.rateDrops, s.rateDrops, &s.published.rateDrops)
	give(s.metrics.heartbeats, s.heartbeats, &s.published.heartbeats)
	give(s.metrics.deliveries, s.deliveries, &s.published.deliveries)
	give(s.metrics.bytes, s.bytes, &s.published.bytes)
}
