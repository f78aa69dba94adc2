// Package control is what operators have to do with a running headgate, over the control connection: the bucket of revocations, which
// every replica watches, and the micro service that answers them.
package control

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"

	"headgate/bridge/internal/conn"
	"headgate/bridge/internal/encode"
	"headgate/bridge/internal/feed"
	"headgate/bridge/internal/jsapi"
	"headgate/bridge/internal/kv"
)

// Entry is a key of the bucket and what it holds.
type Entry struct {
	Key    string
	Value  []byte
	Gone   bool      // the key is there no more
	Stored time.Time // when the bucket took it
}

// Listener hears what is in the bucket. It is called by one goroutine, and the bytes are not to be changed.
type Listener interface {
	Replace(all []Entry)            // the whole content
	Apply(changes []Entry)          // in their order
	Watched(ok bool, detail string) // whether changes are heard of now, and why not
	Keeps(d time.Duration)          // how long the bucket keeps a value; 0 = for ever
}

// WatchConfig is what a Watch needs.
type WatchConfig struct {
	API            jsapi.API
	Bucket         string
	TTL            time.Duration // makes the bucket where it is missing; 0 = does not
	Share          int64         // bytes of memory for what is in it
	Inbox          string
	ConsumerPrefix string
	Listener       Listener
	Log            *slog.Logger
	Metrics        *feed.Metrics // nil: none
}

// Watch follows a bucket. It reads it with a feed, as routes read theirs: an outage, a bucket that was made again and keys that went
// without a word are found out in the same way.
type Watch struct {
	// fixed after NewWatch
	cfg  WatchConfig
	feed *feed.Feed
	log  *slog.Logger
	wake chan struct{}

	mu      sync.Mutex
	nc      *nats.Conn // nil while it is away
	make    bool       // the bucket is to be made if it is missing
	fed     bool       // the feed has this connection
	pending []Entry    // not told yet
	seqs    []uint64   // of pending
	dirty   bool       // all of it is to be told again

	// owned by Run
	link    *feed.Link
	watched bool
	told    string    // the last detail
	retry   time.Time // when the bucket is tried to be made again
	unread  bool      // the feed has no table: the bucket does not fit
	at      uint64    // what the last Replace was of
	all     time.Time // when it was
}

const (
	lookEvery  = time.Second // for the state of the feed, which nobody announces
	makeAgain  = 2 * time.Second
	maxPending = 1 << 16     // changes that wait; beyond it everything is read again instead
	allAgain   = time.Minute // after changes everything is told again, for a listener that could not keep it all
)

// NewWatch does no I/O; Run serves.
func NewWatch(cfg WatchConfig) *Watch {
	w := &Watch{cfg: cfg, log: cfg.Log.With("bucket", cfg.Bucket), wake: make(chan struct{}, 1), dirty: true}
	w.feed = feed.New(feed.Config{API: cfg.API, Stream: kv.Stream(cfg.Bucket), Table: true, Gone: kv.Gone, Inbox: cfg.Inbox,
		Budget: feed.NewBudget(cfg.Share * 8 / 5), ConsumerPrefix: cfg.ConsumerPrefix, // five eighths of one are for tables
		Log: cfg.Log, Metrics: cfg.Metrics})
	return w
}

// Connected is called by the owner of the connection, as the three that follow.
func (w *Watch) Connected(nc *nats.Conn) {
	w.mu.Lock()
	w.nc, w.make, w.fed = nc, w.cfg.TTL > 0, w.cfg.TTL == 0
	w.mu.Unlock()
	if w.cfg.TTL == 0 {
		w.feed.Connected(nc)
	}
	w.ring()
}

// Disconnected: what is known stays in force.
func (w *Watch) Disconnected() {
	w.mu.Lock()
	w.nc = nil
	w.mu.Unlock()
	w.feed.Disconnected()
	w.ring()
}

// Refused hears of requests that the server refuses.
func (w *Watch) Refused(op conn.Op, subj string) {
	if op == conn.Publish {
		w.feed.Refused(subj)
	}
}

func (w *Watch) ring() {
	select {
	case w.wake <- struct{}{}:
	default:
	}
}

// Run serves until ctx ends.
func (w *Watch) Run(ctx context.Context) error {
	var reading sync.WaitGroup
	reading.Go(func() { _ = w.feed.Run(ctx) })
	defer reading.Wait()
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	for ctx.Err() == nil {
		w.create(ctx)
		w.follow(ctx)
		w.tell()
		w.look()
		select {
		case <-ctx.Done():
		case <-w.wake:
		case <-tick.C:
		}
	}
	if w.link != nil {
		w.link.Close()
	}
	return nil
}

// create makes the bucket, if that is wanted, before the feed looks for it. One that we have read is not made again: an empty one in its
// place would say that nobody is revoked.
func (w *Watch) create(ctx context.Context) {
	w.mu.Lock()
	nc, missing := w.nc, w.make
	w.mu.Unlock()
	if nc == nil || !missing || time.Now().Before(w.retry) {
		return
	}
	var err error
	if w.link == nil {
		err = createBucket(ctx, w.cfg.API, nc, w.cfg.Bucket, w.cfg.TTL)
	}
	if err != nil && ctx.Err() == nil {
		w.retry = time.Now().Add(makeAgain)
		w.log.Warn("the bucket of revocations cannot be made; headgate looks whether it is there, and tries again", "cause", err,
			"remedy", "allow the NATS user what headgate -check -online prints, or make it: "+Creation(w.cfg.Bucket, w.cfg.TTL))
	}
	w.mu.Lock()
	again := w.nc != nc
	w.make = err != nil || again
	feed := !w.fed && !again
	w.fed = w.fed || feed
	w.mu.Unlock()
	if feed {
		w.feed.Connected(nc)
	}
}

