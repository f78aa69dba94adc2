package ratelimit

import (
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
)

// metrics are created at zero, so that a rate over them is right from the first refusal on.
type metrics struct {
	refusals map[string]prometheus.Counter // by limit
	shared   prometheus.Counter
	unknown  prometheus.Counter

	replayWaits prometheus.Counter
}

// newMetrics registers with reg, or nowhere when it is nil.
func newMetrics(reg prometheus.Registerer, l *Limiter) metrics {
	with := promauto.With(reg)
	refusals := with.NewCounterVec(prometheus.CounterOpts{Name: "headgate_limit_refusals_total",
		Help: "Requests refused by a limit of ours."}, []string{"limit"})
	m := metrics{
		refusals: make(map[string]prometheus.Counter, len(limits)),
		shared: with.NewCounter(prometheus.CounterOpts{Name: "headgate_limit_overflow_total",
			Help: "Requests judged by the entry that newcomers share while a table is full. LIMIT_ADDRESSES or LIMIT_USERS is too small."}),
		unknown: with.NewCounter(prometheus.CounterOpts{Name: "headgate_limit_unknown_releases_total",
			Help: "Streams given back to the limits that had not been admitted. Anything but 0 is a bug."}),
		replayWaits: with.NewCounter(prometheus.CounterOpts{Name: "headgate_replay_waits_total",
			Help: "Parts of replays that waited for the budget of their user, or of the process."}),
	}
	for _, limit := range limits {
		m.refusals[limit] = refusals.WithLabelValues(limit)
	}
	for use, t := range map[string]*table{"connect": l.connects, "publish": l.publishes} {
		with.NewGaugeFunc(prometheus.GaugeOpts{Name: "headgate_limit_addresses",
			Help:        "Client addresses remembered by the limits: with open streams, or with a rate in use.",
			ConstLabels: prometheus.Labels{"use": use}}, l.sizeOf(t))
	}
	for use, t := range map[string]*table{"connect": l.users, "route": l.userRoutes, "publish": l.publishers} {
		with.NewGaugeFunc(prometheus.GaugeOpts{Name: "headgate_limit_users",
			Help:        "Users remembered by the limits: with open streams, by route where that has a limit, or with a rate in use.",
			ConstLabels: prometheus.Labels{"use": use}}, l.sizeOf(t))
	}
	return m
}

func (l *Limiter) sizeOf(t *table) func() float64 {
	return func() float64 {
		l.mu.Lock()
		defer l.mu.Unlock()
		return float64(t.len())
	}
}

// told counts a refusal, and passes the answer on.
func (m *metrics) told(r Refusal, ok bool) (Refusal, bool) {
	if !ok {
		m.refusals[r.Limit].Inc()
	}
	return r, ok
}
