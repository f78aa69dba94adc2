// Package ratelimit is how much a client may use: streams at once and connects a second, per address, per route and in all, and
// publishes a second per address.
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
	Streams           int                   // open streams
	StreamsPerAddress int                   // open streams per client address
	ConnectRate       float64               // new streams a second per client address
	ConnectBurst      int                   // how many of them at once; 0 = those of one second, at least one
	GlobalConnectRate float64               // new streams a second; those of one second may come at once
	PublishRate       float64               // publishes a second per client address; those of one second may come at once
	Addresses         int                   // client addresses remembered, for streams and for publishes each; at least 1
	Routes            map[string]int        // open streams per route
	Registerer        prometheus.Registerer // nil: no metrics
	Now               func() time.Time      // nil: time.Now
}

// Limiter admits streams and publishes. Client addresses count per /64 in IPv6. All methods may be called by anybody at any time.
//
// One mutex guards it all: an admission takes well under a microsecond, a connect a hundred times as much, and the caps are exact.
type Limiter struct {
	// Fixed after New.
	cfg        Config // but for Routes
	now        func() time.Time
	global     *rate.Limiter // nil: off
	perAddress bool          // streams are counted, or connects limited, per address
	metrics    metrics

	mu sync.Mutex

	// Guarded by mu.
	streams   int
	caps      map[string]int // Config.Routes, or what SetRoutes says
	routes    map[string]int // open streams
	connects  *table
	publishes *table
}

// New makes a limiter. It starts nothing.
func New(cfg Config) *Limiter {
	l := &Limiter{
		cfg:        cfg,
		now:        cfg.Now,
		perAddress: cfg.StreamsPerAddress > 0 || cfg.ConnectRate > 0,
		caps:       cfg.Routes,
		routes:     make(map[string]int),
		connects:   newTable(cfg.Addresses, rate.Limit(cfg.ConnectRate), burstOf(cfg.ConnectRate, cfg.ConnectBurst)),
		publishes:  newTable(cfg.Addresses, rate.Limit(cfg.PublishRate), burstOf(cfg.PublishRate, 0)),
	}
	if l.now == nil {
		l.now = time.Now
	}
	if cfg.GlobalConnectRate > 0 {
		l.global = rate.NewLimiter(rate.Limit(cfg.GlobalConnectRate), burstOf(cfg.GlobalConnectRate, 0))
	}
	l.metrics = newMetrics(cfg.Registerer, &l.mu, l.connects, l.publishes)
	return l
}

// SetRoutes changes the caps of routes. Streams that are open count, also beyond a cap that has become smaller: none is ended.
func (l *Limiter) SetRoutes(caps map[string]int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.caps = caps
}

// burstOf is how many may come at once: what was asked for, or what a second brings.
func burstOf(perSecond float64, asked int) int {
	if asked > 0 {
		return asked
	}
	return int(min(max(math.Ceil(perSecond), 1), 1<<30))
}

// Admit asks for a stream. When the answer is true, the stream counts until Release with the same arguments; when it is false,
// nothing has been used up, and the refusal says why.
func (l *Limiter) Admit(addr netip.Addr, route string) (Refusal, bool) {
	now := l.now()
	l.mu.Lock()
	r, ok := l.admit(keyOf(addr), route, now)
	l.mu.Unlock()
	if !ok {
		l.metrics.refusals[r.Limit].Inc()
	}
	return r, ok
}

// admit looks at the caps before it takes tokens, and gives the token of the address back when the process has none.
func (l *Limiter) admit(k key, route string, now time.Time) (Refusal, bool) {
	if l.cfg.Streams > 0 && l.streams >= l.cfg.Streams {
		return capReached(Streams), false
	}
	most := l.caps[route]
	if most > 0 && l.routes[route] >= most {
		return capReached(StreamsPerRoute), false
	}
	s, r, ok := l.admitAddress(k, now)
	if !ok {
		return r, false
	}
	if s != nil && l.cfg.StreamsPerAddress > 0 {
		l.connects.opened(s)
	}
	l.routes[route]++ // a cap may come later
	l.streams++
	return Refusal{}, true
}

// admitAddress takes the tokens, and returns the entry to count the stream in, nil when addresses do not matter.
func (l *Limiter) admitAddress(k key, now time.Time) (*slot, Refusal, bool) {
	if !l.perAddress {
		r, ok := l.takeGlobal(now)
		return nil, r, ok
	}
	t := l.connects
	s := t.find(k, now)
	shared := s != nil && t.shared(s)
	if shared {
		l.metrics.shared.Inc()
	}
	if most := l.cfg.StreamsPerAddress; most > 0 && s != nil && int(s.streams) >= most {
		return nil, capReached(own(StreamsPerAddress, shared)), false
	}
	if s == nil {
		s = t.add(k)
	}
	var taken *rate.Reservation
	if l.cfg.ConnectRate > 0 {
		var wait time.Duration
		if taken, wait = t.take(s, now); wait > 0 {
			return nil, rateReached(own(ConnectRate, shared), wait, ownSpread), false
		}
	}
	if r, ok := l.takeGlobal(now); !ok {
		if taken != nil {
			taken.CancelAt(now)
		}
		t.settle(k)
		return nil, r, false
	}
	return s, Refusal{}, true
}

// own is the limit to name: not that of the address when it only shares an entry.
func own(limit string, shared bool) string {
	if shared {
		return Overflow
	}
	return limit
}

func (l *Limiter) takeGlobal(now time.Time) (Refusal, bool) {
	if l.global == nil {
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

// Release gives a stream back. One that was not admitted changes nothing, and is counted.
func (l *Limiter) Release(addr netip.Addr, route string) {
	k := keyOf(addr)
	l.mu.Lock()
	known := l.release(k, route)
	l.mu.Unlock()
	if !known {
		l.metrics.unknown.Inc()
	}
}

func (l *Limiter) release(k key, route string) bool {
	counted := l.cfg.StreamsPerAddress > 0
	if l.routes[route] == 0 || counted && !l.connects.has(k) {
		return false
	}
	l.streams--
	if l.routes[route]--; l.routes[route] == 0 {
		delete(l.routes, route) // it may be gone for good
	}
	if counted {
		l.connects.closed(k)
	}
	return true
}

// Publish asks for one publish.
func (l *Limiter) Publish(addr netip.Addr) (Refusal, bool) {
	if l.cfg.PublishRate <= 0 {
		return Refusal{}, true
	}
	now := l.now()
	l.mu.Lock()
	r, ok := l.publish(keyOf(addr), now)
	l.mu.Unlock()
	if !ok {
		l.metrics.refusals[r.Limit].Inc()
	}
	return r, ok
}

func (l *Limiter) publish(k key, now time.Time) (Refusal, bool) {
	t := l.publishes
	s := t.find(k, now)
	if s == nil {
		s = t.add(k)
	}
	shared := t.shared(s)
	if shared {
		l.metrics.shared.Inc()
	}
	if _, wait := t.take(s, now); wait > 0 {
		return rateReached(own(PublishRate, shared), wait, ownSpread), false
	}
	return Refusal{}, true
}
