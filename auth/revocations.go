package auth

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/time/rate"
)

// ErrKicked says that an operator bars the caller for a while.
var ErrKicked = errors.New("an operator bars the user for a while")

// errUnknown says that nobody knows whether the token has been revoked. It is never taken for a no.
var errUnknown = fmt.Errorf("whether the token has been revoked is not known: %w", ErrUnavailable)

// pruneEvery is how often what has expired leaves the memory. It counts no more from the moment on.
const pruneEvery = 10 * time.Second

// Verdict is what the revocations say of an identity.
type Verdict uint8

// The verdicts.
const (
	Good Verdict = iota
	Revoked
	Kicked
	Unknown // they have not been read yet, or are not all in memory
)

// Revocations are the identities that have been withdrawn, as far as this process knows. Whoever reads the bucket calls Replace, Apply and
// Watched, one at a time; everything else may be called by anybody.
type Revocations struct {
	// fixed after NewRevocations
	most    int
	log     *slog.Logger
	now     func() time.Time
	changed chan struct{}
	invalid prometheus.Counter

	// safe for everyone
	seldom  rate.Sometimes // for what an operator wrote wrongly
	outlive rate.Sometimes // for tokens that live longer than a revocation
	keeps   atomic.Int64   // nanoseconds that the bucket keeps a value; 0 = for ever

	mu      sync.RWMutex
	rules   map[name]rule
	ids     map[name]string // of connections
	kinds   [revocationKinds]counts
	loaded  bool      // the bucket has been read once
	full    bool      // there are more than fit
	since   time.Time // when it was last certain that everything is known; zero = it is now
	watched bool
	detail  string // why not
}

// counts are how many there are of a kind: of whichever issuer, and of one.
type counts struct{ whoever, one int }

// of is the one that a name belongs to.
func (c *counts) of(n name) *int {
	if n.issuer == (issuerSum{}) {
		return &c.whoever
	}
	return &c.one
}

// NewRevocations makes an empty set for at most so many. Until it has been loaded, all its verdicts are Unknown.
func NewRevocations(most int, log *slog.Logger, reg prometheus.Registerer) *Revocations {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	r := &Revocations{most: most, log: log, now: time.Now, changed: make(chan struct{}, 1), rules: map[name]rule{}, ids: map[name]string{}, since: time.Now(),
		detail: "not read yet", outlive: rate.Sometimes{First: 1, Interval: time.Hour}, seldom: rate.Sometimes{First: 10, Interval: 10 * time.Second},
		invalid: prometheus.NewCounter(prometheus.CounterOpts{Name: "headgate_revocations_invalid_total",
			Help: "Keys of the bucket of revocations that name nobody, and values that cannot be read. The latter count without exception."})}
	if reg != nil {
		reg.MustRegister(r.invalid,
			prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "headgate_revocations", Help: "Revocations in memory."},
				func() float64 { return float64(r.State().Entries) }),
			prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "headgate_revocations_stale_seconds",
				Help: "How long new revocations may not have been heard of. What is known stays in force."},
				func() float64 { return r.State().Stale.Seconds() }))
	}
	return r
}

// Changed is ready when there may be more revocations than when it was last received from. It is for one receiver.
func (r *Revocations) Changed() <-chan struct{} { return r.changed }

func (r *Revocations) tell() {
	select {
	case r.changed <- struct{}{}:
	default:
	}
}

// Find says what is known of an identity.
func (r *Revocations) Find(m *Marks) Verdict {
	now := r.now().UnixMilli()
	r.mu.RLock()
	defer r.mu.RUnlock()
	return r.find(m, now)
}

// FindAll is Find for many: verdicts gets as many as there are marks.
func (r *Revocations) FindAll(list []Marks, verdicts []Verdict) {
	now := r.now().UnixMilli()
	r.mu.RLock()
	defer r.mu.RUnlock()
	for i := range list {
		verdicts[i] = r.find(&list[i], now)
	}
}

// find needs mu.
func (r *Revocations) find(m *Marks, now int64) Verdict {
	switch {
	case m.None():
		return Good
	case r.hits(ByToken, &m.token, m, now), r.hits(ByUser, &m.subject, m, now), r.hits(BySession, &m.session, m, now):
		return Revoked
	case r.hits(Kick, &m.subject, m, now):
		return Kicked
	case !r.loaded || r.full:
		return Unknown
	}
	return Good
}

// hits needs mu.
func (r *Revocations) hits(k RevocationKind, s *sum, m *Marks, now int64) bool {
	if *s == (sum{}) {
		return false
	}
	n := &r.kinds[k]
	return n.whoever > 0 && r.holds(name{k, issuerSum{}, *s}, m, now) || n.one > 0 && r.holds(name{k, m.issuer, *s}, m, now)
}

// holds needs mu.
func (r *Revocations) holds(n name, m *Marks, now int64) bool {
	rule, ok := r.rules[n]
	return ok && now < rule.until && int64(m.issued)*1000 <= rule.before
}

// Connections are the revoked ones whose ids begin with a prefix.
func (r *Revocations) Connections(prefix string) (found []string) {
	now := r.now().UnixMilli()
	r.mu.RLock()
	defer r.mu.RUnlock()
	for n, id := range r.ids {
		if now < r.rules[n].until && strings.HasPrefix(id, prefix) {
			found = append(found, id)
		}
	}
	return found
}

