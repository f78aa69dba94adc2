package ratelimit

import (
	"hash/maphash"
	"time"

	"golang.org/x/time/rate"
)

// User is whom limits are for: the sub of an issuer, as eight bytes, because there may be a million streams that remember theirs. It means
// nothing in another process, and who chooses a sub cannot choose whose limits he shares.
type User uint64

// Nobody has no limits of his own; those of his address are all there is.
const Nobody User = 0

var seed = maphash.MakeSeed()

// UserOf is the user that an issuer calls sub. Without a sub it is nobody.
func UserOf(issuer, sub string) User {
	if sub == "" {
		return Nobody
	}
	return max(1, User(maphash.Comparable(seed, [2]string{issuer, sub})))
}

// on is the key of the user's streams on one route.
func (u User) on(route string) key {
	return key(maphash.Comparable(seed, struct {
		user  User
		route string
	}{u, route}))
}

// admitUser looks at what the user has open, takes the tokens, his own and that of the process, and counts the stream.
func (l *Limiter) admitUser(user User, route string, paid bool, now time.Time) (Counted, Refusal, bool) {
	if user == Nobody {
		r, ok := l.takeGlobal(paid, now)
		return ByUser, r, ok
	}
	perRoute := l.limits[route].StreamsPerUser
	if perRoute > 0 {
		if s := l.userRoutes.find(user.on(route), now); s != nil && int(s.streams) >= perRoute {
			return ByAddress, capReached(own(StreamsPerUserAndRoute, l.shares(l.userRoutes, s))), false
		}
	}
	taken, r, ok := l.takeUser(key(user), paid, now)
	if !ok {
		return ByAddress, r, false
	}
	if r, ok := l.takeGlobal(paid, now); !ok {
		if taken != nil {
			taken.CancelAt(now)
		}
		l.users.settle(key(user))
		return ByAddress, r, false
	}
	if l.cfg.StreamsPerUser > 0 {
		l.users.opened(l.users.entry(key(user), now))
	}
	if perRoute <= 0 {
		return ByUser, Refusal{}, true
	}
	l.userRoutes.opened(l.userRoutes.entry(user.on(route), now))
	return ByUserOnRoute, Refusal{}, true
}

// takeUser takes the user's token, unless he has too many streams.
func (l *Limiter) takeUser(k key, paid bool, now time.Time) (*rate.Reservation, Refusal, bool) {
	if !l.perUser || paid && l.cfg.StreamsPerUser <= 0 {
		return nil, Refusal{}, true
	}
	s := l.users.entry(k, now)
	shared := l.shares(l.users, s)
	if most := l.cfg.StreamsPerUser; most > 0 && int(s.streams) >= most {
		return nil, capReached(own(StreamsPerUser, shared)), false
	}
	if l.cfg.UserConnectRate <= 0 || paid {
		return nil, Refusal{}, true
	}
	taken, wait := l.users.take(s, now)
	if wait > 0 {
		return nil, rateReached(own(UserConnectRate, shared), wait, ownSpread), false
	}
	return taken, Refusal{}, true
}

// shares says whether s is the entry of all newcomers, and counts that.
func (l *Limiter) shares(t *table, s *slot) bool {
	if !t.shared(s) {
		return false
	}
	l.metrics.shared.Inc()
	return true
}

// knowsUser says whether releaseUser would find the stream.
func (l *Limiter) knowsUser(a Admission) bool {
	if a.User == Nobody {
		return true
	}
	return (l.cfg.StreamsPerUser <= 0 || l.users.has(key(a.User))) && (a.Counted != ByUserOnRoute || l.userRoutes.has(a.User.on(a.Route)))
}

func (l *Limiter) releaseUser(a Admission) {
	if a.User == Nobody {
		return
	}
	if l.cfg.StreamsPerUser > 0 {
		l.users.closed(key(a.User))
	}
	if a.Counted == ByUserOnRoute {
		l.userRoutes.closed(a.User.on(a.Route))
	}
}
