package feed

import (
	"math"
	"time"
)

// doubtChecks is how long doubt lasts, in times that every replica compares its keys with the leader's.
const doubtChecks = 4

// doubt begins when keys have been loaded first, or were found to be gone without a message. From then on whoever comes back may have a
// value that is no more, whatever his position is: another replica that has not found it out yet goes on giving positions. When doubt
// ends every replica has found it out, and only positions up to the cursor of that moment are in doubt. It needs mu.
func (f *Feed) doubt() {
	if !f.cfg.Table {
		return
	}
	f.doubts = time.Now().Add(f.doubtLasts())
	f.Doubts++
}

// doubtLasts is the time in which every replica finds out what one has found out. It is owned by Run.
func (f *Feed) doubtLasts() time.Duration {
	return doubtChecks*f.cfg.VerifyEvery + 2*countShare*f.countTook
}

// doubted is up to which position there is doubt at present: any, while it lasts, and where nothing is known of what was removed. It is
// called often enough for the cursor not to move on much between the end of doubt and the next call. It needs mu.
func (f *Feed) doubted(now time.Time) uint64 {
	switch {
	case !f.cfg.Table:
		return 0
	case f.table == nil && f.keys == nil:
		return math.MaxUint64
	case f.doubts.IsZero():
		return f.Doubt
	case now.Before(f.doubts):
		return math.MaxUint64
	}
	f.doubts, f.Doubt = time.Time{}, max(f.Doubt, f.Cursor)
	return f.Doubt
}

// settle ends doubt when it is time.
func (f *Feed) settle(now time.Time) {
	f.mu.Lock()
	f.doubted(now)
	f.mu.Unlock()
}

// suspect makes the next load compare what there is before anything is pushed, when that is due: what was away for long must not give
// positions as if it knew what has gone meanwhile, since others do not doubt them any more.
func (f *Feed) suspect() {
	if !f.cfg.Table || time.Since(f.sound) < f.doubtLasts()/2 {
		return
	}
	f.reload = f.reload || f.table != nil
	f.recount = f.recount || f.keys != nil
}

// hurry makes the next comparison come soon, after one that proved nothing.
func (f *Feed) hurry() { f.verified = time.Now().Add(f.cfg.VerifyEvery/10 - f.cfg.VerifyEvery) }
