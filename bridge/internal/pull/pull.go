// Package pull is the pull protocol of JetStream consumers: requests for messages, how they end, and where each message stands.
//
// Source: ADR-13, ADR-15 and ADR-37 of https://github.com/nats-io/nats-architecture-and-design.
package pull

import (
	"encoding/json"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// Config is what a Puller needs.
type Config struct {
	Subject   string // of the requests
	Reply     string // where messages are sent to; the same for all requests
	Batch     int    // messages of a request
	Bytes     int    // and so many bytes
	Expires   time.Duration
	Heartbeat time.Duration // while there is nothing; 0 = none
	Ahead     bool          // keeps one more request behind the one that is served
}

// Puller asks for messages. It is used by one goroutine.
type Puller struct {
	cfg         Config
	request     []byte
	outstanding int  // messages asked for and not delivered
	any         bool // a message has come since the last request ended for its size
}

// New is a puller for a consumer that was made as the server says, within its limits or those of the stream.
func New(cfg Config, made jetstream.ConsumerConfig) *Puller {
	if made.MaxRequestBatch > 0 {
		cfg.Batch = min(cfg.Batch, made.MaxRequestBatch)
	}
	if made.MaxRequestMaxBytes > 0 {
		cfg.Bytes = min(cfg.Bytes, made.MaxRequestMaxBytes)
	}
	if made.MaxRequestExpires > 0 {
		cfg.Expires = min(cfg.Expires, made.MaxRequestExpires)
	}
	cfg.Heartbeat = min(cfg.Heartbeat, cfg.Expires/2) // the server takes no longer one
	p := &Puller{cfg: cfg}
	p.request = p.compile(cfg.Batch)
	return p
}

func (p *Puller) compile(batch int) []byte {
	body, _ := json.Marshal(struct { // numbers always marshal
		Expires   time.Duration `json:"expires"`
		Batch     int           `json:"batch"`
		MaxBytes  int           `json:"max_bytes"`
		Heartbeat time.Duration `json:"idle_heartbeat,omitempty"`
	}{p.cfg.Expires, batch, p.cfg.Bytes, p.cfg.Heartbeat})
	return body
}

// Heartbeat is how often an idle consumer shows that it is there.
func (p *Puller) Heartbeat() time.Duration { return p.cfg.Heartbeat }

// Fill asks for more where that is due. A request whose bytes are used up to the last one ends without a word from nats-server 2.15: then
// nothing comes any more, not even heartbeats, until another puller asks.
func (p *Puller) Fill(nc *nats.Conn) error {
	least := 0
	if p.cfg.Ahead {
		least = p.cfg.Batch
	}
	for p.outstanding <= least {
		if err := nc.PublishRequest(p.cfg.Subject, p.cfg.Reply, p.request); err != nil {
			return err
		}
		p.outstanding += p.cfg.Batch
	}
	return nil
}

// Poke asks for one message more. A consumer of nats-server 2.15 that begins with the last message of every subject stops at each that
// was replaced before its turn came, until there is a new message in the stream or a new request.
func (p *Puller) Poke(nc *nats.Conn) error {
	p.outstanding++
	return nc.PublishRequest(p.cfg.Subject, p.cfg.Reply, p.compile(1))
}

// Took is called for every message of the stream.
func (p *Puller) Took() {
	p.outstanding--
	p.any = true
}

// Ending is what a message that is not one of the stream's says about the consumer.
type Ending uint8

const (
	GoesOn   Ending = iota
	Deleted         // the consumer is gone
	Moved           // its leader has changed, or its server stops
	Rejected        // we have asked for what it does not give
)

// Status takes a message that is not one of the stream's.
func (p *Puller) Status(m *nats.Msg) Ending {
	switch code := m.Header.Get("Status"); code {
	case "", "100": // from anybody, or an idle heartbeat
		return GoesOn
	case "404", "408":
		p.ended(m)
		return GoesOn
	case "409":
		return p.conflict(m, strings.ToLower(m.Header.Get("Description")))
	case "503": // nobody takes requests for the consumer
		return Deleted
	default: // 400, 412, 423
		return Rejected
	}
}

func (p *Puller) conflict(m *nats.Msg, text string) Ending {
	switch {
	case strings.Contains(text, "consumer deleted"):
		return Deleted
	case strings.Contains(text, "leadership change"), strings.Contains(text, "server shutdown"):
		return Moved
	case strings.Contains(text, "message size exceeds maxbytes"):
		if !p.any { // larger than a whole request
			p.cfg.Bytes *= 2
			p.request = p.compile(p.cfg.Batch)
		}
		p.any = false
		p.ended(m)
		return GoesOn
	case strings.Contains(text, "batch completed"):
		p.ended(m)
		return GoesOn
	}
	return Rejected // among them: exceeded a limit of the consumer
}

// ended: a request has ended before it was fulfilled.
func (p *Puller) ended(m *nats.Msg) {
	left, err := strconv.Atoi(m.Header.Get("Nats-Pending-Messages"))
	if err != nil {
		left = p.cfg.Batch
	}
	p.outstanding = max(0, p.outstanding-left)
}

// LastOf is what a heartbeat says is the consumer's last message.
func LastOf(m *nats.Msg) (uint64, bool) {
	n, err := strconv.ParseUint(m.Header.Get("Nats-Last-Consumer"), 10, 64)
	return n, err == nil
}
