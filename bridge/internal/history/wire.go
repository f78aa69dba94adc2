package history

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"

	"headgate/bridge/internal/encode"
	"headgate/bridge/internal/jsapi"
)

// The headers of a direct get's answers (ADR-31). They come behind the message's own.
const (
	hdrSubject  = "Nats-Subject"
	hdrSeq      = "Nats-Sequence"
	hdrTime     = "Nats-Time-Stamp"
	hdrStream   = "Nats-Stream"
	hdrPending  = "Nats-Num-Pending"
	hdrPrevious = "Nats-Last-Sequence"
	hdrUpTo     = "Nats-UpTo-Sequence"
	hdrStatus   = "Status"
)

// errLost says that the answer arrived with a hole: the channel was full. Asking again helps.
var errLost = errors.New("part of an answer was lost")

// errNoDirect says that nobody serves direct gets of the stream, or not us, or that a mirror answers in its place. A mirror keeps what was
// deleted or purged from the stream, and where it has mirror_direct, which the server may set by itself, any answer can be its own.
var errNoDirect = errors.New("no direct gets")

// ask is a direct get (ADR-31).
type ask struct {
	Seq       uint64     `json:"seq,omitempty"`
	NextFor   string     `json:"next_by_subj,omitempty"`
	Batch     int        `json:"batch,omitempty"`
	MaxBytes  int        `json:"max_bytes,omitempty"`
	StartTime *time.Time `json:"start_time,omitempty"`
	MultiLast []string   `json:"multi_last,omitempty"`
	UpToSeq   uint64     `json:"up_to_seq,omitempty"`
}

// got is the answer.
type got struct {
	items   []*encode.Item
	status  int    // 204: the end of a batch; 404: no match at all; 413: too many
	pending uint64 // what matched behind, as the replica that answered sees it
	upTo    uint64 // of multi_last: the sequence that the answer is a snapshot of
}

// replies takes the answers of all direct gets in flight from one subscription.
type replies struct {
	ch chan *nats.Msg // larger than everything that can be on its way

	mu    sync.Mutex
	next  uint64
	calls map[string]*call
}

// call is a direct get in flight.
type call struct {
	stream   string
	messages []*nats.Msg   // owned by the loop until done is closed
	refused  bool          // guarded by mu until done is closed
	done     chan struct{} // the last message is there, or the server has refused the request
}

func (r *replies) init(parallel int) {
	r.ch = make(chan *nats.Msg, parallel*(passMessages+64))
	r.calls = map[string]*call{}
}

func (r *replies) begin(stream string) (string, *call) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.next++
	token := strconv.FormatUint(r.next, 36)
	k := &call{stream: stream, done: make(chan struct{})}
	r.calls[token] = k
	return token, k
}

func (r *replies) end(token string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.calls, token)
}

// refuse ends the calls about a stream.
func (r *replies) refuse(stream string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for token, k := range r.calls {
		if k.stream == stream {
			k.refused = true
			delete(r.calls, token)
			close(k.done)
		}
	}
}

// loop gives each message to its call. Those of a call that has ended are dropped.
func (r *replies) loop(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case m := <-r.ch:
			r.give(m)
		}
	}
}

func (r *replies) give(m *nats.Msg) {
	token := m.Subject[strings.LastIndexByte(m.Subject, '.')+1:]
	r.mu.Lock()
	defer r.mu.Unlock()
	k := r.calls[token]
	if k == nil {
		return
	}
	k.messages = append(k.messages, m)
	if status(m) != 0 {
		delete(r.calls, token)
		close(k.done)
	}
}

// status is that of an answer without a message. Publishers may write a Status header too; only messages have a sequence.
func status(m *nats.Msg) int {
	if m.Header.Get(hdrSeq) != "" {
		return 0
	}
	n, err := strconv.Atoi(m.Header.Get(hdrStatus))
	if err != nil {
		return 400 // nothing that ADR-31 knows: it ends the call
	}
	return n
}

