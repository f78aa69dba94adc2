package auth

import (
	"errors"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// metrics count what has been judged. No label says anything about a caller.
type metrics struct {
	tokens *prometheus.CounterVec
	failed prometheus.Counter
}

func newMetrics(r prometheus.Registerer, l *line) *metrics {
	m := &metrics{
		tokens: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "headgate_auth_tokens_total",
			Help: "Tokens that have been judged, by what was found."}, []string{"result"}),
		failed: prometheus.NewCounter(prometheus.CounterOpts{Name: "headgate_auth_key_errors_total",
			Help: "Attempts to read the keys of an issuer that failed. The last good ones stay in use."}),
	}
	for _, e := range allTokenErrors {
		m.tokens.WithLabelValues(e.Word)
	}
	m.tokens.WithLabelValues("good")
	m.tokens.WithLabelValues("unavailable")
	m.tokens.WithLabelValues("kicked")
	age := prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "headgate_auth_keys_age_seconds",
		Help: "Since the keys of an issuer were last read, or since the start: of the issuer where that is longest ago. URLs are read every 5 minutes, files every 10 seconds, or sooner."},
		func() float64 { return l.age(time.Now()).Seconds() })
	if r != nil {
		r.MustRegister(m.tokens, m.failed, age)
	}
	return m
}

func (m *metrics) judged(err error) {
	var refused *TokenError
	switch {
	case err == nil:
		m.tokens.WithLabelValues("good").Inc()
	case errors.As(err, &refused):
		m.tokens.WithLabelValues(refused.Word).Inc()
	case errors.Is(err, ErrKicked):
		m.tokens.WithLabelValues("kicked").Inc()
	case errors.Is(err, ErrUnavailable):
		m.tokens.WithLabelValues("unavailable").Inc()
	}
}

func (m *metrics) keysFailed() { m.failed.Inc() }
