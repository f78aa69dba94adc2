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
	Log         *slog.Logger
	Registerer  prometheus.Registerer
	Connections *conn.Metrics
}

// Streams are the streams and buckets of all routes, with the connections that they are read over.
type Streams struct {
	// fixed after New
	cfg     Config
	api     jsapi.API
	feeds   map[string]*feed.Feed // by name of the stream
	names   []string              // of the streams, in order
	history *history.Coordinator
	conns   []*conn.Conn
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
	s := &Streams{cfg: cfg, api: jsapi.New(cfg.JetStream.Domain, cfg.JetStream.APIPrefix), feeds: map[string]*feed.Feed{}}
	s.retries.wake = make(chan struct{}, 1)
	s.readers.wake = make(chan struct{}, 1)
	s.states.all = map[string]*shared{}
	s.tooLarge.Interval = 10 * time.Second
	prefix := "headgate-" + strings.ToLower(rand.Text()[:8])
	s.history = history.New(history.Config{API: s.api, Parallel: cfg.JetStream.HistoryParallel, Inbox: cfg.NATS.InboxPrefix,
		ConsumerPrefix: prefix + "-scan", Log: cfg.Log, Metrics: history.NewMetrics(cfg.Registerer)})
	metrics := feed.NewMetrics(cfg.Registerer)
	wants := merged(cfg.Wants)
	s.budget = feed.NewBudget(int64(cfg.JetStream.TailBytes))
	if cfg.Registerer != nil {
		cfg.Registerer.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "headgate_state_bytes",
			Help: "Memory of states of streams and buckets that are on their way to clients, or may be asked for again."},
			func() float64 { return float64(s.budget.States()) }))
	}
	for _, w := range wants {
		f := feed.Config{API: s.api, Stream: w.Name, Filters: w.Filters, Budget: s.budget,
			PrefillAge: cfg.JetStream.TailAge, LostAfter: cfg.JetStream.LostAfter, Inbox: cfg.NATS.InboxPrefix, ConsumerPrefix: prefix,
			Log: cfg.Log, Metrics: metrics}
		if w.Bucket {
			f.Table, f.Gone = true, kv.Gone
		}
		s.feeds[w.Name] = feed.New(f)
		s.names = append(s.names, w.Name)
	}
	slices.Sort(s.names)
	// The feeds must not wait behind reads of history, which the server carries out in the loop that reads our requests.
	s.conns = []*conn.Conn{
		conn.New(cfg.NATS, "feed", cfg.Options, conn.Handlers{Up: s.feedUp, Down: s.feedDown, Refused: s.refused}, cfg.Log, cfg.Connections),
		conn.New(cfg.NATS, "history", cfg.Options, conn.Handlers{Up: s.historyUp, Down: s.historyDown, Refused: s.refused}, cfg.Log, cfg.Connections),
	}
	return s
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

// Run serves until ctx ends, and returns when everything it started is gone.
func (s *Streams) Run(ctx context.Context) error {
	var wg sync.WaitGroup
	errs := make([]error, 0, len(s.conns)+len(s.names)+1)
	var mu sync.Mutex
	run := func(serve func(context.Context) error) {
		wg.Go(func() {
			if err := serve(ctx); err != nil {
				mu.Lock()
				errs = append(errs, err)
				mu.Unlock()
			}
		})
	}
	connections, hangUp := context.WithCancel(context.WithoutCancel(ctx))
	var hung sync.WaitGroup
	for _, c := range s.conns {
		hung.Go(func() { _ = c.Run(connections) })
	}
	for _, name := range s.names {
		run(s.feeds[name].Run)
	}
	run(s.history.Run)
	run(s.retries.run)
	for range max(2, runtime.GOMAXPROCS(0)) {
		run(s.readers.run)
	}
	wg.Wait()
	hangUp() // last, since feeds delete their consumers when they end
	hung.Wait()
	return errors.Join(errs...)
}

func (s *Streams) feedUp(nc *nats.Conn, _ bool) {
	for _, f := range s.feeds {
		f.Connected(nc)
	}
}

func (s *Streams) feedDown() {
	for _, f := range s.feeds {
		f.Disconnected()
	}
}

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
		for _, f := range s.feeds {
			f.Refused(subj)
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
func (s *Streams) Conns() []*conn.Conn { return s.conns }

// Prefilled says whether every feed has caught up with its stream, or cannot because that is missing, and else which has not.
func (s *Streams) Prefilled() (bool, string) {
	var waiting []string
	for _, name := range s.names {
		if st := s.feeds[name].State(); !st.Ready && st.Missing == nil {
			waiting = append(waiting, name)
		}
	}
	if len(waiting) == 0 {
		return true, fmt.Sprintf("%d streams and buckets", len(s.names))
	}
	return false, "still reading " + strings.Join(waiting, ", ")
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