// Refused is called by the owner of the connection: the server has refused a request to the subject. A direct get has no other answer;
// there are other ways to read.
func (c *Coordinator) Refused(subj string) {
	if _, stream, found := strings.Cut(subj, "DIRECT.GET."); found {
		c.replies.refuse(stream)
	}
}

// directGet asks any replica. Every ask must be a batch or multi_last, whose answers have an end.
func (c *Coordinator) directGet(ctx context.Context, nc *nats.Conn, stream string, a ask) (got, error) {
	c.m.gets.Inc()
	body, err := json.Marshal(a)
	if err != nil {
		return got{}, err
	}
	token, k := c.replies.begin(stream)
	defer c.replies.end(token)
	if err := nc.PublishRequest(c.api.Subject("DIRECT.GET", stream), c.inbox+token, body); err != nil {
		return got{}, err
	}
	timer := time.NewTimer(answerWait)
	defer timer.Stop()
	select {
	case <-k.done:
		if k.refused {
			return got{}, errNoDirect
		}
		return parse(stream, k.messages)
	case <-ctx.Done():
		return got{}, context.Cause(ctx)
	case <-timer.C:
		return got{}, fmt.Errorf("%w: direct get of %s", ErrAway, stream)
	}
}

// parse reads the messages of a call. Each names the one before it, so that a hole shows, and the stream that it is from.
func parse(stream string, messages []*nats.Msg) (got, error) {
	var g got
	var before uint64
	for _, m := range messages {
		previous := number(m.Header, hdrPrevious)
		g.status = status(m)
		switch g.status {
		case 0:
		case 204:
			g.pending, g.upTo = number(m.Header, hdrPending), number(m.Header, hdrUpTo)
			if previous != before {
				return got{}, errLost
			}
			return g, nil
		case 404, 413:
			return g, nil
		case 503:
			return got{}, errNoDirect
		default:
			return got{}, fmt.Errorf("direct get: %d %s", g.status, m.Header.Get("Description"))
		}
		if last(m.Header, hdrStream) != stream {
			return got{}, errNoDirect
		}
		it, err := itemOf(m)
		if err != nil {
			return got{}, err
		}
		if previous != before {
			return got{}, errLost
		}
		before = it.Seq
		g.items = append(g.items, it)
	}
	return got{}, errLost
}

func itemOf(m *nats.Msg) (*encode.Item, error) {
	at, err := time.Parse(time.RFC3339Nano, last(m.Header, hdrTime))
	if err != nil {
		return nil, fmt.Errorf("direct get: %s: %w", hdrTime, err)
	}
	it := &encode.Item{Seq: number(m.Header, hdrSeq)}
	it.Message = encode.Message{Subject: last(m.Header, hdrSubject), Data: m.Data, At: at.UnixNano()}
	for _, k := range [...]string{hdrSubject, hdrSeq, hdrTime, hdrStream, hdrPending, hdrPrevious} {
		switch v := m.Header[k]; {
		case len(v) > 1: // the message has one of its own
			m.Header[k] = v[:len(v)-1]
		default:
			delete(m.Header, k)
		}
	}
	if len(m.Header) > 0 {
		it.Header = m.Header
	}
	return it, nil
}

// last is what the server wrote: its headers come behind the message's own.
func last(h nats.Header, key string) string {
	v := h[key]
	if len(v) == 0 {
		return ""
	}
	return v[len(v)-1]
}

func number(h nats.Header, key string) uint64 {
	n, _ := strconv.ParseUint(last(h, key), 10, 64)
	return n
}

// stored makes the item of a message that the leader gave.
func stored(m jsapi.Stored) (*encode.Item, error) {
	it := &encode.Item{Seq: m.Seq}
	it.Message = encode.Message{Subject: m.Subject, Data: m.Data, At: m.Time.UnixNano()}
	if len(m.Header) > 0 {
		h, err := nats.DecodeHeadersMsg(m.Header)
		if err != nil {
			return nil, err
		}
		if len(h) > 0 {
			it.Header = h
		}
	}
	return it, nil
}
