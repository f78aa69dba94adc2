// Package jsapi is the part of the JetStream API that headgate uses, over a connection that it is given: what a stream is like, its
// last message of a subject, consumers. It speaks the wire protocol itself, with the types of nats.go, because the answers that
// decide what a client is told must come from the leader of the stream, and nats.go asks any replica where it may.
//
// Source: https://docs.nats.io/reference/reference-protocols/nats_api_reference; ADR-8, ADR-13 and ADR-31 of
// https://github.com/nats-io/nats-architecture-and-design.
package jsapi

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// What a request fails with, beside the errors of nats.go and of the context.
var (
	ErrNoStream    = errors.New("the stream does not exist")
	ErrNoMessage   = errors.New("no such message")
	ErrNoConsumer  = errors.New("the consumer does not exist")
	ErrUnavailable = errors.New("JetStream does not answer") // no responders: switched off, no leader, or not allowed
	ErrNotEnabled  = errors.New("JetStream is not enabled for the account")
	ErrWorkQueue   = errors.New("the stream is a work queue: its messages are for one consumer, which removes them")
)

// The error codes of nats-server that mean one of the above.
const (
	codeNoStream   = 10059
	codeNoMessage  = 10037
	codeNoConsumer = 10014
	codeNotEnabled = 10039 // for the account
	codeNoneAtAll  = 10076

	// A work queue takes no consumer like ours.
	codeWorkQueuePull  = 10084 // JSConsumerPullRequiresAckErr
	codeWorkQueueAck   = 10098 // JSConsumerWQRequiresExplicitAckErr
	codeWorkQueueMulti = 10099 // JSConsumerWQMultipleUnfilteredErr
	codeWorkQueueTwice = 10100 // JSConsumerWQConsumerNotUniqueErr
	codeWorkQueueAll   = 10101 // JSConsumerWQConsumerNotDeliverAllErr
)

// API is the JetStream API of one account or domain. Its methods may be called from any goroutine, with any connection.
type API struct {
	prefix string // ends with a dot
}

// New is the API of a domain, or with a prefix of its own, or the account's when both are empty.
func New(domain, prefix string) API {
	switch {
	case prefix != "":
		return API{strings.TrimSuffix(prefix, ".") + "."}
	case domain != "":
		return API{"$JS." + domain + ".API."}
	}
	return API{"$JS.API."}
}

// Subject is the subject of a request.
func (a API) Subject(tokens ...string) string { return a.prefix + strings.Join(tokens, ".") }

// Info is what the leader of a stream says about it.
type Info struct {
	Created     time.Time
	FirstSeq    uint64 // of an empty stream: the next sequence
	LastSeq     uint64
	Messages    uint64
	Bytes       uint64
	NumDeleted  int
	NumSubjects uint64
	Config      jetstream.StreamConfig
}

// Info asks the leader of a stream. The error is ErrNoStream, ErrUnavailable, one of nats.go's, or that of ctx.
func (a API) Info(ctx context.Context, nc *nats.Conn, stream string) (Info, error) {
	var r struct {
		jetstream.StreamInfo
		Error *jetstream.APIError `json:"error"`
	}
	if err := a.request(ctx, nc, a.Subject("STREAM.INFO", stream), nil, &r); err != nil {
		return Info{}, err
	}
	if r.Error != nil {
		return Info{}, apiError(r.Error)
	}
	s := r.State
	return Info{Created: r.Created, FirstSeq: s.FirstSeq, LastSeq: s.LastSeq, Messages: s.Msgs, Bytes: s.Bytes, NumDeleted: s.NumDeleted,
		NumSubjects: s.NumSubjects, Config: r.Config}, nil
}

// Names are the streams that store what is published to a subject. Some are left out when there are more than a server lists at once, but
// never all.
func (a API) Names(ctx context.Context, nc *nats.Conn, subject string) ([]string, error) {
	var r struct {
		Streams []string            `json:"streams"`
		Error   *jetstream.APIError `json:"error"`
	}
	if err := a.request(ctx, nc, a.Subject("STREAM.NAMES"), map[string]any{"subject": subject}, &r); err != nil {
		return nil, err
	}
	if r.Error != nil {
		return nil, apiError(r.Error)
	}
	return r.Streams, nil
}

// Stored is one message of a stream.
type Stored struct {
	Subject string    `json:"subject"`
	Seq     uint64    `json:"seq"`
	Data    []byte    `json:"data"`
	Header  []byte    `json:"hdrs"`
	Time    time.Time `json:"time"`
}

