// Package conn keeps connections to NATS: one per role, for as long as the process runs, whatever happens to NATS meanwhile.
package conn

import (
	"context"
	"errors"
	"log/slog"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"

	"headgate/internal/config"
)

const (
	redialWait   = time.Second            // after nats.go gave a connection up; doubled at random
	lameDuckWait = 5 * time.Second        // a server that is about to stop is left within this time, at random
	closeWait    = 5 * time.Second        // how long nats.go may take to end its goroutines
	catchUpWait  = 100 * time.Millisecond // how long Flush waits for the asynchronous errors that came before its answer
	quietWait    = 50 * time.Millisecond  // the same for errors that cannot be told apart: after the last of them
)

// Handlers are told what happens to a connection. Dial is called where it happens, the others later and in order, by a goroutine of
// nats.go, and must not block. Those left nil are not called.
type Handlers struct {
	// Dial: before each attempt to connect, once there has been a connection. All messages received until now have been handed over,
	// and there will be none before it returns; it may wait for a moment. dial numbers the attempts, received is how many messages
	// the present nats.Conn has ever had.
	Dial func(dial, received uint64)
	// Up: connected or reconnected. fresh means that nc is a new one, without the subscriptions of the last.
	Up func(nc *nats.Conn, fresh bool)
	// Down: not connected any more. Up follows when it is again.
	Down func()
	// Slow: messages of this subscription were lost because its channel was full.
	Slow func(*nats.Subscription)
	// Refused: the server refused a subscription to the subject, or a publish to it. An empty subject stands for a subscription
	// of which the server did not say which one it is.
	Refused func(op Op, subject string)
}

// Conn is one connection.
type Conn struct {
	// fixed after New
	role     string
	cfg      config.NATS
	servers  string // of NATS_URL, without secrets
	opts     []nats.Option
	handlers Handlers
	log      *slog.Logger
	redact   *Redactor
	metrics  *metrics

	dials atomic.Uint64 // attempts to connect

	mu      sync.Mutex
	nc      *nats.Conn // the last that was connected
	trying  *nats.Conn // the present one, connected or not; nil until nats.Connect has returned it
	state   State
	closed  chan struct{} // of the present nats.Conn; closed by its last callback
	fresh   bool          // the next Up is the first of its nats.Conn
	handled error         // the last asynchronous error that the handlers have been told
	waiters []chan struct{}
	duck    *time.Timer
	leaving bool // we close it ourselves
	failed  throttle
	errored throttle

	dialed     string     // the server that was dialled last
	dialFailed *dialError // the last, since there was a connection
}

// State is the state of a connection.
type State struct {
	Connected bool
	Since     time.Time // of the present state
	Ever      bool      // has been connected
	Detail    string    // the last error, without secrets
	Remedy    string    // what can be done about the last attempt to connect that failed; "" = none has
}

// New makes a connection that Run connects. opts are those of Options.
func New(cfg config.NATS, role string, opts []nats.Option, h Handlers, log *slog.Logger, m *Metrics) *Conn {
	c := &Conn{role: role, cfg: cfg, handlers: h, log: log.With("connection", role), redact: NewRedactor(cfg),
		metrics: m.role(role), state: State{Since: time.Now(), Detail: "not connected yet"}}
	c.servers = c.redact.Text(hostPorts(cfg.URL))
	c.opts = append(append([]nats.Option{}, opts...),
		nats.Name(cfg.Name+" "+role),
		nats.SetCustomDialer(dialer{c}),
		nats.SkipHostLookup(), // the dialer does it
		nats.CustomReconnectDelay(c.delay),
		c.learn,
		nats.ConnectHandler(c.onUp),
		nats.ReconnectHandler(c.onUp),
		nats.DisconnectErrHandler(c.onDown),
		nats.ReconnectErrHandler(c.onFailed),
		nats.ErrorHandler(c.onError),
		nats.LameDuckModeHandler(c.onLameDuck),
		nats.ClosedHandler(c.onClosed),
	)
	return c
}

// Role is the name of the connection.
func (c *Conn) Role() string { return c.role }

// State is what it is at now.
func (c *Conn) State() State {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.state
}

