package bridge

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"sync"

	"github.com/nats-io/nats.go"

	"headgate/internal/flow"
)

// firstStreamError is where the error codes of JetStream begin. Other services have errors of their own.
const firstStreamError = 10000

// acks are the answers of streams to publishes. They come to one subscription of an inbox, each to a subject of its own.
type acks struct {
	mu      sync.Mutex
	nc      *nats.Conn // of the inbox
	inbox   string
	next    uint64
	waiting map[string]chan<- stowed // by the last token of the subject; each of size one
}

// stowed is what became of a message.
type stowed struct {
	ack    flow.Ack
	err    error
	nobody bool // nobody has had it
}

// open subscribes to the inbox, once for each connection.
func (a *acks) open(nc *nats.Conn) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.nc == nc {
		return nil
	}
	inbox := nc.NewInbox()
	if _, err := nc.Subscribe(inbox+".*", a.take); err != nil { // waits for nobody: it only writes into a buffer
		return err
	}
	a.nc, a.inbox = nc, inbox
	return nil
}

// expect gives a subject for the answer, and where it is told. end is called when nobody waits for it any more.
func (a *acks) expect() (reply string, told <-chan stowed, end func()) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.next++
	token := strconv.FormatUint(a.next, 36)
	c := make(chan stowed, 1)
	if a.waiting == nil {
		a.waiting = map[string]chan<- stowed{}
	}
	a.waiting[token] = c
	return a.inbox + "." + token, c, func() {
		a.mu.Lock()
		defer a.mu.Unlock()
		delete(a.waiting, token)
	}
}

// Disconnected tells everybody that no answer will come.
func (a *acks) Disconnected() {
	a.mu.Lock()
	defer a.mu.Unlock()
	for token, c := range a.waiting {
		c <- stowed{err: fmt.Errorf("bridge: publish: %w: the connection was lost", flow.ErrUnconfirmed)} // has room for its one answer
		delete(a.waiting, token)
	}
}

// take hears what comes to the inbox. Whatever no stream says is of somebody else who listens to the same subject.
func (a *acks) take(m *nats.Msg) {
	s, ok := parseAck(m)
	if !ok {
		return
	}
	token := m.Subject[strings.LastIndexByte(m.Subject, '.')+1:]
	a.mu.Lock()
	defer a.mu.Unlock()
	if c := a.waiting[token]; c != nil {
		c <- s // has room for its one answer
		delete(a.waiting, token)
	}
}

// parseAck reads the word of a stream (nats-server, JSPubAckResponse), or of a server that found nobody for the message.
func parseAck(m *nats.Msg) (stowed, bool) {
	if len(m.Data) == 0 {
		return stowed{nobody: true}, m.Header.Get("Status") == "503"
	}
	var r struct {
		Stream string `json:"stream"`
		Seq    uint64 `json:"seq"`
		Error  *struct {
			ErrorCode   int    `json:"err_code"`
			Description string `json:"description"`
		} `json:"error"`
	}
	if json.Unmarshal(m.Data, &r) != nil {
		return stowed{}, false
	}
	if r.Error != nil {
		return stowed{err: fmt.Errorf("bridge: publish: %w: %s", flow.ErrNotStored, r.Error.Description)}, r.Error.ErrorCode >= firstStreamError
	}
	return stowed{ack: flow.Ack{Stream: r.Stream, Seq: r.Seq}}, r.Stream != "" && r.Seq > 0
}
