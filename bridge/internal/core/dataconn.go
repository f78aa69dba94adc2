package core

import (
	"container/list"
	"context"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"

	"headgate/bridge/internal/conn"
	"headgate/internal/cursor"
	"headgate/internal/flow"
)

// dataConn is one data connection with its topics. Two loops work on it: demux gives messages to the topics, interest talks to
// NATS about subscriptions and looks after what grows old.
type dataConn struct {
	// fixed after newDataConn
	core     *Core
	conn     *conn.Conn
	tag      cursor.Tag
	idPrefix string // of a position with this connection alone
	ch       chan *nats.Msg
	linger   time.Duration
	confirm  time.Duration
	log      *slog.Logger
	losses   losses

	toDemux    signals
	toInterest chan struct{} // something below waits for the interest loop

	mu      sync.Mutex
	nc      *nats.Conn // nil while not connected
	ready   bool       // connected, and all subscriptions are confirmed
	ever    bool       // has been ready
	topics  map[string]*topic
	seq     uint64    // the last arrival number given
	lost    uint64    // as topic.lost, for all topics: raised by each reconnect
	idle    list.List // of idleSince, the longest idle first
	ringed  []*topic  // those with something in their ring
	budget  budget    // of the rings
	pending []*topic  // to be subscribed and confirmed
	deaf    map[*topic]*healing
	healAt  time.Time // no deaf topic is to be tried earlier, but those that wait for room
	room    room
	dead    []*nats.Subscription // to be ended
	refused []string             // subjects the server has refused since the last look
	unnamed unnamed
	up      upState
	ringAge time.Duration // the shortest that a source asked for
	swept   time.Time     // when the rings were last looked at
	stopped bool

	demuxState        // owned by the demux loop
	checked    uint64 // owned by the interest loop: the dial of the last session whose subscriptions it has seen confirmed or refused
	sessions          // where one session with a server ends and the next begins

	progress   atomic.Uint64          // everything up to here has been pushed
	pushing    atomic.Pointer[Source] // the source whose sink is being pushed to
	messages   atomic.Uint64
	bytes      atomic.Uint64
	dropped    atomic.Uint64
	crowded    atomic.Uint64 // messages that left their ring because the budget was used up
	notRelayed atomic.Uint64
}

// upState is a connection that has come back and has not been looked after yet.
type upState struct{ pending, fresh bool }

func newDataConn(c *Core, cfg Config, index int, tag cursor.Tag) *dataConn {
	role := fmt.Sprintf("data-%d", index)
	prefix := (cursor.Position{{Tag: tag}}).String()
	d := &dataConn{
		core: c, tag: tag, idPrefix: prefix[:len(prefix)-1], // without the 0
		ch:     make(chan *nats.Msg, max(cfg.NATS.PendingMsgs, 1)),
		linger: cfg.NATS.TopicLinger, confirm: cfg.NATS.ConfirmTimeout, log: cfg.Log.With("connection", role),
		toDemux: signals{wake: make(chan struct{}, 1)}, toInterest: make(chan struct{}, 1),
		topics: map[string]*topic{}, deaf: map[*topic]*healing{},
	}
	d.losses.log = d.log
	d.conn = conn.New(cfg.NATS, role, cfg.Options,
		conn.Handlers{Dial: d.onDial, Up: d.onUp, Down: d.onDown, Slow: d.onSlow, Refused: d.onRefused}, cfg.Log, cfg.Connections)
	return d
}

// run serves until ctx ends.
func (d *dataConn) run(ctx context.Context) error {
	var wg sync.WaitGroup
	wg.Go(func() { d.demuxLoop(ctx) })
	wg.Go(func() { d.interestLoop(ctx) })
	err := d.conn.Run(ctx)
	wg.Wait()
	return err
}

func (d *dataConn) onUp(nc *nats.Conn, fresh bool) {
	d.mu.Lock()
	d.nc = nc
	d.up = upState{pending: true, fresh: fresh || d.up.fresh}
	d.mu.Unlock()
	d.wakeInterest()
}

func (d *dataConn) onDown() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.nc, d.ready = nil, false
}

func (d *dataConn) onSlow(sub *nats.Subscription) {
	d.toDemux.put(signal{kind: sigSlow, sub: sub})
}

