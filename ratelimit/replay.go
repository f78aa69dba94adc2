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
// their own, since reads go on all the time while clients catch up. A batch is charged when it has been read, and is handed on when its
// budget allows: so nobody is refused what he missed, and what waits for one reader is one batch.
type replays struct {
	// Fixed after New.
	all, user Replay
	now       func() time.Time
	metrics   metrics

	mu sync.Mutex

	// Guarded by mu.
	events, bytes           *rate.Limiter // of the process; nil: off
	userEvents, userByBytes *table        // of users
}

// newReplays makes the budgets; nil when there are none.
func newReplays(cfg Config, now func() time.Time, m metrics) *replays {
	if cfg.Replay.off() && cfg.UserReplay.off() {
		return nil
	}
	r := &replays{all: cfg.Replay, user: cfg.UserReplay, now: now, metrics: m}
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

// Replay charges a batch that has been read for a user, whatever names him, and says how long it has to wait until it may go on. What is
// read for "" is charged to the process alone.
func (l *Limiter) Replay(user string, events, bytes int) time.Duration {
	r := l.replays
	if r == nil || events == 0 {
		return 0
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	now := r.now() // under mu, as in Limiter
	wait := max(charge(r.events, events, now), charge(r.bytes, bytes, now))
	if k := key(UserOf("", user)); user != "" {
		wait = max(wait, chargeUser(r.userEvents, k, events, now), chargeUser(r.userByBytes, k, bytes, now))
	}
	if wait > 0 {
		r.metrics.replayWaits.Inc()
	}
	return wait
}

// chargeUser charges the budget of one user, in the entry of all newcomers where the table is full.
func chargeUser(t *table, k key, n int, now time.Time) time.Duration {
	if t.limit <= 0 {
		return 0
	}
	return charge(t.fill(t.entry(k, now)), n, now)
}

// charge takes n tokens, or all there can ever be, and says when they are there.
func charge(l *rate.Limiter, n int, now time.Time) time.Duration {
	if l == nil {
		return 0
	}
	return l.ReserveN(now, min(n, l.Burst())).DelayFrom(now)
}
