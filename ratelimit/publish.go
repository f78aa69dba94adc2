package ratelimit

import (
	"net/netip"
	"time"

	"golang.org/x/time/rate"
)

// Publish asks for one publish from an address, before it is known who is asking.
func (l *Limiter) Publish(addr netip.Addr) (Refusal, bool) {
	if l.cfg.PublishRate <= 0 {
		return Refusal{}, true
	}
	l.mu.Lock()
	_, r, ok := l.takePublish(l.publishes, keyOf(addr), PublishRate, l.now())
	l.mu.Unlock()
	return l.metrics.told(r, ok)
}

// PublishAs asks for the same publish by a user on a route. Where it is refused, neither has lost anything.
func (l *Limiter) PublishAs(user User, route string) (Refusal, bool) {
	l.mu.Lock()
	r, ok := l.publishAs(user, route, l.now())
	l.mu.Unlock()
	return l.metrics.told(r, ok)
}

func (l *Limiter) publishAs(user User, route string, now time.Time) (Refusal, bool) {
	var own *rate.Reservation
	if user != Nobody && l.cfg.UserPublishRate > 0 {
		var r Refusal
		var ok bool
		if own, r, ok = l.takePublish(l.publishers, key(user), UserPublishRate, now); !ok {
			return r, false
		}
	}
	entrance := l.entrances[route]
	if entrance == nil {
		return Refusal{}, true
	}
	taken := entrance.ReserveN(now, 1)
	wait := taken.DelayFrom(now)
	if wait <= 0 {
		return Refusal{}, true
	}
	taken.CancelAt(now)
	if own != nil {
		own.CancelAt(now)
	}
	return rateReached(RoutePublishRate, wait, processSpread), false
}

func (l *Limiter) takePublish(t *table, k key, limit string, now time.Time) (*rate.Reservation, Refusal, bool) {
	s := t.entry(k, now)
	shared := l.shares(t, s)
	taken, wait := t.take(s, now)
	if wait > 0 {
		return nil, rateReached(own(limit, shared), wait, ownSpread), false
	}
	return taken, Refusal{}, true
}
