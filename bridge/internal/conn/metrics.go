package conn

import "github.com/prometheus/client_golang/prometheus"

// Metrics are the connections' metrics, by role. Roles are an enumeration: data-0 to data-7 and ctl.
type Metrics struct {
	connected  *prometheus.GaugeVec
	reconnects *prometheus.CounterVec
	flushes    *prometheus.CounterVec
	refused    *prometheus.CounterVec
}

type metrics struct {
	connected                    prometheus.Gauge
	reconnects, flushes, refused prometheus.Counter
}

// NewMetrics registers the metrics, unless reg is nil.
func NewMetrics(reg prometheus.Registerer) *Metrics {
	labels := []string{"connection"}
	m := &Metrics{
		connected: prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "headgate_nats_connected",
			Help: "1 while the connection to NATS is up."}, labels),
		reconnects: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "headgate_nats_reconnects_total",
			Help: "Times the connection to NATS came back."}, labels),
		flushes: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "headgate_nats_flushes_total",
			Help: "Confirmations asked of NATS; one may confirm many subscriptions or publishes."}, labels),
		refused: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "headgate_nats_refused_total",
			Help: "Subscriptions and publishes that NATS refused."}, labels),
	}
	if reg != nil {
		reg.MustRegister(m.connected, m.reconnects, m.flushes, m.refused)
	}
	return m
}

func (m *Metrics) role(role string) *metrics {
	return &metrics{m.connected.WithLabelValues(role), m.reconnects.WithLabelValues(role), m.flushes.WithLabelValues(role),
		m.refused.WithLabelValues(role)}
}
