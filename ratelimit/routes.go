package ratelimit

import "golang.org/x/time/rate"

// SetRoutes changes what may be used of routes. No stream is ended. Those that are open count for the caps of their routes, also beyond one
// that has become smaller; for a cap per user that a route did not have before, only those that come.
func (l *Limiter) SetRoutes(routes map[string]Route) {
	entrances := make(map[string]*rate.Limiter)
	l.mu.Lock()
	defer l.mu.Unlock()
	for name, r := range routes {
		if r.PublishRate <= 0 {
			continue
		}
		entrances[name] = l.entrances[name]
		if entrances[name] == nil || entrances[name].Limit() != rate.Limit(r.PublishRate) {
			entrances[name] = rate.NewLimiter(rate.Limit(r.PublishRate), burstOf(r.PublishRate, 0))
		}
	}
	l.limits, l.entrances = routes, entrances
}
