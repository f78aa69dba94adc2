// Package feed reads a stream once for everybody: one consumer per stream and replica, the last messages in memory, and every message
// pushed to those who follow its subject. What a reset, an outage or a purge took away becomes a hole that its followers are told of.
//
// A feed does not know clients: bridge/internal/stream makes their sources of it, and bridge/internal/history reads what is older
// than its tail.
package feed

import (
	"context"
	"hash/maphash"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"headgate/bridge/internal/jsapi"
	"headgate/internal/subject"
)

// Config is what a Feed needs.
type Config struct {
	API     jsapi.API
	Stream  string
	Filters []string // the subjects to read, none covered by another; nil = all of the stream

	// Table makes the feed keep the last message of every subject, as a bucket needs it.
	Table bool
	// Gone says whether a message with this header leaves its subject without a value. nil = none does.
	Gone func(header map[string][]string) bool
	// Begun hears of the configuration that each incarnation has when the feed begins to read it. It must be quick. nil = nobody does.
	Begun func(jetstream.StreamConfig)

	Budget      *Budget       // of memory for what is kept, tail and table together; nil = one of its own, 64 MiB
	PrefillAge  time.Duration // how far back the tail begins at start, within Budget; 0 = it begins empty
	LostAfter   time.Duration // missing for so long, followers are told Lost; 0 = never
	Heartbeat   time.Duration // of an idle consumer, default 1 s: twice that is how long a failover pauses
	VerifyEvery time.Duration // how often the leader is asked whether we have everything, default 5 s

	Inbox          string // prefix of the subject that messages arrive on; "" = the connection's own inboxes
	ConsumerPrefix string // of the consumers' names
	Log            *slog.Logger
	Metrics        *Metrics // nil: none
}

// Feed is the feed of one stream.
type Feed struct {
	// fixed after New
	cfg     Config
	log     *slog.Logger
	metrics streamMetrics
	wake    chan struct{} // the connection has changed, or somebody waits for a stream that is missing
	seed    maphash.Seed  // of keys

	mu       sync.Mutex
	nc       *nats.Conn // nil while not connected
	session  uint64     // raised whenever nc changes or has been away
	ended    bool       // Run has returned
	refusal  string     // the subject of a request that the server has refused; "" = none
	other    *[]string  // filters that the loop is to take; nil = it has taken the last ones
	status              // what State says
	changed  chan struct{}
	tail     tail
	table    *table // nil: not wanted, not loaded, or too large
	loads    int64  // bytes of a table that is being loaded
	keys     *keys  // nil: not wanted, not counted, or too many; what it points to is the loop's
	keysHeld int64  // bytes of keys
	listed   listed
	links    subject.Patterns[*Link]
	all      map[*Link]struct{}

	progress progress // everything up to there has been pushed
	pushing  atomic.Pointer[Link]

	heldTail, heldTable atomic.Int64 // what Budget has been told; changed with mu

	loop // owned by Run
}

// loop is owned by Run.
type loop struct {
	filtered
	epoch    uint64
	newest   mark   // the last message that was taken
	target   target // to be caught up with
	load     *load  // of a table that is being loaded
	reload   bool   // the next session loads the table
	tooLarge bool   // the table does not fit into Budget
	owed     *Hole  // to be told when the table has been loaded, or its keys counted
	counts          // of a bucket without a table
	jumps
	whole    bool // the consumer is given every message of the stream
	verified time.Time
	proof
	print    fingerprint // of the stream, when it was last verified
	gone     time.Time   // missing since; zero = it is not
	goneTold bool        // followers have been told that it is gone
	lostTold bool
	short    int // sessions in a row that ended soon after they began
	stamp    uint64
	matched  []*Link
	complain time.Time
	granted  int64 // of the budget, to the tail at its start
}

// proof is owned by Run.
type proof struct {
	sound     time.Time // the bucket had then what is in the table, or among the keys
	loadedAt  time.Time // a table
	loadTook  time.Duration
	freshened time.Time // followers were last given a fresh state because nothing can be compared
	stale     bool      // the bucket has changed since
	revives   bool      // an older value of a key may come back without a message; then the number of keys proves nothing
}

// counts is owned by Run.
type counts struct {
	recount   bool // the next session counts them
	uncounted bool // they do not fit into Budget
	countOver bool // this session has counted them
	countedAt time.Time
	countTook time.Duration
	check     check
}

// New does no I/O; Run serves.
func New(cfg Config) *Feed {
	if cfg.Heartbeat <= 0 {
		cfg.Heartbeat = time.Second
	}
	if cfg.VerifyEvery <= 0 {
		cfg.VerifyEvery = 5 * time.Second
	}
	if cfg.Budget == nil {
		cfg.Budget = NewBudget(64 << 20)
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if cfg.ConsumerPrefix == "" {
		cfg.ConsumerPrefix = "headgate"
	}
	f := &Feed{cfg: cfg, log: cfg.Log.With("stream", cfg.Stream), metrics: cfg.Metrics.of(cfg.Stream),
		wake: make(chan struct{}, 1), seed: maphash.MakeSeed(), changed: make(chan struct{}), all: map[*Link]struct{}{}}
	f.filtered = asked(cfg.Filters)
	cfg.Budget.join(f)
	return f
}

// Connected is called by the owner of the feed's connection: it is connected, or connected again. The feed begins a new session.
func (f *Feed) Connected(nc *nats.Conn) { f.connection(nc) }

// Disconnected is called when NATS is away. Followers are told nothing: what was missed is read when it is back.
func (f *Feed) Disconnected() { f.connection(nil) }

func (f *Feed) connection(nc *nats.Conn) {
	f.mu.Lock()
	f.nc = nc
	f.session++
	f.mu.Unlock()
	f.ring()
}

// ring wakes the loop where it waits.
func (f *Feed) ring() {
	select {
	case f.wake <- struct{}{}:
	default:
	}
}

func (f *Feed) connected() (*nats.Conn, uint64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.nc, f.session
}

// Run serves until ctx ends. It returns when its consumer is deleted, if NATS can be asked to.
func (f *Feed) Run(ctx context.Context) error {
	defer f.end()
	for ctx.Err() == nil {
		f.refilter()
		nc, number := f.connected()
		if nc == nil {
			select {
			case <-ctx.Done():
			case <-f.wake:
			}
			continue
		}
		began := time.Now()
		why := f.serve(ctx, nc, number)
		if ctx.Err() != nil {
			break
		}
		f.metrics.resets[why].Inc()
		f.log.Debug("feed begins again", "cause", why.String(), "cursor", f.status.Cursor)
		f.pause(ctx, why, time.Since(began))
	}
	return nil
}

// end wakes whoever still waits.
func (f *Feed) end() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.ended = true
	f.tail.clear(0)
	f.table, f.loads, f.keysHeld = nil, 0, 0
	f.list(listed{})
	f.account()
	f.cfg.Budget.leave(f)
	f.tell()
}
