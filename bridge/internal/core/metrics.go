package core

import "github.com/prometheus/client_golang/prometheus"

// register makes the metrics of the data connections. They read what the loops count anyway.
func (c *Core) register(reg prometheus.Registerer) {
	c.badTypes = prometheus.NewCounter(prometheus.CounterOpts{Name: "headgate_event_types_replaced_total",
		Help: "Messages sent as \"message\" because their event type is reserved, malformed or too long."})
	if reg == nil {
		return
	}
	reg.MustRegister(c.badTypes, prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "headgate_nats_topics",
		Help: "Distinct subjects subscribed to, idle ones included."}, func() float64 { return float64(c.topics.Load()) }))
	for _, d := range c.conns {
		d.register(reg)
	}
}

func (d *dataConn) register(reg prometheus.Registerer) {
	labels := prometheus.Labels{"connection": d.conn.Role()}
	counter := func(name, help string, value func() uint64) prometheus.Collector {
		return prometheus.NewCounterFunc(prometheus.CounterOpts{Name: name, Help: help, ConstLabels: labels},
			func() float64 { return float64(value()) })
	}
	reg.MustRegister(
		counter("headgate_nats_messages_total", "Messages received from NATS.", d.messages.Load),
		counter("headgate_nats_message_bytes_total", "Payload bytes received from NATS.", d.bytes.Load),
		counter("headgate_nats_dropped_total", "Messages lost between NATS and headgate.", d.dropped.Load),
		counter("headgate_nats_not_relayed_total", "Messages of internal subjects that a wildcard delivered.", d.notRelayed.Load),
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "headgate_nats_refused_topics", ConstLabels: labels,
			Help: "Topics with clients whose subscription NATS refuses now; their clients were told with $gap."},
			func() float64 { return float64(d.deafTopics()) }),
		counter("headgate_ring_crowded_out_total", "Messages that left their ring early because NATS_RING_BYTES was used up.", d.crowded.Load),
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "headgate_ring_bytes", ConstLabels: labels,
			Help: "Memory of the messages kept for clients that come back; NATS_RING_BYTES at most, over all connections."},
			func() float64 { return float64(d.ringedBytes()) }),
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "headgate_nats_pending_messages", ConstLabels: labels,
			Help: "Messages received and not yet relayed; at NATS_PENDING_MSGS they are lost."},
			func() float64 { return float64(len(d.ch)) }),
	)
}