// Last asks the leader for the last message whose subject matches. The error is ErrNoMessage when there is none.
func (a API) Last(ctx context.Context, nc *nats.Conn, stream, filter string) (Stored, error) {
	m, err := a.get(ctx, nc, stream, map[string]any{"last_by_subj": filter})
	if filter != ">" || !errors.Is(err, ErrNoMessage) {
		return m, err
	}
	// For > the server looks at the last sequence alone (LoadLastMsg), and says that there is no message when that one was deleted.
	// These two mean the same, and make it search.
	for _, part := range [...]string{"*", "*.>"} {
		switch p, partErr := a.get(ctx, nc, stream, map[string]any{"last_by_subj": part}); {
		case partErr == nil && p.Seq >= m.Seq:
			m, err = p, nil
		case partErr != nil && !errors.Is(partErr, ErrNoMessage):
			return Stored{}, partErr
		}
	}
	return m, err
}

// Next asks the leader for the first message from seq on whose subject matches. The error is ErrNoMessage when there is none.
func (a API) Next(ctx context.Context, nc *nats.Conn, stream, filter string, seq uint64) (Stored, error) {
	return a.get(ctx, nc, stream, map[string]any{"next_by_subj": filter, "seq": max(seq, 1)})
}

func (a API) get(ctx context.Context, nc *nats.Conn, stream string, ask map[string]any) (Stored, error) {
	var r struct {
		Message *Stored             `json:"message"`
		Error   *jetstream.APIError `json:"error"`
	}
	if err := a.request(ctx, nc, a.Subject("STREAM.MSG.GET", stream), ask, &r); err != nil {
		return Stored{}, err
	}
	if r.Error != nil {
		return Stored{}, apiError(r.Error)
	}
	if r.Message == nil {
		return Stored{}, ErrNoMessage
	}
	return *r.Message, nil
}

// CreateStream makes a stream.
func (a API) CreateStream(ctx context.Context, nc *nats.Conn, cfg jetstream.StreamConfig) error {
	var r struct {
		Error *jetstream.APIError `json:"error"`
	}
	if err := a.request(ctx, nc, a.Subject("STREAM.CREATE", cfg.Name), cfg, &r); err != nil {
		return err
	}
	if r.Error != nil {
		return apiError(r.Error)
	}
	return nil
}

// CreateConsumer makes a consumer. cfg.Name must be set.
func (a API) CreateConsumer(ctx context.Context, nc *nats.Conn, stream string, cfg jetstream.ConsumerConfig) (jetstream.ConsumerInfo, error) {
	subj := a.Subject("CONSUMER.CREATE", stream, cfg.Name)
	if cfg.FilterSubject != "" {
		subj += "." + cfg.FilterSubject // so that permissions can pin it
	}
	var r struct {
		jetstream.ConsumerInfo
		Error *jetstream.APIError `json:"error"`
	}
	ask := map[string]any{"stream_name": stream, "config": cfg, "action": "create"}
	if err := a.request(ctx, nc, subj, ask, &r); err != nil {
		return jetstream.ConsumerInfo{}, err
	}
	if r.Error != nil {
		return jetstream.ConsumerInfo{}, apiError(r.Error)
	}
	return r.ConsumerInfo, nil
}

// DeleteConsumer removes a consumer. One that does not exist is no error.
func (a API) DeleteConsumer(ctx context.Context, nc *nats.Conn, stream, name string) error {
	var r struct {
		Error *jetstream.APIError `json:"error"`
	}
	if err := a.request(ctx, nc, a.Subject("CONSUMER.DELETE", stream, name), nil, &r); err != nil {
		return err
	}
	if r.Error != nil {
		if err := apiError(r.Error); !errors.Is(err, ErrNoConsumer) && !errors.Is(err, ErrNoStream) {
			return err
		}
	}
	return nil
}

func (a API) request(ctx context.Context, nc *nats.Conn, subj string, ask, answer any) error {
	var body []byte
	if ask != nil {
		var err error
		if body, err = json.Marshal(ask); err != nil {
			return err
		}
	}
	m, err := nc.RequestWithContext(ctx, subj, body)
	if errors.Is(err, nats.ErrNoResponders) {
		return fmt.Errorf("%w: %s", ErrUnavailable, subj)
	}
	if err != nil {
		return fmt.Errorf("%s: %w", subj, err)
	}
	if err := json.Unmarshal(m.Data, answer); err != nil {
		return fmt.Errorf("%s: %w", subj, err)
	}
	return nil
}

func apiError(e *jetstream.APIError) error {
	switch e.ErrorCode {
	case codeNoStream:
		return ErrNoStream
	case codeNoMessage:
		return ErrNoMessage
	case codeNoConsumer:
		return ErrNoConsumer
	case codeNotEnabled, codeNoneAtAll:
		return ErrNotEnabled
	case codeWorkQueuePull, codeWorkQueueAck, codeWorkQueueMulti, codeWorkQueueTwice, codeWorkQueueAll:
		return ErrWorkQueue
	}
	return e
}
