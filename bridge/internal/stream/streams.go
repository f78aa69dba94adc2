// Package stream makes sources of JetStream streams and Key-Value buckets: it judges a client's position, gives it its initial state
// and what it missed, from memory or from history, and follows the feed. One feed per stream serves everybody; nothing is kept on
// the NATS side for a client.
package stream

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/time/rate"

	"headgate/bridge/internal/conn"
	"headgate/bridge/internal/encode"
	"headgate/bridge/internal/feed"
	"headgate/bridge/internal/history"
	"headgate/bridge/internal/jsapi"
	"headgate/bridge/internal/kv"
	"headgate/internal/config"
	"headgate/internal/flow"
	"headgate/internal/gap"
	"headgate/internal/subject"
)

// Want is a stream or bucket that routes read, and of it what.
type Want struct {
	Name    string // of the stream, or of the bucket
	Bucket  bool
	Filters []string // subjects, or keys, with wildcards
}

// Config is what Streams need.
type Config struct {
	NATS        config.NATS
	JetStream   config.JetStream
	Options     []nats.Option // of conn.Options
	Wants       []Want
	Format      func(flow.Format) *encode.Format   // compiled ones are shared
	Encoded     func(*encode.Item, *encode.Result) // hears of every frame that was made
	Gaps        *gap.Counters
	AtOnce      int // how many subjects of a state are read at once, beyond which it is read part by part; 0 = as many as history reads
	Log         *slog.Logger
	Registerer  prometheus.Registerer
	Connections *conn.Metrics
}

// Streams are the streams and buckets of all routes, with the connections that they are read over.
type Streams struct {
	// fixed after New
	cfg     Config
	api     jsapi.API
	prefix  string // of consumers
	metrics *feed.Metrics
	history *history.Coordinator
	dialled chan struct{} // closed when there is something to read
	once    sync.Once     // of dial
	conns   atomic.Pointer[[]*conn.Conn]
	feeds   feeds
	retries retries
	readers readers
	states  states
	budget  *feed.Budget

	tooLarge rate.Sometimes // for the log

	mu       sync.Mutex
	nc       *nats.Conn // of the history connection, nil while it is away
	complain time.Time  // when the log was last told of a refusal
}

// maxFilters is how many subjects a feed asks for; with more it reads the whole stream.
const maxFilters = 8

// New does no I/O; Run connects.
func New(cfg Config) *Streams {
	s := &Streams{cfg: cfg, api: jsapi.New(cfg.JetStream.Domain, cfg.JetStream.APIPrefix), metrics: feed.NewMetrics(cfg.Registerer),
		prefix: "headgate-" + strings.ToLower(rand.Text()[:8]), dialled: make(chan struct{})}
	s.feeds.init()
	s.retries.wake = make(chan struct{}, 1)
	s.readers.wake = make(chan struct{}, 1)
	s.states.all, s.states.large = map[string]*shared{}, map[string]time.Time{}
	s.tooLarge.Interval = 10 * time.Second
	s.history = history.New(history.Config{API: s.api, Parallel: cfg.JetStream.HistoryParallel, StateSubjects: cfg.AtOnce, Inbox: cfg.NATS.InboxPrefix,
		ConsumerPrefix: s.prefix + "-scan", Log: cfg.Log, Metrics: history.NewMetrics(cfg.Registerer)})
	s.budget = feed.NewBudget(int64(cfg.JetStream.TailBytes))
	if cfg.Registerer != nil {
		cfg.Registerer.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "headgate_state_bytes",
			Help: "Memory of states of streams and buckets that are on their way to clients, or may be asked for again."},
			func() float64 { return float64(s.budget.States()) }))
	}
	_, _ = s.read(merged(cfg.Wants), true) // before Run nothing is closed
	return s
}

// dial makes the connections, the first time that there is something to read. Run keeps them from then on.
func (s *Streams) dial() {
	s.once.Do(func() {
		c := s.cfg
		// The feeds must not wait behind reads of history, which the server carries out in the loop that reads our requests.
		s.conns.Store(&[]*conn.Conn{
			conn.New(c.NATS, "feed", c.Options, conn.Handlers{Up: s.feedUp, Down: s.feedDown, Refused: s.refused}, c.Log, c.Connections),
			conn.New(c.NATS, "history", c.Options, conn.Handlers{Up: s.historyUp, Down: s.historyDown, Refused: s.refused}, c.Log, c.Connections),
		})
		close(s.dialled)
	})
}

