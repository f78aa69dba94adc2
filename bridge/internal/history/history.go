// Package history reads what a stream had before a feed's tail in memory begins. Requests wait in one queue, fair between users; equal
// ones are served by one read, and many topics of one stream by one shared scan, so that the work on the server depends on how much
// there is to read and not on how many clients ask. Nothing is kept on the server for a client.
//
// An answer never says more than is proven. Any replica may answer a read, and may lag; so a range counts as complete when the read
// delivered a message behind it, or the last one that the leader of the stream knows.
package history

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"hash/maphash"
	"log/slog"
	"sync"
	"time"

	"github.com/nats-io/nats.go"

	"headgate/bridge/internal/jsapi"
)

// What an answer fails with, beside the errors of jsapi.
var (
	ErrReset    = errors.New("the stream is another one than the positions are of")
	ErrAway     = errors.New("NATS is away, or does not answer in time")
	ErrBusy     = errors.New("too many reads are waiting")
	ErrTooLarge = errors.New("too much for one answer")
	ErrCrowded  = errors.New("no room for the answer at present")
	ErrRewound  = errors.New("the stream ends before the range that was asked for")
)

const (
	maxWaiting = 100_000          // requests in the queue
	patience   = 30 * time.Second // how long a request waits for its answer
	answerWait = 5 * time.Second  // for one answer of NATS
	fresh      = time.Second      // how old an answer of the leader may be
)

// Config is what a Coordinator needs.
type Config struct {
	API            jsapi.API
	Parallel       int    // reads in flight; 0 = 4. Direct gets run in the server's read loop, more of them stall it
	StateSubjects  int    // how many a LastPerSubject reads; 0 = 100,000
	CacheBytes     int64  // memory of what has been read and may be asked for again; 0 = 32 MiB
	Inbox          string // prefix of the subjects answers come to; "" = _INBOX
	ConsumerPrefix string // of the names of scan consumers; "" = headgate-scan
	Log            *slog.Logger
	Metrics        *Metrics // nil: none
}

// Coordinator serves the reads of one account. Its methods may be called from any goroutine.
type Coordinator struct {
	// fixed after New
	api      jsapi.API
	parallel int
	most     int    // subjects of one LastPerSubject
	inbox    string // ends with a dot
	prefix   string
	log      *slog.Logger
	m        *Metrics
	seed     maphash.Seed // of hashes of subjects
	replies  replies
	leader   leader
	costs    costs
	wake     chan struct{} // there is something to pick

	mu         sync.Mutex
	stopped    bool
	session    *session // nil while NATS is away
	streams    map[string]*stream
	queue      queue
	lists      lists
	waiting    int // requests not answered
	cache      cache
	operations map[string]*read // not answered, that equal ones may join
}

// session is one time of being connected. What runs in it ends with it.
type session struct {
	nc  *nats.Conn
	sub *nats.Subscription
	ctx context.Context
	end context.CancelCauseFunc
}

// New does no I/O. The connection comes with Connected.
func New(cfg Config) *Coordinator {
	c := &Coordinator{
		api: cfg.API, parallel: cfg.Parallel, most: cmp.Or(cfg.StateSubjects, mostSubjects), log: cfg.Log, m: cfg.Metrics,
		inbox:   nats.NewInbox() + ".",
		prefix:  cmp.Or(cfg.ConsumerPrefix, "headgate-scan"),
		wake:    make(chan struct{}, 1),
		seed:    maphash.MakeSeed(),
		streams: map[string]*stream{},
	}
	if c.parallel <= 0 {
		c.parallel = 4
	}
	if cfg.Inbox != "" {
		c.inbox = cfg.Inbox + c.inbox[len(nats.InboxPrefix)-1:]
	}
	if c.log == nil {
		c.log = slog.New(slog.DiscardHandler)
	}
	if c.m == nil {
		c.m = NewMetrics(nil)
	}
	c.cache.limit = cmp.Or(max(cfg.CacheBytes, 0), 32<<20)
	c.operations = map[string]*read{}
	c.queue.users = map[string]*user{}
	c.replies.init(c.parallel)
	c.leader.init()
	c.costs.init()
	return c
}

// Run serves until ctx ends. Then it answers everything that waits, and returns when all it started is gone.
func (c *Coordinator) Run(ctx context.Context) error {
	var wg sync.WaitGroup
	replying, stop := context.WithCancel(context.Background())
	var mux sync.WaitGroup
	mux.Go(func() { c.replies.loop(replying) })
	wg.Go(func() { c.keep(ctx) })
	for range c.parallel {
		wg.Go(func() { c.work(ctx) })
	}
	<-ctx.Done()
	c.mu.Lock()
	c.stopped = true
	c.mu.Unlock()
	c.Disconnected()
	wg.Wait()
	stop()
	mux.Wait()
	return nil
}

// Connected gives the connection, after each time it was established. It is the coordinator's own: direct gets keep its read loop busy.
func (c *Coordinator) Connected(nc *nats.Conn) {
	ctx, end := context.WithCancelCause(context.Background())
	s := &session{nc: nc, ctx: ctx, end: end}
	sub, err := nc.ChanSubscribe(c.inbox+"*", c.replies.ch)
	if err != nil {
		c.log.Error("history cannot subscribe to its answers", "error", err)
		end(ErrAway)
		return
	}
	s.sub = sub
	c.mu.Lock()
	old := c.session
	if c.stopped {
		old, s = s, nil
	}
	c.session = s
	c.mu.Unlock()
	old.close()
	c.signal(c.wake)
}

// Disconnected says that NATS is away. What is being read, and what waits, is answered with ErrAway.
func (c *Coordinator) Disconnected() {
	c.mu.Lock()
	old := c.session
	c.session = nil
	failed := c.takeAll()
	c.mu.Unlock()
	old.close()
	for _, r := range failed {
		c.answer(r, Answer{Err: ErrAway})
	}
}

func (s *session) close() {
	if s == nil {
		return
	}
	s.end(ErrAway)
	_ = s.sub.Unsubscribe() // of a closed connection it fails, and there is nothing to end
}

func (c *Coordinator) signal(ch chan struct{}) {
	select {
	case ch <- struct{}{}:
	default:
	}
}

// work serves jobs, one at a time.
func (c *Coordinator) work(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-c.wake:
		}
		for ctx.Err() == nil {
			run := c.pick()
			if run == nil {
				break
			}
			c.signal(c.wake) // another worker may take what else waits
			run()
		}
	}
}

// keep looks after what grows old: requests past their patience, and what has been read and is not asked for again.
func (c *Coordinator) keep(ctx context.Context) {
	ticker := time.NewTicker(time.Second)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		now := time.Now()
		c.leader.forget(now)
		c.mu.Lock()
		late := c.overdue(now)
		c.expire(now)
		c.mu.Unlock()
		for _, r := range late {
			c.answer(r, Answer{Err: ErrAway})
		}
	}
}

// away turns what ended a request to NATS into what its caller is told.
func away(err error) error {
	switch {
	case err == nil, errors.Is(err, ErrReset), errors.Is(err, ErrRewound), errors.Is(err, ErrTooLarge), errors.Is(err, ErrCrowded),
		errors.Is(err, jsapi.ErrNoStream), errors.Is(err, ErrAway):
		return err
	}
	return fmt.Errorf("%w: %w", ErrAway, err)
}
