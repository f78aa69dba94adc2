package stream

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"headgate/bridge/internal/feed"
	"headgate/bridge/internal/kv"
	"headgate/internal/flow"
)

// feeds are the feeds of all streams and buckets that routes read. Which ones there are changes with the routes.
type feeds struct {
	wake chan struct{} // there are feeds to start

	mu      sync.RWMutex
	all     map[string]*reading // by name of the stream
	fresh   []*reading          // not started yet
	nc      *nats.Conn          // of the feed connection, nil while it is away
	stopped bool
}

// reading is a feed and its life.
type reading struct {
	feed    *feed.Feed
	name    string // of the stream
	bucket  bool
	filters []string // changed by Want and Keep alone, which are not called at the same time
	initial bool     // there since New
	ctx     context.Context
	end     context.CancelFunc
	done    chan struct{} // closed when it has ended
}

func (f *feeds) init() { f.wake, f.all = make(chan struct{}, 1), map[string]*reading{} }

// get is the feed of a stream, nil where no route has it.
func (f *feeds) get(stream string) *feed.Feed {
	f.mu.RLock()
	defer f.mu.RUnlock()
	if r := f.all[stream]; r != nil {
		return r.feed
	}
	return nil
}

// list are all of them, in the order of their names.
func (f *feeds) list() []*reading {
	f.mu.RLock()
	defer f.mu.RUnlock()
	list := make([]*reading, 0, len(f.all))
	for _, r := range f.all {
		list = append(list, r)
	}
	slices.SortFunc(list, func(a, b *reading) int { return strings.Compare(a.name, b.name) })
	return list
}

// add enters a feed, for Run to start it. It is false after Run.
func (f *feeds) add(r *reading) bool {
	f.mu.Lock()
	if f.stopped {
		f.mu.Unlock()
		return false
	}
	f.all[r.name] = r
	f.fresh = append(f.fresh, r)
	f.mu.Unlock()
	f.connect(r.feed)
	select {
	case f.wake <- struct{}{}:
	default:
	}
	return true
}

// connect tells a feed of the connection as it is now, also when that changes meanwhile.
func (f *feeds) connect(to *feed.Feed) {
	for {
		nc := f.connection()
		to.Connected(nc)
		if f.connection() == nc {
			return
		}
	}
}

func (f *feeds) connection() *nats.Conn {
	f.mu.RLock()
	defer f.mu.RUnlock()
	return f.nc
}

// connected tells all feeds; nil = NATS is away.
func (f *feeds) connected(nc *nats.Conn) {
	f.mu.Lock()
	f.nc = nc
	f.mu.Unlock()
	for _, r := range f.list() {
		r.feed.Connected(nc)
	}
}

// take gives those that are to be started, or for the last time those that will not be.
func (f *feeds) take(last bool) []*reading {
	f.mu.Lock()
	defer f.mu.Unlock()
	fresh := f.fresh
	f.fresh, f.stopped = nil, f.stopped || last
	return fresh
}

// remove takes a feed out, if nobody follows it.
func (f *feeds) remove(r *reading) bool {
	f.mu.Lock()
	if f.all[r.name] == r {
		delete(f.all, r.name) // first: nobody is to find one that is closed
	}
	f.mu.Unlock()
	if !r.feed.Retire() {
		f.mu.Lock()
		f.all[r.name] = r
		f.mu.Unlock()
		return false
	}
	return true
}

// run starts feeds, until ctx ends, and returns when all have ended.
func (f *feeds) run(ctx context.Context) error {
	var wg sync.WaitGroup
	defer wg.Wait()
	for {
		for _, r := range f.take(false) {
			stop := context.AfterFunc(ctx, r.end)
			wg.Go(func() {
				defer close(r.done)
				defer stop()
				_ = r.feed.Run(r.ctx) // never fails
			})
		}
		select {
		case <-f.wake:
		case <-ctx.Done():
			for _, r := range f.take(true) {
				r.end()
				close(r.done)
			}
			return nil
		}
	}
}

