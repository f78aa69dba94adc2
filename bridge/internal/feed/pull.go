package feed

import (
	"encoding/json"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// The pull protocol is that of ADR-13 and ADR-37 of https://github.com/nats-io/nats-architecture-and-design.
var (
	// pullBatch messages are asked for at a time, so at most twice that are on their way.
	pullBatch = 4096
	// channelSize leaves room for status messages beside them.
	channelSize = 2*pullBatch + 1024
)

const (
	pullBytes   = 8 << 20 // and so many bytes
	pullExpires = 30 * time.Second
)

// pull keeps one request outstanding and the next behind it. All have the same reply subject.
type pull struct {
	subject, reply string
	batch, bytes   int
	expires        time.Duration
	heartbeat      time.Duration

	request     []byte
	outstanding int  // messages asked for and not delivered
	any         bool // a message has come since the last request ended for its size
}

func newPull(cfg Config, consumer, reply string, made jetstream.ConsumerConfig) pull {
	p := pull{subject: cfg.API.Subject("CONSUMER.MSG.NEXT", cfg.Stream, consumer), reply: reply, batch: pullBatch, bytes: pullBytes,
		expires: pullExpires, heartbeat: cfg.Heartbeat}
	if made.MaxRequestBatch > 0 { // limits of the server or the stream
		p.batch = min(p.batch, made.MaxRequestBatch)
	}
	if made.MaxRequestMaxBytes > 0 {
		p.bytes = min(p.bytes, made.MaxRequestMaxBytes)
	}
	if made.MaxRequestExpires > 0 {
		p.expires = min(p.expires, made.MaxRequestExpires)
	}
	p.heartbeat = min(p.heartbeat, p.expires/2) // the server takes no longer one
	p.compile()
	return p
}

func (p *pull) compile() {
	ask := struct {
		Expires   time.Duration `json:"expires"`
		Batch     int           `json:"batch"`
		MaxBytes  int           `json:"max_bytes"`
		Heartbeat time.Duration `json:"idle_heartbeat"`
	}{p.expires, p.batch, p.bytes, p.heartbeat}
	p.request, _ = json.Marshal(ask) // numbers always marshal
}

// fill asks for more until a whole batch waits behind what is on its way.
func (p *pull) fill(nc *nats.Conn) error {
	for p.outstanding <= p.batch {
		if err := nc.PublishRequest(p.subject, p.reply, p.request); err != nil {
			return err
		}
		p.outstanding += p.batch
	}
	return nil
}

// pokeEvery is how long a load waits for its next message before it asks once more.
const pokeEvery = 20 * time.Millisecond

// poke asks for one message more. A consumer of nats-server 2.15 that begins with the last message of every subject stops at each that
// was replaced before its turn came, until there is a new message in the stream or a new request.
func (p *pull) poke(nc *nats.Conn) error {
	p.outstanding++
	ask := *p
	ask.batch = 1
	ask.compile()
	return nc.PublishRequest(p.subject, p.reply, ask.request)
}

// status takes a message that is not one of the stream's, and says whether the consumer can go on.
func (p *pull) status(m *nats.Msg) reset {
	text := m.Header.Get("Description")
	switch code := m.Header.Get("Status"); code {
	case "", "100": // from anybody, or an idle heartbeat
		return goesOn
	case "404", "408":
		p.ended(m)
		return goesOn
	case "409":
		return p.conflict(m, text)
	case "503": // nobody takes requests for the consumer
		return resetDeleted
	default: // 400, 412, 423: we asked wrongly
		return resetUnanswered
	}
}

func (p *pull) conflict(m *nats.Msg, text string) reset {
	text = strings.ToLower(text)
	switch {
	case strings.Contains(text, "consumer deleted"):
		return resetDeleted
	case strings.Contains(text, "leadership change"), strings.Contains(text, "server shutdown"):
		return resetLeader
	case strings.Contains(text, "message size exceeds maxbytes"):
		if !p.any { // larger than a whole request
			p.bytes *= 2
			p.compile()
		}
		p.any = false
		p.ended(m)
		return goesOn
	case strings.Contains(text, "batch completed"):
		p.ended(m)
		return goesOn
	}
	return resetUnanswered // among them: exceeded a limit of the consumer
}

// ended: a request has ended before it was fulfilled.
func (p *pull) ended(m *nats.Msg) {
	left, err := strconv.Atoi(m.Header.Get("Nats-Pending-Messages"))
	if err != nil {
		left = p.batch
	}
	p.outstanding = max(0, p.outstanding-left)
}

// lastOf is what a heartbeat says is the consumer's last message.
func lastOf(m *nats.Msg) (uint64, bool) {
	n, err := strconv.ParseUint(m.Header.Get("Nats-Last-Consumer"), 10, 64)
	return n, err == nil
}
