package feed

import (
	"github.com/prometheus/client_golang/prometheus"

	"headgate/internal/gap"
)

// reset says why a session with a consumer ended.
type reset uint8

const (
	goesOn           reset = iota
	resetConnection        // NATS is away, or back
	resetHeartbeat         // nothing has been heard of the consumer
	resetSequence          // messages were lost between the consumer and us
	resetDeleted           // the consumer is gone
	resetLeader            // its leader has changed, or its server stops
	resetIncarnation       // the stream is another one, or went back
	resetTable             // the table is to be loaded again
	resetMissing           // the stream does not exist, or may not be read
	resetFilters           // other subjects are to be read
	resetUnanswered        // NATS does not answer, or refuses
	resetKinds
)

var resetWords = [resetKinds]string{"", "connection", "heartbeat", "sequence", "deleted", "leader", "incarnation", "table", "missing", "filters", "unanswered"}

func (r reset) String() string { return resetWords[r] }

// Metrics are those of all feeds. A nil *Metrics counts nothing. The label stream is bounded by the routes.
type Metrics struct {
	messages, bytes, evicted, resets, holes *prometheus.CounterVec
	lag, tailBytes, tailMessages, unknown   *prometheus.GaugeVec
	unproven                                *prometheus.GaugeVec
}

// NewMetrics registers them, unless reg is nil.
func NewMetrics(reg prometheus.Registerer) *Metrics {
	counter := func(name, help string, labels ...string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{Name: name, Help: help}, append([]string{"stream"}, labels...))
	}
	gauge := func(name, help string) *prometheus.GaugeVec {
		return prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: name, Help: help}, []string{"stream"})
	}
	m := &Metrics{
		messages:     counter("headgate_feed_messages_total", "Messages read from the stream."),
		bytes:        counter("headgate_feed_message_bytes_total", "Payload bytes read from the stream."),
		evicted:      counter("headgate_feed_evicted_total", "Messages that left the tail because JETSTREAM_TAIL_BYTES was used up."),
		resets:       counter("headgate_feed_resets_total", "Sessions with a consumer that ended, by cause; nothing is lost by that.", "cause"),
		holes:        counter("headgate_feed_holes_total", "Holes in the stream that were told to all who follow it, by reason.", "reason"),
		lag:          gauge("headgate_feed_lag_messages", "Messages that the stream has for the feed and the feed has not taken yet."),
		tailBytes:    gauge("headgate_feed_tail_bytes", "Memory of the messages kept, tail and table."),
		tailMessages: gauge("headgate_feed_tail_messages", "Messages in the tail."),
		unknown: gauge("headgate_feed_keys_unknown", "1 of a bucket of which not even the keys are in memory: whoever comes back is given all of it. "+
			"If it stays, raise JETSTREAM_TAIL_BYTES."),
		unproven: gauge("headgate_feed_unproven", "1 of a bucket of which nobody can say at present that no key went without a message: whoever comes back with an id "+
			"of now is given all of it."),
	}
	if reg != nil {
		reg.MustRegister(m.messages, m.bytes, m.evicted, m.resets, m.holes, m.lag, m.tailBytes, m.tailMessages, m.unknown, m.unproven)
	}
	return m
}

// streamMetrics are those of one feed.
type streamMetrics struct {
	messages, bytes, evicted     prometheus.Counter
	lag, tailBytes, tailMessages prometheus.Gauge
	unknown, unproven            prometheus.Gauge
	resets                       [resetKinds]prometheus.Counter
	holes                        map[gap.Reason]prometheus.Counter
}

func (m *Metrics) of(stream string) streamMetrics {
	if m == nil {
		m = NewMetrics(nil)
	}
	s := streamMetrics{
		messages: m.messages.WithLabelValues(stream), bytes: m.bytes.WithLabelValues(stream), evicted: m.evicted.WithLabelValues(stream),
		lag: m.lag.WithLabelValues(stream), tailBytes: m.tailBytes.WithLabelValues(stream),
		tailMessages: m.tailMessages.WithLabelValues(stream), unknown: m.unknown.WithLabelValues(stream),
		unproven: m.unproven.WithLabelValues(stream), holes: map[gap.Reason]prometheus.Counter{},
	}
	for r := resetConnection; r < resetKinds; r++ {
		s.resets[r] = m.resets.WithLabelValues(stream, r.String())
	}
	for _, r := range []gap.Reason{gap.Expired, gap.Reset, gap.Rewound} {
		s.holes[r] = m.holes.WithLabelValues(stream, r.String())
	}
	return s
}

// Forget removes the series of a stream that is not read any more.
func (m *Metrics) Forget(stream string) {
	if m == nil {
		return
	}
	of := prometheus.Labels{"stream": stream}
	for _, v := range []*prometheus.CounterVec{m.messages, m.bytes, m.evicted, m.resets, m.holes} {
		v.DeletePartialMatch(of)
	}
	for _, v := range []*prometheus.GaugeVec{m.lag, m.tailBytes, m.tailMessages, m.unknown, m.unproven} {
		v.DeletePartialMatch(of)
	}
}

func (s *streamMetrics) hole(r gap.Reason) {
	if c := s.holes[r]; c != nil {
		c.Inc()
	}
}