func (d *dataConn) onRefused(op conn.Op, subject string) {
	if op != conn.Subscribe {
		return
	}
	d.mu.Lock()
	if subject == "" {
		d.unnamed.n++
		d.unnamed.dial = d.conn.Dials()
	} else {
		d.refused = append(d.refused, subject)
	}
	d.mu.Unlock()
	d.wakeInterest()
}

// state is that of the connection; it counts as connected when requests can be served on it.
func (d *dataConn) state() conn.State {
	s := d.conn.State()
	d.mu.Lock()
	defer d.mu.Unlock()
	if s.Connected && !d.ready {
		s.Connected, s.Detail = false, "subscriptions are not confirmed yet"
	}
	s.Ever = s.Ever && d.ever
	return s
}

func (d *dataConn) wakeInterest() {
	select {
	case d.toInterest <- struct{}{}:
	default:
	}
}

// acquire finds or makes the topic of a subject and counts the caller in. w is not nil while the topic is not confirmed. Whoever
// got a topic gives it back with release.
func (d *dataConn) acquire(subject string, size int, age time.Duration) (t *topic, w *wait, err error) {
	t, w, err = d.find(subject, size, age)
	if t != nil || err != nil {
		return t, w, err
	}
	if !d.core.reserve(d) {
		return nil, nil, fmt.Errorf("%w: LIMIT_TOPICS is %d", flow.ErrTopics, d.core.limit)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.stopped || !d.ready {
		d.core.topics.Add(-1)
		return nil, nil, flow.ErrUnavailable
	}
	if t := d.topics[subject]; t != nil { // somebody else was quicker
		d.core.topics.Add(-1)
		return d.take(t, size, age)
	}
	t = &topic{subject: subject, refs: 1, wait: &wait{done: make(chan struct{})}}
	d.want(t, size, age)
	d.topics[subject] = t
	d.pending = append(d.pending, t)
	d.wakeInterest()
	return t, t.wait, nil
}

// find is acquire for a topic that exists.
func (d *dataConn) find(subject string, size int, age time.Duration) (*topic, *wait, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.stopped || !d.ready {
		return nil, nil, flow.ErrUnavailable
	}
	t := d.topics[subject]
	if t == nil {
		return nil, nil, nil
	}
	return d.take(t, size, age)
}

// take needs mu.
func (d *dataConn) take(t *topic, size int, age time.Duration) (*topic, *wait, error) {
	if t.deaf {
		return nil, nil, fmt.Errorf("%w: %q", flow.ErrRefused, t.subject)
	}
	if t.idle != nil {
		d.idle.Remove(t.idle)
		t.idle = nil
	}
	t.refs++
	d.want(t, size, age)
	return t, t.wait, nil
}

// want needs mu.
func (d *dataConn) want(t *topic, size int, age time.Duration) {
	t.want(size, age)
	if size > 0 && (d.ringAge == 0 || age < d.ringAge) {
		d.ringAge = age
	}
}

// release gives a topic back. The last one starts its linger.
func (d *dataConn) release(t *topic) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.releaseLocked(t)
}

func (d *dataConn) releaseLocked(t *topic) {
	t.refs--
	if t.refs > 0 || t.removed || t.wait != nil {
		return
	}
	if t.deaf || d.stopped || len(d.room.waiting) > 0 {
		d.remove(t)
		return
	}
	t.idle = d.idle.PushBack(idleSince{t, time.Now()})
}

// remove forgets a topic and leaves its subscription to the interest loop. It needs mu.
func (d *dataConn) remove(t *topic) {
	t.removed = true
	if t.idle != nil {
		d.idle.Remove(t.idle)
		t.idle = nil
	}
	t.clear(&d.budget)
	d.unlist(t)
	delete(d.topics, t.subject)
	d.core.topics.Add(-1)
	d.end(t)
	if h := d.deaf[t]; h != nil {
		if h.sub != nil {
			d.dead = append(d.dead, h.sub)
		}
		delete(d.deaf, t)
	}
}

// end leaves a topic's subscription to the interest loop. It needs mu.
func (d *dataConn) end(t *topic) {
	if t.sub != nil {
		d.dead = append(d.dead, t.sub)
		t.sub = nil
		d.room.next = time.Time{} // there is room for another one
		d.wakeInterest()
	}
}

// evictIdle gives the room of the longest idle topic to the caller.
func (d *dataConn) evictIdle() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	first := d.idle.Front()
	if first == nil {
		return false
	}
	d.remove(first.Value.(idleSince).topic)
	return true
}
