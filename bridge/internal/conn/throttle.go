package conn

import "time"

const throttleEvery = 30 * time.Second

// throttle lets one of many equal log lines through at a time. The zero value is ready.
type throttle struct {
	last time.Time
	n    int
}

// allow counts, and says whether to speak now and for how many.
func (t *throttle) allow(now time.Time) (n int, say bool) {
	t.n++
	if !t.last.IsZero() && now.Sub(t.last) < throttleEvery {
		return 0, false
	}
	n, t.n, t.last = t.n, 0, now
	return n, true
}

func (t *throttle) reset() { *t = throttle{} }
