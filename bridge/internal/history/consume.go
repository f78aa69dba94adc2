package history

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"headgate/bridge/internal/encode"
	"headgate/bridge/internal/jsapi"
	"headgate/internal/subject"
)

const (
	maxFilters   = 8               // of a consumer; beyond it takes everything
	pullMessages = 5000            // asked for at once
	pullBytes    = 8 << 20         // asked for at once
	idleWait     = 1 * time.Second // without a message a scan is over: there is nothing, or the replica lags
	consumerLife = 10 * time.Second
	deleteWait   = 2 * time.Second
)

// errNoProgress says that a consumer has nothing to give now.
var errNoProgress = errors.New("the consumer has nothing to give")

// union is the filters of a consumer for many topics: nil for everything. The server refuses filters that overlap; with several of which
// one is a wildcard it goes through all the subjects they match for each message.
func union(filters []string) []string {
	if len(filters) > 64 {
		return nil
	}
	list := subject.Normalize(filters)
	if len(list) > maxFilters || len(list) > 1 && slices.ContainsFunc(list, subject.HasWildcard) {
		return nil
	}
	for i, f := range list {
		if f == ">" {
			return nil
		}
		for _, o := range list[:i] {
			if subject.Intersects(f, o) {
				return nil
			}
		}
	}
	return list
}

// scan is a pass over a stream with a consumer, which takes no state per client, and is deleted when it ends.
type scan struct {
	stream  string
	filters []string // nil: everything
	from    uint64   // behind this sequence
	perSubj bool     // begin with the last message of each subject
	start   time.Time
}

// consume makes a consumer and visits its messages in order until visit says stop. It returns errNoProgress when for a while nothing
// came. pending is what the replica that serves the consumer has behind the message.
func (c *Coordinator) consume(ctx context.Context, nc *nats.Conn, s scan, visit func(it *encode.Item, pending uint64) (more bool)) error {
	c.m.scans.Inc()
	cfg := jetstream.ConsumerConfig{
		Name: c.prefix + "-" + rand.Text(), AckPolicy: jetstream.AckNonePolicy, MemoryStorage: true, Replicas: 1,
		InactiveThreshold: consumerLife, DeliverPolicy: jetstream.DeliverByStartSequencePolicy, OptStartSeq: s.from + 1,
	}
	if s.perSubj {
		cfg.DeliverPolicy, cfg.OptStartSeq = jetstream.DeliverLastPerSubjectPolicy, 0
	}
	switch {
	case len(s.filters) == 1:
		cfg.FilterSubject = s.filters[0]
	case len(s.filters) > 1:
		cfg.FilterSubjects = s.filters
	case s.perSubj:
		cfg.FilterSubject = ">"
	}
	inbox := c.inbox[:len(c.inbox)-1] + "-" + rand.Text()
	ch := make(chan *nats.Msg, pullMessages+64)
	sub, err := nc.ChanSubscribe(inbox+".*", ch)
	if err != nil {
		return err
	}
	defer func() { _ = sub.Unsubscribe() }() // it fails when the connection is gone, and the subscription with it
	making, cancel := context.WithTimeout(ctx, answerWait)
	defer cancel()
	if _, err = c.api.CreateConsumer(making, nc, s.stream, cfg); tooLong(err) {
		cfg.InactiveThreshold = 0 // the stream's limit
		_, err = c.api.CreateConsumer(making, nc, s.stream, cfg)
	}
	if err != nil {
		return err
	}
	defer c.deleteConsumer(nc, s.stream, cfg.Name)
	p := &puller{nc: nc, ch: ch, inbox: inbox, subject: c.api.Subject("CONSUMER.MSG.NEXT", s.stream, cfg.Name)}
	return p.run(ctx, visit)
}

// tooLong says whether a consumer was refused since the stream does not let consumers be idle for so long.
func tooLong(err error) bool {
	const code = 10153 // JSConsumerInactiveThresholdExcess
	var refused *jetstream.APIError
	return errors.As(err, &refused) && refused.ErrorCode == code
}