// merged are the wants with one entry per stream, and with the filters of its feed.
func merged(wants []Want) []Want {
	var all []Want
	for _, w := range wants {
		name, filters := w.Name, slices.Clone(w.Filters)
		if w.Bucket {
			name = kv.Stream(w.Name)
			for i := range filters {
				filters[i] = kv.Subject(w.Name, filters[i])
			}
		}
		if i := slices.IndexFunc(all, func(o Want) bool { return o.Name == name }); i >= 0 {
			all[i].Filters = append(all[i].Filters, filters...)
			continue
		}
		all = append(all, Want{Name: name, Bucket: w.Bucket, Filters: filters})
	}
	for i := range all {
		all[i].Filters = feedFilters(all[i])
	}
	return all
}

// Run serves until ctx ends, and returns when everything it started is gone. It starts nothing before there is something to read.
func (s *Streams) Run(ctx context.Context) error {
	select {
	case <-ctx.Done():
		return s.feeds.run(ctx)
	case <-s.dialled:
	}
	connections, hangUp := context.WithCancel(context.WithoutCancel(ctx))
	var hung sync.WaitGroup
	for _, c := range s.Conns() {
		hung.Go(func() { _ = c.Run(connections) })
	}
	loops := []func(context.Context) error{s.feeds.run, s.history.Run, s.retries.run}
	for range max(2, runtime.GOMAXPROCS(0)) {
		loops = append(loops, s.readers.run)
	}
	var wg sync.WaitGroup
	errs := make([]error, len(loops))
	for i, loop := range loops {
		wg.Go(func() { errs[i] = loop(ctx) })
	}
	wg.Wait()
	hangUp() // last, since feeds delete their consumers when they end
	hung.Wait()
	return errors.Join(errs...)
}

func (s *Streams) feedUp(nc *nats.Conn, _ bool) { s.feeds.connected(nc) }

func (s *Streams) feedDown() { s.feeds.connected(nil) }

func (s *Streams) historyUp(nc *nats.Conn, _ bool) {
	s.mu.Lock()
	s.nc = nc
	s.mu.Unlock()
	s.history.Connected(nc)
}

func (s *Streams) historyDown() {
	s.mu.Lock()
	s.nc = nil
	s.mu.Unlock()
	s.history.Disconnected()
}

const complainEvery = 10 * time.Second

// refused hears of requests and subscriptions that the server refuses. Nobody else would be told why no answer comes.
func (s *Streams) refused(op conn.Op, subj string) {
	if op == conn.Publish {
		for _, r := range s.feeds.list() {
			r.feed.Refused(subj)
		}
		s.history.Refused(subj)
	}
	s.mu.Lock()
	now := time.Now()
	say := now.Sub(s.complain) > complainEvery
	if say {
		s.complain = now
	}
	s.mu.Unlock()
	if say {
		s.cfg.Log.Warn("NATS refuses what headgate needs for its streams", "subject", subj, "subscribe", op == conn.Subscribe,
			"remedy", "allow the NATS user what headgate -check -online prints")
	}
}

// Conns are the connections, for their states.
func (s *Streams) Conns() []*conn.Conn {
	if conns := s.conns.Load(); conns != nil {
		return *conns
	}
	return nil
}

// Prefilled says whether every feed that was there at the start has caught up with its stream, or cannot because that is missing, and else
// which has not.
func (s *Streams) Prefilled() (bool, string) {
	var waiting []string
	all := s.feeds.list()
	for _, r := range all {
		if st := r.feed.State(); r.initial && !st.Ready && st.Missing == nil {
			waiting = append(waiting, r.name)
		}
	}
	switch {
	case len(waiting) > 0:
		return false, "still reading " + strings.Join(waiting, ", ")
	case len(all) == 0:
		return true, "no streams"
	}
	return true, fmt.Sprintf("%d streams and buckets", len(all))
}

// feedFilters are what the feed of a stream reads; nil = all of it. A bucket is read as a whole: keys may be removed from it without a
// message that says so, and only the number of all its subjects tells.
func feedFilters(w Want) []string {
	filters := subject.Normalize(w.Filters)
	if w.Bucket || len(filters) > maxFilters || slices.Contains(filters, ">") {
		return nil
	}
	return filters
}
