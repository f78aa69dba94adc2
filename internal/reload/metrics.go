package reload

import (
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
)

// The results of a reload.
const (
	taken   = "taken"
	refused = "refused"
)

// metrics are made with what was read at the start.
type metrics struct {
	results map[string]prometheus.Counter
	hash    prometheus.Gauge
	since   prometheus.Gauge
	ok      prometheus.Gauge
}

func newMetrics(reg prometheus.Registerer) metrics {
	with := promauto.With(reg)
	results := with.NewCounterVec(prometheus.CounterOpts{Name: "headgate_reload_total",
		Help: "Times the routes file had changed and was read again: taken, or refused as a whole."}, []string{"result"})
	m := metrics{
		results: map[string]prometheus.Counter{},
		hash: with.NewGauge(prometheus.GaugeOpts{Name: "headgate_config_hash",
			Help: "A number made of the routes that are in use: replicas with the same routes have the same one."}),
		since: with.NewGauge(prometheus.GaugeOpts{Name: "headgate_reload_last_success_timestamp_seconds",
			Help: "When the routes that are in use were taken."}),
		ok: with.NewGauge(prometheus.GaugeOpts{Name: "headgate_reload_last_successful",
			Help: "1 while what is in the routes file is in use, 0 while it is refused."}),
	}
	for _, result := range []string{taken, refused} {
		m.results[result] = results.WithLabelValues(result)
	}
	return m
}

// take shows which content is in use. A float holds 52 bits exactly.
func (m metrics) take(hash string, now time.Time) {
	if n, err := strconv.ParseUint(hash[:min(12, len(hash))], 16, 64); err == nil {
		m.hash.Set(float64(n))
	}
	m.since.Set(float64(now.Unix()))
	m.ok.Set(1)
}
