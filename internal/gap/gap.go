// Package gap builds $gap events and counts them. A $gap tells a client that data it would have received is, or may be, gone;
// no hole is ever silent. DESIGN of the event: docs/protocol.md.
package gap

import (
	"encoding/json"
	"sync"

	"github.com/prometheus/client_golang/prometheus"

	"headgate/internal/sse"
)

// EventType is the event type of every gap.
const EventType = "$gap"

// Reason says why data is missing.
type Reason uint8

// The reasons, in the words that clients, logs and metrics see.
const (
	Expired         Reason = iota // retention: the source has thrown it away
	Reset                         // the source is another incarnation
	Rewound                       // the source went back behind the position
	UnknownPosition               // the position says nothing about this source
	Reconnect                     // the connection to NATS, or the interest in the subject, was lost
	Overflow                      // between NATS and headgate
	Limit                         // the bound of a replay
	Slow                          // this client, on a route with drop_oldest
	Rate                          // this client's budget
	Invalid                       // the payload, refused by the route's rule
	TooLarge                      // the payload, above the route's bound
	reasons
)

var words = [reasons]string{"expired", "reset", "rewound", "unknown-position", "reconnect", "overflow", "limit", "slow", "rate",
	"invalid", "too-large"}

// String is the word for it.
func (r Reason) String() string {
	if r < reasons {
		return words[r]
	}
	return "unknown"
}

// MarshalText is the word too: in logs that are JSON a reason would be a number.
func (r Reason) MarshalText() ([]byte, error) { return []byte(r.String()), nil }

// Certain says whether data is certainly missing when this reason is given and nothing more is known, or only may be.
func (r Reason) Certain() bool {
	switch r {
	case Reset, Rewound, UnknownPosition, Reconnect:
		return false
	}
	return true
}

// Reasons are all of them.
func Reasons() []Reason {
	all := make([]Reason, reasons)
	for i := range all {
		all[i] = Reason(i)
	}
	return all
}

// Hole is one gap.
type Hole struct {
	Reason   Reason
	Source   string // the route's name for the source
	From, To uint64 // first and last missing sequence, inclusive; 0 when unknown
	Snapshot bool   // a fresh state follows: forget the old one
	Unsure   bool   // something may be missing, although the reason alone would make it certain
}

// wire is the data of the event, in the order of docs/protocol.md.
type wire struct {
	Reason  string `json:"reason"`
	Certain bool   `json:"certain"`
	Source  string `json:"source"`
	From    uint64 `json:"from,omitempty"`
	To      uint64 `json:"to,omitempty"`
	Next    string `json:"next"`
}

// Frame is the event.
func Frame(h Hole) *sse.Frame {
	w := wire{Reason: h.Reason.String(), Certain: h.Reason.Certain() && !h.Unsure, Source: h.Source, From: h.From, To: h.To, Next: "live"}
	if h.Snapshot {
		w.Next = "snapshot"
	}
	data, err := json.Marshal(w)
	if err != nil {
		panic("gap: " + err.Error()) // strings and numbers always marshal
	}
	return sse.NewFrame(EventType, data)
}

// frames holds the frames of holes without a range: their number is bounded by the routes' source names.
var frames sync.Map // Hole -> *sse.Frame

// Shared is Frame for holes without a range, made once for each source name and reason.
func Shared(r Reason, source string) *sse.Frame {
	key := Hole{Reason: r, Source: source}
	if f, ok := frames.Load(key); ok {
		return f.(*sse.Frame)
	}
	f, _ := frames.LoadOrStore(key, Frame(key))
	return f.(*sse.Frame)
}

// Counters count the gaps that clients' groups were told, by reason. A nil *Counters counts nothing.
type Counters struct {
	by [reasons]prometheus.Counter
}

// NewCounters creates every reason's counter at zero and registers them, unless reg is nil.
func NewCounters(reg prometheus.Registerer) *Counters {
	vec := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "headgate_gaps_total",
		Help: "Gaps announced with $gap, by reason; one per source of a group of clients.",
	}, []string{"reason"})
	if reg != nil {
		reg.MustRegister(vec)
	}
	c := &Counters{}
	for i := range c.by {
		c.by[i] = vec.WithLabelValues(Reason(i).String())
	}
	return c
}

// Add counts n gaps.
func (c *Counters) Add(r Reason, n int) {
	if c != nil && n > 0 && r < reasons {
		c.by[r].Add(float64(n))
	}
}
