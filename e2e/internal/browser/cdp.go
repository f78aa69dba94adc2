package browser

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"

	"github.com/coder/websocket"
)

const maxMessage = 64 << 20 // a screenshot is one message

// connection speaks the Chrome DevTools Protocol with one browser: numbered calls, answers, and events of the attached pages.
type connection struct {
	ws *websocket.Conn

	mu      sync.Mutex
	next    int64
	calls   map[int64]chan message
	onEvent map[string]func(method string, params json.RawMessage) // by session
	err     error                                                  // set when the connection has ended
}

// message is every message of the protocol: a call, an answer or an event.
type message struct {
	ID        int64           `json:"id,omitempty"`
	SessionID string          `json:"sessionId,omitempty"`
	Method    string          `json:"method,omitempty"`
	Params    json.RawMessage `json:"params,omitempty"`
	Result    json.RawMessage `json:"result,omitempty"`
	Error     *struct {
		Message string `json:"message"`
	} `json:"error,omitempty"`
}

func dial(ctx context.Context, url string) (*connection, error) {
	ws, _, err := websocket.Dial(ctx, url, nil)
	if err != nil {
		return nil, fmt.Errorf("connect to the browser: %w", err)
	}
	ws.SetReadLimit(maxMessage)
	c := &connection{ws: ws, calls: map[int64]chan message{}, onEvent: map[string]func(string, json.RawMessage){}}
	go c.read()
	return c, nil
}

// read runs until the connection ends. A call that waits then gets an error.
func (c *connection) read() {
	for {
		_, data, err := c.ws.Read(context.Background()) // ends with the browser, or by close
		if err != nil {
			c.fail(fmt.Errorf("connection to the browser: %w", err))
			return
		}
		var m message
		if json.Unmarshal(data, &m) != nil {
			continue
		}
		c.mu.Lock()
		answer := c.calls[m.ID]
		delete(c.calls, m.ID)
		event := c.onEvent[m.SessionID]
		c.mu.Unlock()
		switch {
		case m.ID != 0 && answer != nil:
			answer <- m
		case m.Method != "" && event != nil:
			event(m.Method, m.Params)
		}
	}
}

func (c *connection) fail(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.err = err
	for id, answer := range c.calls {
		close(answer)
		delete(c.calls, id)
	}
}

// listen makes f get the events of a session. It is called from one goroutine and must be quick.
func (c *connection) listen(session string, f func(method string, params json.RawMessage)) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.onEvent[session] = f
}

// call makes a call and puts its result into out, unless that is nil.
func (c *connection) call(ctx context.Context, session, method string, params, out any) error {
	raw, err := json.Marshal(params)
	if err != nil {
		return err
	}
	answer := make(chan message, 1)
	c.mu.Lock()
	if c.err != nil {
		defer c.mu.Unlock()
		return c.err
	}
	c.next++
	m := message{ID: c.next, SessionID: session, Method: method, Params: raw}
	c.calls[m.ID] = answer
	c.mu.Unlock()

	text, err := json.Marshal(m)
	if err != nil {
		return err
	}
	if err := c.ws.Write(ctx, websocket.MessageText, text); err != nil {
		return fmt.Errorf("%s: %w", method, err)
	}
	select {
	case a, ok := <-answer:
		switch {
		case !ok:
			return fmt.Errorf("%s: %w", method, errors.New("the browser has gone"))
		case a.Error != nil:
			return fmt.Errorf("%s: %s", method, a.Error.Message)
		case out == nil:
			return nil
		}
		return json.Unmarshal(a.Result, out)
	case <-ctx.Done():
		return fmt.Errorf("%s: %w", method, ctx.Err())
	}
}
