package ratelimit

import (
	"sync"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
)

// metrics are created at zero, so that a rate over them is right from the first refusal on.
type metrics struct {
	refusals map[string]prometheus.Counter // by limit
	shared   prometheus.Counter
	unknown  prometheus.Counter
}

// newMetrics registers with reg, or nowhere when it is nil.
func newMetrics(reg prometheus.Registerer, mu *sync.Mutex, connects, publishes *table) metrics {
	with := promauto.With(reg)
	refusals := with.NewCounterVec(prometheus.CounterOpts{Name: "headgate_limit_refusals_total",
		Help: "Requests refused by a limit of ours."}, []string{"limit"})
	m := metrics{
		refusals: make(map[string]prometheus.Counter, len(limits)),
		shared: with.NewCounter(prometheus.CounterOpts{Name: "headgate_limit_overflow_total",
			Help: "Requests judged by the entry that newcomers share while the table of addresses is full. LIMIT_ADDRESSES is too small."}),
		unknown: with.NewCounter(prometheus.CounterOpts{Name: "headgate_limit_unknown_releases_total",
			Help: "Streams given back to the limits that had not been admitted. Anything but 0 is a bug."}),
	}
	for _, limit := range limits {
		m.refusals[limit] = refusals.WithLabelValues(limit)
	}
	for use, t := range map[string]*table{"connect": connects, "publish": publishes} {
		with.NewGaugeFunc(prometheus.GaugeOpts{Name: "headgate_limit_addresses",
			Help:        "Client addresses remembered by the limits: with open streams, or with a rate in use.",
			ConstLabels: prometheus.Labels{"use": use}}, func() float64 {
			mu.Lock()
			defer mu.Unlock()
			return float64(t.len())
		})
	}
	return m
}
