// Package ratelimit is how much may be used: streams at once and connects a second, per address, per user, per route and in all,
// publishes a second, and what is replayed.
package ratelimit

import (
	"math"
	"net/netip"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/time/rate"
)

// Config is what may be used. Zero or less switches a limit off.
type Config struct {
	Streams           int     // open streams
	StreamsPerAddress int     // open streams per client address
	StreamsPerUser    int     // open streams per user
	ConnectRate       float64 // new streams a second per client address
	UserConnectRate   float64 // new streams a second per user
	ConnectBurst      int     // how many of either at once; 0 = those of one second, at least one
	GlobalConnectRate float64 // new streams a second; those of one second may come at once
	PublishRate       float64 // publishes a second per client address; those of one second may come at once, here and below
	UserPublishRate   float64 // publishes a second per user
	Addresses         int     // client addresses remembered, for streams and for publishes each; at least 1
	Users             int     // users remembered, for streams, for streams by route, for publishes and for replays each; at least 1
	Replay            Replay  // what is replayed to all together
	UserReplay        Replay  // what is replayed to a user

	Routes     map[string]Route
	Registerer prometheus.Registerer // nil: no metrics
	Now        func() time.Time      // nil: time.Now
}

// Route is what may be used of a route.
type Route struct {
	Streams        int     // open streams
	StreamsPerUser int     // open streams per user
	PublishRate    float64 // publishes a second; those of one second may come at once
}

// Limiter admits streams and publishes. Client addresses count per /64 in IPv6. All methods may be called by anybody at any time.
//
// A stream is admitted in two steps: Connect before it is known who is asking, so that nobody makes us verify tokens faster than his
// address may connect; Admit behind that, so that nobody without a good token uses up what belongs to others. One mutex guards it all:
// an admission takes about a microsecond, a connect a hundred times as much, and the caps are exact. The clock is read under it, since
// rate.Limiter believes whatever time it is told: one from before the last winds it back, and what has passed since is given out twice.
type Limiter struct {
	// Fixed after New.
	cfg        Config // but for Routes
	now        func() time.Time
	global     *rate.Limiter // nil: off
	perAddress bool          // streams are counted, or connects limited, per address
	perUser    bool          // the same per user
	metrics    metrics
	replays    *replays // nil: off

	mu sync.Mutex

	// Guarded by mu.
	streams    int
	limits     map[string]Route         // Config.Routes, or what SetRoutes says
	routes     map[string]int           // open streams
	connects   *table                   // by address
	publishes  *table                   // by address
	users      *table                   // streams and connects by user
	userRoutes *table                   // streams by user and route
	publishers *table                   // publishes by user
	entrances  map[string]*rate.Limiter // publishes by route
}

// New makes a limiter. It starts nothing.
func New(cfg Config) *Limiter {
	burst := burstOf(cfg.UserConnectRate, cfg.ConnectBurst)
	l := &Limiter{
		cfg:        cfg,
		now:        cfg.Now,
		perAddress: cfg.StreamsPerAddress > 0 || cfg.ConnectRate > 0,
		perUser:    cfg.StreamsPerUser > 0 || cfg.UserConnectRate > 0,
		routes:     make(map[string]int),
		connects:   newTable(cfg.Addresses, rate.Limit(cfg.ConnectRate), burstOf(cfg.ConnectRate, cfg.ConnectBurst)),
		publishes:  newTable(cfg.Addresses, rate.Limit(cfg.PublishRate), burstOf(cfg.PublishRate, 0)),
		users:      newTable(cfg.Users, rate.Limit(cfg.UserConnectRate), burst),
		userRoutes: newTable(cfg.Users, 0, 0),
		publishers: newTable(cfg.Users, rate.Limit(cfg.UserPublishRate), burstOf(cfg.UserPublishRate, 0)),
	}
	if l.now == nil {
		l.now = time.Now
	}
	if cfg.GlobalConnectRate > 0 {
		l.global = rate.NewLimiter(rate.Limit(cfg.GlobalConnectRate), burstOf(cfg.GlobalConnectRate, 0))
	}
	l.SetRoutes(cfg.Routes)
	l.metrics = newMetrics(cfg.Registerer, l)
	l.replays = newReplays(cfg, l.now, l.metrics)
	return l
}

// burstOf is how many may come at once: what was asked for, or what a second brings.
func burstOf(perSecond float64, asked int) int {
	if asked > 0 {
		return asked
	}
	return int(min(max(math.Ceil(perSecond), 1), 1<<30))
}

