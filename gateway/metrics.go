package gateway

import (
	"errors"

	"github.com/prometheus/client_golang/prometheus"

	"headgate/internal/delivery"
)

const (
	// noRoute is the route label of requests that no route has. It is no possible route name.
	noRoute = "(none)"
	// The outcomes that are not refusals; those have the slugs of their problems.
	outcomeOpened    = "opened"
	outcomePublished = "published"
	outcomeFinished  = "finished"
)

// metrics are the numbers of the public side. Their labels are enumerations and route names, nothing a client can choose.
type metrics struct {
	requests *prometheus.CounterVec
	streams  *prometheus.GaugeVec
	ends     [256]prometheus.Counter // by delivery.Reason
	connect  prometheus.Histogram
	lasted   prometheus.Histogram
	panics   prometheus.Counter

	certificate  prometheus.Gauge // 0 without TLS
	certificates map[string]prometheus.Counter
}

// newMetrics makes and registers them, every series that can be foreseen at zero.
func newMetrics(reg prometheus.Registerer) (*metrics, error) {
	ends := prometheus.NewCounterVec(prometheus.CounterOpts{Name: "headgate_stream_ends_total",
		Help: "Streams that ended, by the reason that $end and the log name too."}, []string{"reason"})
	m := &metrics{
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "headgate_requests_total",
			Help: "Requests by route and outcome: opened, head, options, published, finished, client-gone, or the reason of the refusal."},
			[]string{"route", "outcome"}),
		streams: prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "headgate_streams", Help: "Open streams."}, []string{"route"}),
		connect: prometheus.NewHistogram(prometheus.HistogramOpts{Name: "headgate_connect_seconds",
			Help:    "From the request to the hand-over of the stream, the confirmation by NATS included.",
			Buckets: []float64{.0001, .00025, .0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5}}),
		lasted: prometheus.NewHistogram(prometheus.HistogramOpts{Name: "headgate_stream_seconds", Help: "How long ended streams lasted.",
			Buckets: []float64{1, 5, 15, 60, 300, 900, 3600, 14400, 86400}}),
		panics: prometheus.NewCounter(prometheus.CounterOpts{Name: "headgate_request_panics_total",
			Help: "Requests that ended in a panic. Every one is a bug."}),
	}
	certificates := prometheus.NewCounterVec(prometheus.CounterOpts{Name: "headgate_certificate_reloads_total",
		Help: "Times the listener's certificate had changed and was read again: taken, or refused."}, []string{"result"})
	m.certificate = prometheus.NewGauge(prometheus.GaugeOpts{Name: "headgate_certificate_expiry_timestamp_seconds",
		Help: "When the listener's certificate expires; 0 without TLS."})
	m.certificates = map[string]prometheus.Counter{"taken": certificates.WithLabelValues("taken"), "refused": certificates.WithLabelValues("refused")}
	for _, r := range delivery.Reasons() {
		m.ends[r] = ends.WithLabelValues(r.String())
	}
	for _, k := range []kind{notFound, internal} {
		m.requests.WithLabelValues(noRoute, problems[k].slug)
	}
	if reg == nil {
		return m, nil
	}
	var errs []error
	for _, c := range []prometheus.Collector{m.requests, m.streams, ends, m.connect, m.lasted, m.panics, m.certificate, certificates} {
		errs = append(errs, reg.Register(c))
	}
	return m, errors.Join(errs...)
}

// request counts a request, the first time it is told of it.
func (m *metrics) request(c *call) {
	if c.counted {
		return
	}
	c.counted = true
	if c.outcome == outcomeOpened {
		c.route.life.opened.Inc()
		return
	}
	name := c.routeName()
	if c.route != nil && c.route.life.forgotten.Load() {
		name = noRoute
	}
	m.requests.WithLabelValues(name, c.outcome).Inc()
}

// live gives a route its series.
func (m *metrics) live(lf *life) {
	lf.open = m.streams.WithLabelValues(lf.name)
	lf.opened = m.requests.WithLabelValues(lf.name, outcomeOpened)
}

// forget removes the series of a route that is gone.
func (m *metrics) forget(name string) {
	of := prometheus.Labels{"route": name}
	m.streams.DeletePartialMatch(of)
	m.requests.DeletePartialMatch(of)
}

// ended counts one ended stream.
func (m *metrics) ended(e delivery.Ended) {
	if counter := m.ends[e.Reason]; counter != nil {
		counter.Inc()
	}
	m.lasted.Observe(e.Duration.Seconds())
}