// follow ties us to the feed, once it has read the bucket.
func (w *Watch) follow(ctx context.Context) {
	w.mu.Lock()
	fed := w.nc != nil && w.fed
	w.mu.Unlock()
	if w.link != nil || !fed {
		return
	}
	wait, cancel := context.WithTimeout(ctx, lookEvery)
	defer cancel()
	if w.feed.Wait(wait) != nil {
		return
	}
	// Everything: in a mirror of a bucket the subjects are those of the other bucket.
	if link, _, _, err := w.feed.Follow([]string{">"}, follower{w}); err == nil {
		w.link = link
	}
}

// tell tells what has come: all of it where that is due, and then what came behind it.
func (w *Watch) tell() {
	if w.link == nil {
		return
	}
	again := time.Since(w.all) >= allAgain && w.feed.State().Cursor != w.at
	w.mu.Lock()
	list, seqs, dirty := w.pending, w.seqs, w.dirty || again
	w.pending, w.seqs, w.dirty = nil, nil, false
	w.mu.Unlock()
	if dirty {
		rows, err := w.feed.Table([]string{">"})
		w.unread = err != nil
		if err == nil {
			defer rows.Use.End()
			w.at, w.all = rows.At, time.Now()
			all := make([]Entry, len(rows.Items))
			for i, it := range rows.Items {
				all[i] = entryOf(it)
			}
			w.cfg.Listener.Replace(all)
			for len(seqs) > 0 && seqs[0] <= rows.At {
				list, seqs = list[1:], seqs[1:]
			}
		} else {
			w.mu.Lock()
			w.dirty = true // when there is a table again
			w.mu.Unlock()
		}
	}
	if len(list) > 0 {
		w.cfg.Listener.Apply(list)
	}
}

// look tells whether changes are heard of.
func (w *Watch) look() {
	ok, detail := w.state()
	if ok == w.watched && detail == w.told {
		return
	}
	switch {
	case ok:
		w.log.Info("revocations are known", "detail", detail)
	case w.watched:
		w.log.Warn("revocations are not heard of any more; those that are known stay in force", "cause", detail)
	}
	w.watched, w.told = ok, detail
	if inc := w.feed.State().Inc; ok && inc != nil {
		w.cfg.Listener.Keeps(inc.Config.MaxAge)
	}
	w.cfg.Listener.Watched(ok, detail)
}

func (w *Watch) state() (ok bool, detail string) {
	w.mu.Lock()
	away := w.nc == nil
	w.mu.Unlock()
	s := w.feed.State()
	switch {
	case away:
		return false, "NATS is away"
	case errors.Is(s.Missing, jsapi.ErrNoStream):
		return false, fmt.Sprintf("the bucket %s does not exist: make it (%s), or set AUTH_REVOCATION_TTL for headgate to make it", w.cfg.Bucket, Creation(w.cfg.Bucket, w.cfg.TTL))
	case s.Missing != nil:
		return false, fmt.Sprintf("the bucket %s cannot be read: %v", w.cfg.Bucket, s.Missing)
	case s.Err != "":
		return false, fmt.Sprintf("the bucket %s cannot be read: %s", w.cfg.Bucket, s.Err)
	case !s.Ready || w.link == nil:
		return false, fmt.Sprintf("the bucket %s is being read", w.cfg.Bucket)
	case w.unread:
		return false, fmt.Sprintf("the bucket %s holds more than fits into memory: raise AUTH_REVOCATION_ENTRIES and restart", w.cfg.Bucket)
	}
	return true, "watched"
}

// follower is told by the feed's loop, which must not wait for anybody.
type follower struct{ w *Watch }

// Message implements feed.Follower.
func (f follower) Message(it *encode.Item, _ *feed.Incarnation) {
	w := f.w
	w.mu.Lock()
	if len(w.pending) < maxPending {
		w.pending, w.seqs = append(w.pending, entryOf(it)), append(w.seqs, it.Seq)
	} else {
		w.pending, w.seqs, w.dirty = nil, nil, true
	}
	w.mu.Unlock()
	w.ring()
}

// Hole implements feed.Follower.
func (f follower) Hole(h feed.Hole, _ *feed.Incarnation, _ uint64) {
	if h.Renamed {
		return // nothing is missing
	}
	f.w.mu.Lock()
	f.w.pending, f.w.seqs, f.w.dirty = nil, nil, true
	f.w.mu.Unlock()
	f.w.ring()
}

// Lost implements feed.Follower.
func (f follower) Lost() {}

func entryOf(it *encode.Item) Entry {
	return Entry{Key: kv.Key(it.Subject), Value: it.Data, Gone: kv.Gone(it.Header), Stored: time.Unix(0, it.At)}
}

// Creation is the command that makes a bucket of revocations.
func Creation(bucket string, ttl time.Duration) string {
	text := "24h"
	if ttl > 0 {
		text = strings.TrimSuffix(strings.TrimSuffix(ttl.String(), "0s"), "0m")
	}
	return "nats kv add " + bucket + " --ttl " + text + " --marker-ttl 1m --replicas 3"
}
