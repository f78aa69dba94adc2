package history

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"headgate/bridge/internal/encode"
	"headgate/bridge/internal/jsapi"
	"headgate/bridge/internal/pull"
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
	bare    bool     // headers alone, of which one says the size
}

// consume makes a consumer and visits its messages in order until visit says stop. It returns errNoProgress when for a while nothing
// came.
func (c *Coordinator) consume(ctx context.Context, nc *nats.Conn, s scan, visit func(it *encode.Item) (more bool)) error {
	c.m.scans.Inc()
	cfg := jetstream.ConsumerConfig{
		Name: c.prefix + "-" + rand.Text(), AckPolicy: jetstream.AckNonePolicy, MemoryStorage: true, Replicas: 1,
		InactiveThreshold: consumerLife, DeliverPolicy: jetstream.DeliverByStartSequencePolicy, OptStartSeq: s.from + 1, HeadersOnly: s.bare,
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
	sub, err := nc.ChanSubscribe(inbox, ch)
	if err != nil {
		return err
	}
	defer func() { _ = sub.Unsubscribe() }() // it fails when the connection is gone, and the subscription with it
	making, cancel := context.WithTimeout(ctx, answerWait)
	defer cancel()
	made, err := c.api.CreateConsumer(making, nc, s.stream, cfg)
	if tooLong(err) {
		cfg.InactiveThreshold = 0 // the stream's limit
		made, err = c.api.CreateConsumer(making, nc, s.stream, cfg)
	}
	if err != nil {
		return err
	}
	defer c.deleteConsumer(nc, s.stream, cfg.Name)
	p := pull.New(pull.Config{Subject: c.api.Subject("CONSUMER.MSG.NEXT", s.stream, cfg.Name), Reply: inbox, Batch: pullMessages,
		Bytes: max(pullBytes, int(nc.MaxPayload())+64<<10), Expires: answerWait}, made.Config)
	return c.take(ctx, nc, p, ch, visit)
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

// take visits what a consumer gives.
func (c *Coordinator) take(ctx context.Context, nc *nats.Conn, p *pull.Puller, ch chan *nats.Msg, visit func(*encode.Item) bool) error {
	timer := time.NewTimer(idleWait)
	defer timer.Stop()
	seq := uint64(0) // of the consumer: each message has the next one
	for {
		if err := p.Fill(nc); err != nil {
			return err
		}
		var m *nats.Msg
		select {
		case m = <-ch:
		case <-timer.C:
			return errNoProgress
		case <-ctx.Done():
			return context.Cause(ctx)
		}
		at, ok := pull.PlaceOf(m.Reply)
		if !ok {
			if p.Status(m) != pull.GoesOn {
				return fmt.Errorf("%w: the scan's consumer: %s %s", ErrAway, m.Header.Get(hdrStatus), m.Header.Get("Description"))
			}
			continue
		}
		if seq++; at.Consumer != seq {
			return errLost
		}
		p.Took()
		timer.Reset(idleWait)
		it := &encode.Item{Seq: at.Stream}
		it.Message = encode.Message{Subject: m.Subject, Data: m.Data, At: at.At}
		if len(m.Header) > 0 {
			it.Header = m.Header
		}
		if !visit(it) {
			return nil
		}
	}
}

// gone says whether an error of a scan is only that it got no further.
func gone(err error) bool {
	return err == nil || errors.Is(err, errNoProgress) || errors.Is(err, errLost) || errors.Is(err, jsapi.ErrNoConsumer)
}
