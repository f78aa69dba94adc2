package ratelimit

import "net/netip"

// both is an admission of nobody, both halves of it.
func (l *Limiter) both(addr netip.Addr, route string) (Refusal, bool) {
	return l.bothAs(addr, Nobody, route)
}

func (l *Limiter) bothAs(addr netip.Addr, user User, route string) (Refusal, bool) {
	if r, ok := l.Connect(addr); !ok {
		return r, false
	}
	r, ok := l.Admit(user, route)
	if !ok {
		l.Release(Admission{Addr: addr})
	}
	return r, ok
}

// giveBack is the end of a stream of nobody.
func (l *Limiter) giveBack(addr netip.Addr, route string) {
	l.Release(Admission{Addr: addr, Route: route, Admitted: true})
}
