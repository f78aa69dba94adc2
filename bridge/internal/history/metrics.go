package history

import "github.com/prometheus/client_golang/prometheus"

// Metrics are those of the coordinator.
type Metrics struct {
	reads, merged, hits, bytes, failed prometheus.Counter
	scans, gets, leader, lag           prometheus.Counter
	waiting                            prometheus.Gauge
	seconds                            prometheus.Histogram
}

// NewMetrics registers the metrics, unless reg is nil.
func NewMetrics(reg prometheus.Registerer) *Metrics {
	var all []prometheus.Collector
	counter := func(name, help string) prometheus.Counter {
		c := prometheus.NewCounter(prometheus.CounterOpts{Name: "headgate_history_" + name, Help: help})
		all = append(all, c)
		return c
	}
	m := &Metrics{
		reads:  counter("reads_total", "Reads asked for."),
		merged: counter("merged_total", "Reads that joined one of the same topic."),
		hits:   counter("segment_hits_total", "Reads served from what had just been read."),
		bytes:  counter("bytes_total", "Bytes of messages given to readers."),
		failed: counter("failed_total", "Reads from NATS that failed."),
		scans:  counter("scans_total", "Scans with a consumer."),
		gets:   counter("direct_gets_total", "Direct get requests."),
		leader: counter("leader_requests_total", "Requests to the leader of a stream."),
		lag:    counter("lagging_answers_total", "Answers that lacked messages which the leader has."),
		waiting: prometheus.NewGauge(prometheus.GaugeOpts{Name: "headgate_history_waiting",
			Help: "Requests that wait for an answer."}),
		seconds: prometheus.NewHistogram(prometheus.HistogramOpts{Name: "headgate_history_seconds",
			Help: "Time from a request that was not served from memory to its answer.", Buckets: prometheus.ExponentialBuckets(0.001, 4, 8)}),
	}
	if reg != nil {
		reg.MustRegister(append(all, m.waiting, m.seconds)...)
	}
	return m
}
