package ratelimit

import (
	"net/netip"
	"sync"
)

// receipts are what the admissions of a test said where they count, for the test to give them back as gateway does.
var receipts struct {
	mu  sync.Mutex
	all map[receipt][]Counted
}

type receipt struct {
	l     *Limiter
	user  User
	route string
}

// both is an admission of nobody, both halves of it.
func (l *Limiter) both(addr netip.Addr, route string) (Refusal, bool) {
	return l.bothAs(addr, Nobody, route)
}

func (l *Limiter) bothAs(addr netip.Addr, user User, route string) (Refusal, bool) {
	return l.bothPaid(addr, user, route, false)
}

func (l *Limiter) bothPaid(addr netip.Addr, user User, route string, paid bool) (Refusal, bool) {
	if r, ok := l.Connect(addr, paid); !ok {
		return r, false
	}
	counted, r, ok := l.Admit(user, route, paid)
	if !ok {
		l.Release(Admission{Addr: addr})
		return r, ok
	}
	receipts.mu.Lock()
	defer receipts.mu.Unlock()
	if receipts.all == nil {
		receipts.all = map[receipt][]Counted{}
	}
	k := receipt{l, user, route}
	receipts.all[k] = append(receipts.all[k], counted)
	return r, ok
}

// giveBack is the end of a stream of nobody.
func (l *Limiter) giveBack(addr netip.Addr, route string) { l.giveBackOf(addr, Nobody, route) }

func (l *Limiter) giveBackAs(user User, route string) { l.giveBackOf(alice, user, route) }

// giveBackOf is the end of the user's oldest stream on the route. Where there is none it is one that was never admitted.
func (l *Limiter) giveBackOf(addr netip.Addr, user User, route string) {
	counted, k := ByUser, receipt{l, user, route}
	receipts.mu.Lock()
	if all := receipts.all[k]; len(all) > 0 {
		counted, receipts.all[k] = all[0], all[1:]
	}
	receipts.mu.Unlock()
	l.Release(Admission{Addr: addr, User: user, Route: route, Counted: counted})
}