// Replace takes the whole content of the bucket. What was known and is not in it is revoked no more.
func (r *Revocations) Replace(all []RevocationEntry) {
	rules, ids, full := make(map[name]rule, len(all)), map[name]string{}, false
	var kinds [revocationKinds]counts
	for _, e := range all {
		n, v, ok := r.read(e)
		switch {
		case !ok:
		case len(rules) >= r.most:
			full = true
		default:
			if _, twice := rules[n]; !twice {
				*kinds[n.kind].of(n)++
			}
			rules[n] = v
			if n.kind == ByConnection {
				ids[n] = connectionOf(e.Key)
			}
		}
	}
	r.mu.Lock()
	r.rules, r.ids, r.kinds, r.loaded, r.full = rules, ids, kinds, true, full
	r.mu.Unlock()
	if full {
		r.complain()
	}
	r.tell()
}

// Apply takes changes of the bucket, in their order.
func (r *Revocations) Apply(changes []RevocationEntry) {
	full := false
	for _, e := range changes {
		n, v, ok := r.read(e)
		if !ok {
			continue
		}
		r.mu.Lock()
		_, known := r.rules[n]
		switch {
		case e.Gone:
			r.forget(n)
		case !known && len(r.rules) >= r.most && r.prune() == 0:
			r.full, full = true, true
		default:
			if !known {
				*r.kinds[n.kind].of(n)++
			}
			r.rules[n] = v
			if n.kind == ByConnection {
				r.ids[n] = connectionOf(e.Key)
			}
		}
		r.mu.Unlock()
	}
	if full {
		r.complain()
	}
	r.tell()
}

func (r *Revocations) complain() {
	r.log.Error("there are more revocations than fit into memory: until that is mended no token is accepted",
		"most", r.most, "remedy", "raise AUTH_REVOCATION_ENTRIES and restart, or delete keys of the bucket that are not needed any more")
}

// read reads an entry, and says what is wrong with it.
func (r *Revocations) read(e RevocationEntry) (n name, v rule, ok bool) {
	n, err := nameOf(e.Key)
	ok = err == nil
	if ok && !e.Gone {
		v, err = ruleOf(n.kind, e)
	}
	if err != nil {
		r.invalid.Inc()
		r.seldom.Do(func() { r.log.Warn("a revocation is not written as it should be", "key", short(e.Key), "error", err) })
	}
	return n, v, ok
}

// connectionOf is the id in the key of a connection.
func connectionOf(key string) string {
	_, id, _ := strings.Cut(key, ".")
	return strings.Clone(id)
}

// short keeps what somebody has put into a bucket from filling the log.
func short(key string) string {
	const most = 80
	if len(key) <= most {
		return key
	}
	return key[:most] + "…"
}

// Keeps says how long the bucket keeps a value; 0 = for ever.
func (r *Revocations) Keeps(d time.Duration) { r.keeps.Store(int64(d)) }

// watchLife warns of a token that is good for longer than the bucket would remember that it has been revoked.
func (r *Revocations) watchLife(id *Identity) {
	if keeps := time.Duration(r.keeps.Load()); keeps > 0 && id.deadline.Sub(r.now()) > keeps {
		r.outlive.Do(func() {
			r.log.Warn("a token lives longer than the bucket keeps revocations: were it revoked, it would be good again when that is forgotten",
				"issuer", id.issuer, "life", id.deadline.Sub(r.now()).Round(time.Second).String(), "bucket_keeps", keeps.String(),
				"remedy", "raise the TTL of the bucket (nats kv edit … --ttl), or let the issuer make tokens of a shorter life")
		})
	}
}

// Watched says whether changes are heard of, and why not.
func (r *Revocations) Watched(ok bool, detail string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.detail = detail
	switch {
	case ok:
		r.since = time.Time{}
	case r.since.IsZero():
		r.since = r.now()
	}
	r.watched = ok
}

// RevocationState is what the revocations are like.
type RevocationState struct {
	Known   bool // all of them were read once, and are in memory
	Entries int
	Stale   time.Duration // since when changes may have been missed; 0 = they are heard of
	Detail  string
}

// State is what they are like now.
func (r *Revocations) State() RevocationState {
	r.mu.RLock()
	defer r.mu.RUnlock()
	s := RevocationState{Known: r.loaded && !r.full, Entries: len(r.rules), Detail: r.detail}
	if !r.watched {
		s.Stale = max(r.now().Sub(r.since), time.Millisecond)
	}
	if r.full {
		s.Detail = fmt.Sprintf("more than AUTH_REVOCATION_ENTRIES=%d", r.most)
	}
	return s
}

// run forgets what has expired, until the context ends.
func (r *Revocations) run(ctx context.Context) {
	tick := time.NewTicker(pruneEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			r.mu.Lock()
			r.prune()
			r.mu.Unlock()
		}
	}
}

// prune needs mu. It says how many have expired.
func (r *Revocations) prune() (n int) {
	now := r.now().UnixMilli()
	for name, rule := range r.rules {
		if now >= rule.until {
			r.forget(name)
			n++
		}
	}
	return n
}

// forget needs mu.
func (r *Revocations) forget(n name) {
	if _, there := r.rules[n]; there {
		*r.kinds[n.kind].of(n)--
	}
	delete(r.rules, n)
	delete(r.ids, n)
}