// Connect is the first half of an admission: of an address. When the answer is true, the stream counts there until Release; when it is
// false, nothing has been used up, and the refusal says why. A request that begins again because of a reload has had its token: paid.
func (l *Limiter) Connect(addr netip.Addr, paid bool) (Refusal, bool) {
	l.mu.Lock()
	r, ok := l.connect(keyOf(addr), paid, l.now())
	l.mu.Unlock()
	return l.metrics.told(r, ok)
}

func (l *Limiter) connect(k key, paid bool, now time.Time) (Refusal, bool) {
	if l.full() { // it is not counted yet, but there is no use in asking who it is
		return capReached(Streams), false
	}
	if !l.perAddress || paid && l.cfg.StreamsPerAddress <= 0 {
		return Refusal{}, true
	}
	t := l.connects
	s := t.find(k, now)
	shared := s != nil && t.shared(s)
	if shared {
		l.metrics.shared.Inc()
	}
	if most := l.cfg.StreamsPerAddress; most > 0 && s != nil && int(s.streams) >= most {
		return capReached(own(StreamsPerAddress, shared)), false
	}
	if s == nil {
		s = t.add(k)
	}
	if l.cfg.ConnectRate > 0 && !paid {
		if _, wait := t.take(s, now); wait > 0 {
			return rateReached(own(ConnectRate, shared), wait, ownSpread), false
		}
	}
	if l.cfg.StreamsPerAddress > 0 {
		t.opened(s)
	}
	return Refusal{}, true
}

func (l *Limiter) full() bool { return l.cfg.Streams > 0 && l.streams >= l.cfg.Streams }

// Admit is the second half: of the process, the route and the user; Nobody has no limits of his own. When the answer is true, the stream
// counts there too until Release, as it says; when it is false, nothing more has been used up. paid is as in Connect.
func (l *Limiter) Admit(user User, route string, paid bool) (Counted, Refusal, bool) {
	l.mu.Lock()
	counted, r, ok := l.admit(user, route, paid, l.now())
	l.mu.Unlock()
	r, ok = l.metrics.told(r, ok)
	return counted, r, ok
}

// admit looks at the caps before it takes tokens.
func (l *Limiter) admit(user User, route string, paid bool, now time.Time) (Counted, Refusal, bool) {
	if l.full() {
		return ByAddress, capReached(Streams), false
	}
	most := l.limits[route].Streams
	if most > 0 && l.routes[route] >= most {
		return ByAddress, capReached(StreamsPerRoute), false
	}
	counted, r, ok := l.admitUser(user, route, paid, now)
	if !ok {
		return ByAddress, r, false
	}
	l.routes[route]++ // a cap may come later
	l.streams++
	return counted, Refusal{}, true
}

// own is the limit to name: not that of the address when it only shares an entry.
func own(limit string, shared bool) string {
	if shared {
		return Overflow
	}
	return limit
}

func (l *Limiter) takeGlobal(paid bool, now time.Time) (Refusal, bool) {
	if l.global == nil || paid {
		return Refusal{}, true
	}
	r := l.global.ReserveN(now, 1)
	wait := r.DelayFrom(now)
	if wait > 0 {
		r.CancelAt(now)
		return rateReached(GlobalConnectRate, wait, processSpread), false
	}
	return Refusal{}, true
}

// Counted is where a stream counts. It is for whoever keeps the stream to remember: a route may have got a cap for each user since it was
// admitted, or lost one, and then what counts now says nothing of it.
type Counted uint8

const (
	ByAddress     Counted = iota // after Connect
	ByUser                       // after Admit: for its user, its route and the process too
	ByUserOnRoute                // the same, on a route that had a cap for each user: for that too
)

// Admission is what Release gives back.
type Admission struct {
	Addr    netip.Addr
	User    User
	Route   string
	Counted Counted
}

func (a Admission) admitted() bool { return a.Counted != ByAddress }

// Release gives a stream back. What was not admitted changes nothing, and is counted.
func (l *Limiter) Release(a Admission) {
	k := keyOf(a.Addr)
	l.mu.Lock()
	known := l.release(k, a)
	l.mu.Unlock()
	if !known {
		l.metrics.unknown.Inc()
	}
}

func (l *Limiter) release(k key, a Admission) bool {
	counted := l.cfg.StreamsPerAddress > 0
	if counted && !l.connects.has(k) || a.admitted() && !l.knows(a) {
		return false
	}
	if counted {
		l.connects.closed(k)
	}
	if !a.admitted() {
		return true
	}
	l.streams--
	if l.routes[a.Route]--; l.routes[a.Route] == 0 {
		delete(l.routes, a.Route) // it may be gone for good
	}
	l.releaseUser(a)
	return true
}

// knows says whether there is such a stream to give back.
func (l *Limiter) knows(a Admission) bool {
	return l.routes[a.Route] > 0 && l.knowsUser(a)
}