// Want makes feeds for what routes read beside what is read already, and waits until they have caught up, or are known to be missing; late
// are those of which neither is known when ctx ends. What is read already goes on without a break. The error wraps flow.ErrClosed, after
// Run, or is that of ctx. Want and Keep are not to be called at the same time.
func (s *Streams) Want(ctx context.Context, wants []Want) (late []string, err error) {
	var missing []Want
	for _, w := range merged(wants) {
		r := s.feeds.find(w.Name)
		if r == nil {
			missing = append(missing, w)
		} else if err := r.widen(ctx, w.Filters); err != nil {
			return nil, err
		}
	}
	fresh, err := s.read(missing, false)
	if err != nil {
		return nil, err
	}
	for _, r := range fresh {
		switch err := r.feed.Wait(ctx); {
		case err == nil || errors.Is(err, flow.ErrMissing):
		case errors.Is(err, flow.ErrClosed):
			return nil, err
		default:
			late = append(late, r.name)
		}
	}
	return late, nil
}

// Keep ends the feeds that these wants do not need and nobody follows, and makes the others read no more than is needed. It is false when
// somebody follows one that is to end; then it is to be called again.
func (s *Streams) Keep(ctx context.Context, wants []Want) (all bool, err error) {
	all = true
	kept := merged(wants)
	for _, r := range s.feeds.list() {
		i := slices.IndexFunc(kept, func(w Want) bool { return w.Name == r.name })
		if i >= 0 {
			if err := r.narrow(ctx, kept[i].Filters); err != nil {
				return false, err
			}
			continue
		}
		if !s.feeds.remove(r) {
			all = false
			continue
		}
		r.end()
		select {
		case <-r.done:
		case <-ctx.Done():
			return false, ctx.Err()
		}
		s.metrics.Forget(r.name)
		s.cfg.Log.Info("the stream is not read any more: no route has it", "stream", r.name)
	}
	return all, nil
}

// find is what reads a stream, nil if nothing does.
func (f *feeds) find(stream string) *reading {
	f.mu.RLock()
	defer f.mu.RUnlock()
	return f.all[stream]
}

// widen makes it read what these filters match too.
func (r *reading) widen(ctx context.Context, filters []string) error {
	if r.bucket || r.filters == nil {
		return nil // it reads everything
	}
	wider := feedFilters(Want{Filters: slices.Concat(r.filters, filters)})
	if filters == nil {
		wider = nil
	} else if slices.Equal(wider, r.filters) {
		return nil
	}
	return r.refilter(ctx, wider)
}

// narrow makes it read what these filters match, and nothing else.
func (r *reading) narrow(ctx context.Context, filters []string) error {
	if r.bucket || slices.Equal(r.filters, filters) && (r.filters == nil) == (filters == nil) {
		return nil
	}
	return r.refilter(ctx, filters)
}

func (r *reading) refilter(ctx context.Context, filters []string) error {
	if err := r.feed.Read(ctx, filters); err != nil {
		return fmt.Errorf("stream %s: read other subjects: %w", r.name, err)
	}
	r.filters = filters
	return nil
}

// warnOfMirror says in the log why a bucket looks empty that has messages.
func (s *Streams) warnOfMirror(stream string, c jetstream.StreamConfig) {
	of := kv.Mirrored(stream, c)
	if of == "" {
		return
	}
	s.cfg.Log.Warn("the bucket is a mirror of another one, and has its messages under that one's subjects: clients are given an empty state", "stream", stream,
		"mirror_of", kv.Stream(of), "remedy", "let the route have the bucket "+of+", or a mirror that changes the subjects; headgate -check -online tells more")
}

// read makes feeds beside those that there are.
func (s *Streams) read(wants []Want, initial bool) (fresh []*reading, err error) {
	if len(wants) == 0 {
		return nil, nil
	}
	s.dial()
	js := s.cfg.JetStream
	for _, w := range wants {
		f := feed.Config{API: s.api, Stream: w.Name, Filters: w.Filters, Budget: s.budget, PrefillAge: js.TailAge, LostAfter: js.LostAfter, VerifyEvery: js.VerifyEvery,
			Inbox: s.cfg.NATS.InboxPrefix, ConsumerPrefix: s.prefix, Log: s.cfg.Log, Metrics: s.metrics}
		if w.Bucket {
			f.Table, f.Gone = true, kv.Gone
			f.Begun = func(c jetstream.StreamConfig) { s.warnOfMirror(w.Name, c) }
		}
		r := &reading{feed: feed.New(f), name: w.Name, bucket: w.Bucket, filters: w.Filters, initial: initial, done: make(chan struct{})}
		r.ctx, r.end = context.WithCancel(context.Background())
		if !s.feeds.add(r) {
			r.end()
			return nil, fmt.Errorf("stream %s: %w", w.Name, flow.ErrClosed)
		}
		fresh = append(fresh, r)
	}
	return fresh, nil
}
