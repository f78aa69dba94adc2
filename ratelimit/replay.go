package ratelimit

import (
	"sync"
	"time"

	"golang.org/x/time/rate"
)

// Replay is how much may be replayed a second. What replayBurst brings may come at once: whoever comes back after a break is not slowed
// down, whoever comes back again and again to the same place is.
type Replay struct {
	Events float64
	Bytes  float64
}

const replayBurst = 10 * time.Second

func (r Replay) off() bool { return r.Events <= 0 && r.Bytes <= 0 }

// replays are the budgets of what is read for clients that missed something: one of the process, one of each user. They have a lock of
// their own, since reads go on all the time while clients catch up. Nothing is read, and nobody is charged, before both budgets have
// something left; what a part was is charged when it has been read, also where that is more than there was. One part at a time is read
// for a user who has a budget, so whoever spends his own takes nothing from the others'.
type replays struct {
	// Fixed after New.
	all, user Replay
	now       func() time.Time
	metrics   metrics

	mu sync.Mutex

	// Guarded by mu.
	events, bytes           *rate.Limiter // of the process; nil: off
	userEvents, userByBytes *table        // of users
	reading                 map[key]struct{}
}

const (
	// partPause is how long a user waits for the part that is being read for him elsewhere.
	partPause = 50 * time.Millisecond
	// askAgain is after how long it is asked again.
	askAgain = time.Second
)

// newReplays makes the budgets; nil when there are none.
func newReplays(cfg Config, now func() time.Time, m metrics) *replays {
	if cfg.Replay.off() && cfg.UserReplay.off() {
		return nil
	}
	r := &replays{all: cfg.Replay, user: cfg.UserReplay, now: now, metrics: m, reading: map[key]struct{}{}}
	r.events, r.bytes = replayLimiter(r.all.Events), replayLimiter(r.all.Bytes)
	r.userEvents = newTable(cfg.Users, rate.Limit(r.user.Events), replayTokens(r.user.Events))
	r.userByBytes = newTable(cfg.Users, rate.Limit(r.user.Bytes), replayTokens(r.user.Bytes))
	return r
}

func replayTokens(perSecond float64) int { return burstOf(perSecond*replayBurst.Seconds(), 0) }

func replayLimiter(perSecond float64) *rate.Limiter {
	if perSecond <= 0 {
		return nil
	}
	return rate.NewLimiter(rate.Limit(perSecond), replayTokens(perSecond))
}

// MayReplay says how long to wait before asking again for a user, whatever names him. 0: a part may be read for him now, and Replayed must
// be called when it has been. What is read for "" is charged to the process alone.
func (l *Limiter) MayReplay(user string) time.Duration {
	r := l.replays
	if r == nil {
		return 0
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	now := r.now() // under mu, as in Limiter
	wait := max(spent(r.events, now), spent(r.bytes, now))
	own := r.owns(user)
	k := key(UserOf("", user))
	if own {
		wait = max(wait, spentBy(r.userEvents, k, now), spentBy(r.userByBytes, k, now))
		if _, busy := r.reading[k]; busy {
			wait = max(wait, partPause)
		}
	}
	if wait > 0 {
		r.metrics.replayWaits.Inc()
		return min(wait, askAgain)
	}
	if own {
		r.reading[k] = struct{}{}
	}
	return 0
}

// Replayed charges the part that MayReplay allowed.
func (l *Limiter) Replayed(user string, events, bytes int) {
	r := l.replays
	if r == nil {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	now := r.now()
	charge(r.events, events, now)
	charge(r.bytes, bytes, now)
	if r.owns(user) {
		k := key(UserOf("", user))
		delete(r.reading, k)
		chargeUser(r.userEvents, k, events, now)
		chargeUser(r.userByBytes, k, bytes, now)
	}
}

// owns says whether a user has a budget of his own.
func (r *replays) owns(user string) bool { return user != "" && !r.user.off() }

// spent is how long it takes until there is a token; 0 = there is.
func spent(l *rate.Limiter, now time.Time) time.Duration {
	if l == nil {
		return 0
	}
	if missing := 1 - l.TokensAt(now); missing > 0 {
		return max(time.Duration(missing/float64(l.Limit())*float64(time.Second)), time.Millisecond)
	}
	return 0
}

// spentBy is spent for one user, by the entry of all newcomers where the table is full.
func spentBy(t *table, k key, now time.Time) time.Duration {
	if t.limit <= 0 {
		return 0
	}
	if s := t.find(k, now); s != nil {
		return spent(s.bucket, now)
	}
	return 0
}

func chargeUser(t *table, k key, n int, now time.Time) {
	if t.limit > 0 && n > 0 {
		charge(t.fill(t.entry(k, now)), n, now)
	}
}

// charge takes n tokens, whether they are there or not.
func charge(l *rate.Limiter, n int, now time.Time) {
	if l == nil {
		return
	}
	for n > 0 {
		part := min(n, l.Burst())
		l.ReserveN(now, part)
		n -= part
	}
}
