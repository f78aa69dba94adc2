// Package reload reads a file again when its content has changed, hands it to whoever takes it, and remembers what became of that: for
// readiness, metrics and the log. It knows nothing of what the file says.
package reload

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

const (
	settleTime  = 100 * time.Millisecond // two looks so far apart must see the same (or Every, if that is less): who writes may be in the middle of it
	settleLooks = 20                     // after so many it is taken as it is
	againAfter  = time.Minute            // what was refused may be fine now, because of other files that it names
	settleEvery = time.Second            // between two calls of Settle
)

// Config is what a Reloader needs.
type Config struct {
	File  string
	Hash  string        // of the content that is in use at the start, of Hash
	Every time.Duration // between two looks; 0 = only when it is asked to
	// Take makes the content take effect as a whole and returns nil, or changes nothing and says why. It is called by Run alone.
	Take func(ctx context.Context, content []byte) error
	// Settle clears up behind what Take has changed, and says whether it is done. It is called by Run alone, after every Take until it is true.
	Settle     func(ctx context.Context) bool
	Log        *slog.Logger
	Registerer prometheus.Registerer // nil: no metrics
}

// Reloader reads a file again.
type Reloader struct {
	// Fixed after New.
	cfg     Config
	metrics metrics
	asked   chan struct{}

	mu    sync.Mutex
	state state // guarded by mu: what became of it

	// Owned by Run.
	seen     string // the hash of the content last looked at, taken or not; of an error, its text
	refused  bool   // it was not taken
	tried    time.Time
	settling bool
}

// state is what operators are told.
type state struct {
	hash    string // of the content in use
	since   time.Time
	problem string // why what is in the file now is not used; "" = it is
	when    time.Time
}

// Hash is what contents are compared by. Neither times nor links matter: a mounted ConfigMap changes by a symbolic link, and two of its
// versions may have the same time.
func Hash(content []byte) string {
	sum := sha256.Sum256(content)
	return hex.EncodeToString(sum[:])
}

// New does no I/O; Run does.
func New(cfg Config) *Reloader {
	r := &Reloader{cfg: cfg, metrics: newMetrics(cfg.Registerer), asked: make(chan struct{}, 1), seen: cfg.Hash}
	r.taken(cfg.Hash)
	return r
}

// Ask makes Run look at the file now, and try once more what it has refused. It does not wait.
func (r *Reloader) Ask() {
	select {
	case r.asked <- struct{}{}:
	default:
	}
}

// State is for readiness: what is in use, and why what is in the file is not.
func (r *Reloader) State() string {
	r.mu.Lock()
	s := r.state
	r.mu.Unlock()
	text := fmt.Sprintf("%.12s, in use since %s", s.hash, s.since.UTC().Format(time.RFC3339))
	if s.problem != "" {
		text += fmt.Sprintf("; what is in the file now was refused at %s: %s", s.when.UTC().Format(time.RFC3339), s.problem)
	}
	return text
}

// Run looks after the file until ctx ends.
func (r *Reloader) Run(ctx context.Context) error {
	var looks <-chan time.Time
	if r.cfg.Every > 0 {
		ticker := time.NewTicker(r.cfg.Every)
		defer ticker.Stop()
		looks = ticker.C
	}
	settle := time.NewTicker(settleEvery)
	defer settle.Stop()
	for {
		settles := settle.C
		if !r.settling {
			settles = nil
		}
		select {
		case <-ctx.Done():
			return nil
		case <-looks:
			r.look(ctx, false)
		case <-r.asked:
			r.look(ctx, true)
		case <-settles:
			r.settling = !r.cfg.Settle(ctx)
		}
	}
}

// look reads the file, and takes what is in it if that is new.
func (r *Reloader) look(ctx context.Context, asked bool) {
	content, err := os.ReadFile(r.cfg.File)
	if !asked && !r.due(key(content, err)) {
		return
	}
	content, err = r.settled(ctx, content, err)
	if ctx.Err() != nil {
		return
	}
	before, again := r.seen, r.refused
	r.seen, r.tried = key(content, err), time.Now()
	if asked && r.seen == before && !again {
		r.cfg.Log.Info("the routes file has not changed", "file", r.cfg.File, "hash", short(r.seen))
		return
	}
	if err == nil && r.seen == r.inUse() {
		r.back()
		return
	}
	if err == nil {
		r.settling = true
		err = r.cfg.Take(ctx, content)
	}
	switch {
	case ctx.Err() != nil && err != nil: // the process ends
	case err == nil:
		r.taken(r.seen)
		r.refused = false
		r.metrics.results[taken].Inc()
	default:
		r.refuse(err, again && r.seen == before, asked)
	}
}

// due says whether there is something to look into.
func (r *Reloader) due(now string) bool {
	return now != r.seen || r.refused && time.Since(r.tried) >= againAfter
}

// settled reads until it sees the same twice in a row.
func (r *Reloader) settled(ctx context.Context, content []byte, err error) ([]byte, error) {
	apart := settleTime
	if r.cfg.Every > 0 {
		apart = min(apart, r.cfg.Every)
	}
	for range settleLooks {
		timer := time.NewTimer(apart)
		select {
		case <-ctx.Done():
			timer.Stop()
			return content, err
		case <-timer.C:
		}
		before := key(content, err)
		content, err = os.ReadFile(r.cfg.File)
		if key(content, err) == before {
			return content, err
		}
	}
	return content, err
}

// key tells what was read apart.
func key(content []byte, err error) string {
	if err != nil {
		return err.Error()
	}
	return Hash(content)
}

// short is the beginning of a hash; of a file that could not be read there is none.
func short(seen string) string {
	if _, err := hex.DecodeString(seen); err != nil {
		return ""
	}
	return fmt.Sprintf("%.12s", seen)
}

func (r *Reloader) inUse() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.state.hash
}

// taken notes that a content is in use.
func (r *Reloader) taken(hash string) {
	now := time.Now()
	r.mu.Lock()
	r.state = state{hash: hash, since: now}
	r.mu.Unlock()
	r.metrics.take(hash, now)
}

// back notes that the file says again what is in use.
func (r *Reloader) back() {
	r.mu.Lock()
	r.state.problem = ""
	r.mu.Unlock()
	r.refused = false
	r.metrics.ok.Set(1)
	r.cfg.Log.Info("the routes file says again what is in use", "file", r.cfg.File, "hash", short(r.seen))
}

// refuse notes why a content is not used. The same words about the same content are counted once, and said once and to whoever asks.
func (r *Reloader) refuse(err error, again, asked bool) {
	r.refused = true
	r.mu.Lock()
	known := again && r.state.problem == err.Error()
	r.state.problem, r.state.when = err.Error(), time.Now()
	r.mu.Unlock()
	r.metrics.ok.Set(0)
	if !known {
		r.metrics.results[refused].Inc()
	}
	if known && !asked {
		return
	}
	r.cfg.Log.Error("the new routes are refused, the old ones stay", "file", r.cfg.File, "hash", short(r.seen), "error", err)
}