// deleteConsumer does not wait for its inactive threshold: servers bound the consumers of a stream. The session may be over.
func (c *Coordinator) deleteConsumer(nc *nats.Conn, stream, name string) {
	if !nc.IsConnected() {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), deleteWait)
	defer cancel()
	if err := c.api.DeleteConsumer(ctx, nc, stream, name); err != nil {
		c.log.Debug("a scan consumer was not deleted; it ends by itself", "stream", stream, "consumer", name, "error", err)
	}
}

// puller asks for messages, one request at a time, and takes them.
type puller struct {
	nc      *nats.Conn
	ch      chan *nats.Msg
	inbox   string // of the subscription; each request has its own below it
	subject string
	asked   int    // requests
	reply   string // of the present one
	seq     uint64 // of the consumer: each message has the next one
}

func (p *puller) run(ctx context.Context, visit func(*encode.Item, uint64) bool) error {
	timer := time.NewTimer(idleWait)
	defer timer.Stop()
	for {
		if err := p.ask(); err != nil {
			return err
		}
		for left := pullMessages; left > 0; {
			timer.Reset(idleWait)
			var m *nats.Msg
			select {
			case m = <-p.ch:
			case <-timer.C:
				return errNoProgress
			case <-ctx.Done():
				return context.Cause(ctx)
			}
			if m.Reply == "" {
				if m.Subject != p.reply {
					continue // that an earlier one is over
				}
				if err := ended(m); err != nil {
					return err
				}
				break // this request is over: ask again
			}
			it, place, err := consumed(m)
			if err != nil {
				return err
			}
			if p.seq++; place.consumer != p.seq {
				return errLost
			}
			left--
			if !visit(it, place.pending) {
				return nil
			}
		}
	}
}

func (p *puller) ask() error {
	body, err := json.Marshal(map[string]any{"batch": pullMessages, "max_bytes": max(pullBytes, p.nc.MaxPayload()+64<<10),
		"expires": answerWait})
	if err != nil {
		return err
	}
	p.asked++
	p.reply = p.inbox + "." + strconv.Itoa(p.asked)
	return p.nc.PublishRequest(p.subject, p.reply, body)
}

// ended says how a pull request ended; nil where one is to ask again.
func ended(m *nats.Msg) error {
	status, text := m.Header.Get(hdrStatus), m.Header.Get("Description")
	switch {
	case status == "409" && (strings.HasPrefix(text, "Message Size Exceeds MaxBytes") || text == "Batch Completed"), status == "408":
		return nil
	case status == "404":
		return errNoProgress
	}
	return fmt.Errorf("%w: the scan's consumer: %s %s", ErrAway, status, text)
}

// place is where a message is, by its reply subject (ADR-15).
type place struct {
	stream, consumer, pending uint64
	at                        int64
}

// consumed makes the item of a message from a consumer.
func consumed(m *nats.Msg) (*encode.Item, place, error) {
	p, ok := parsePlace(m.Reply)
	if !ok {
		return nil, p, fmt.Errorf("no reply subject of a consumer: %q", m.Reply)
	}
	it := &encode.Item{Seq: p.stream}
	it.Message = encode.Message{Subject: m.Subject, Data: m.Data, At: p.at}
	if len(m.Header) > 0 {
		it.Header = m.Header
	}
	return it, p, nil
}

// parsePlace reads $JS.ACK.<stream>.<consumer>.<n>.<seq>.<seq>.<time>.<pending>; newer servers have domain and account before the
// stream, and perhaps a token behind.
func parsePlace(reply string) (p place, ok bool) {
	t := strings.Split(reply, ".")
	switch {
	case len(t) < 9 || t[0] != "$JS" || t[1] != "ACK":
		return p, false
	case len(t) == 9:
		t = t[4:]
	case len(t) >= 11:
		t = t[6:]
	default:
		return p, false
	}
	var errs [4]error
	p.stream, errs[0] = strconv.ParseUint(t[1], 10, 64)
	p.consumer, errs[1] = strconv.ParseUint(t[2], 10, 64)
	p.at, errs[2] = strconv.ParseInt(t[3], 10, 64)
	p.pending, errs[3] = strconv.ParseUint(t[4], 10, 64)
	return p, cmp.Or(errs[:]...) == nil
}

// gone says whether an error of a scan is only that it got no further.
func gone(err error) bool {
	return err == nil || errors.Is(err, errNoProgress) || errors.Is(err, errLost) || errors.Is(err, jsapi.ErrNoConsumer)
}