// learn makes the redactor know what is sent to prove who we are, since a file may bring another secret at each connect.
func (c *Conn) learn(o *nats.Options) error {
	if ask := o.UserInfo; ask != nil {
		o.UserInfo = func() (string, string) {
			user, password := ask()
			c.redact.Learn(password)
			return user, password
		}
	}
	if ask := o.TokenHandler; ask != nil {
		o.TokenHandler = func() string {
			token := ask()
			c.redact.Learn(token)
			return token
		}
	}
	if ask := o.UserJWT; ask != nil {
		o.UserJWT = func() (string, error) {
			jwt, err := ask()
			c.redact.Learn(jwt)
			return jwt, err
		}
	}
	return nil
}

// Run connects and stays connected until ctx ends. It returns when nats.go has ended everything it started.
func (c *Conn) Run(ctx context.Context) error {
	for ctx.Err() == nil {
		closed := make(chan struct{})
		c.mu.Lock()
		c.closed, c.fresh, c.trying = closed, true, nil
		c.mu.Unlock()
		nc, err := nats.Connect(c.cfg.URL, c.opts...)
		if err != nil {
			c.onFailed(nil, err)
		} else {
			c.mu.Lock()
			c.trying = nc
			c.mu.Unlock()
			select {
			case <-ctx.Done():
				c.close(nc, closed)
				return nil
			case <-closed:
				c.log.Warn("the NATS client gave its connection up; headgate makes a new one and subscribes again",
					"cause", c.State().Detail, "within", 2*redialWait)
			}
		}
		select {
		case <-ctx.Done():
		case <-time.After(redialWait + rand.N(redialWait)):
		}
	}
	return nil
}

func (c *Conn) close(nc *nats.Conn, closed <-chan struct{}) {
	c.mu.Lock()
	c.leaving = true
	if c.duck != nil {
		c.duck.Stop()
	}
	c.mu.Unlock()
	nc.Close()
	select {
	case <-closed:
	case <-time.After(closeWait):
		c.log.Error("the NATS connection did not close in time; headgate stops without it", "after", closeWait)
	}
}

// Dials is the number of the last attempt to connect.
func (c *Conn) Dials() uint64 { return c.dials.Load() }

// Flush returns nil when the server has processed everything that was sent on nc before, and the handlers have been told of
// everything it refused among that.
func (c *Conn) Flush(nc *nats.Conn, timeout time.Duration) error {
	c.metrics.flushes.Inc()
	if !nc.IsConnected() {
		return nats.ErrDisconnected // FlushTimeout would wait for a server that is not there
	}
	if err := nc.FlushTimeout(timeout); err != nil {
		return c.redact.Err(err)
	}
	c.catchUp(nc, timeout)
	return nil
}

// catchUp waits until the handlers have been told the last error. The server answers a refused SUB or PUB before the PING behind
// it, so nats.go has queued that error for its callback before Flush returns, but the callback runs on its own goroutine.
//
// All refusals for want of room are one and the same error value. When that is the last, nobody can say whether the one that the
// handlers were told is this one or an earlier one, so the callbacks get time until they have been quiet for a while.
func (c *Conn) catchUp(nc *nats.Conn, timeout time.Duration) {
	last := nc.LastError()
	if last == nil {
		return
	}
	alike := last == nats.ErrMaxSubscriptionsExceeded
	for end := time.Now().Add(timeout); time.Now().Before(end); {
		told, another := c.told(last)
		if told && !alike {
			return
		}
		patience := catchUpWait
		if told {
			patience = quietWait
		}
		select {
		case <-another:
		case <-time.After(patience):
			return
		}
	}
}

// told says whether the handlers have been told an error last, and gives a channel that is closed when they are told another.
func (c *Conn) told(err error) (told bool, another <-chan struct{}) {
	c.mu.Lock()
	defer c.mu.Unlock()
	wait := make(chan struct{})
	c.waiters = append(c.waiters, wait)
	return c.handled == err, wait
}

// Redact takes secrets out of an error of nats.go.
func (c *Conn) Redact(err error) error { return c.redact.Err(err) }

// IsAway says whether an error means that NATS is not connected.
func IsAway(err error) bool {
	for _, away := range []error{nats.ErrDisconnected, nats.ErrConnectionClosed, nats.ErrConnectionReconnecting,
		nats.ErrReconnectBufExceeded, nats.ErrNoServers, nats.ErrConnectionDraining, nats.ErrStaleConnection} {
		if errors.Is(err, away) {
			return true
		}
	}
	return false
}
