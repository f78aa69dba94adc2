package feed

import (
	"math"
	"time"

	"headgate/bridge/internal/jsapi"
)

// doubtChecks is how long doubt lasts, in times that every replica compares its keys with the leader's.
const doubtChecks = 4

// doubt begins when keys have been loaded first, or were found to be gone without a message. From then on whoever comes back may have a
// value that is no more, whatever his position is: another replica that has not found it out yet goes on giving positions. When doubt
// ends every replica has found it out, or has given up to give positions that anybody takes up (see proof.go), and only those that the
// stream had got to at that moment are in doubt. It needs mu.
func (f *Feed) doubt() {
	if !f.cfg.Table {
		return
	}
	f.doubts = time.Now().Add(doubtChecks * f.cfg.VerifyEvery)
	f.Doubts++
}

// doubted is up to which position there is doubt at present: any, while it lasts, and where nothing is known of what was removed. It
// needs mu.
func (f *Feed) doubted() uint64 {
	switch {
	case !f.cfg.Table:
		return 0
	case f.table == nil && f.keys == nil, !f.doubts.IsZero():
		return math.MaxUint64
	}
	return f.Doubt
}

// settle ends doubt when it is time, with what the leader answered to a request of a moment. Another replica may be ahead of this one, so
// it is the stream's last sequence, and not ours, that no position has got beyond until then.
func (f *Feed) settle(asked time.Time, info jsapi.Info) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if !f.doubts.IsZero() && asked.After(f.doubts) {
		f.doubts, f.Doubt = time.Time{}, max(f.Doubt, f.Cursor, info.LastSeq)
	}
}

// suspect makes the next load compare what there is before anything is pushed, when that is due: what was away for long would else push
// to those who have a key that is no more, under positions that nobody takes up. So does one that may have been put back.
func (f *Feed) suspect(sure bool) {
	if !f.cfg.Table || sure && time.Since(f.sound) < doubtChecks/2*f.cfg.VerifyEvery {
		return
	}
	switch {
	case f.table != nil:
		f.reload = f.reload || f.mayReload()
	case f.keys != nil:
		f.recount = f.recount || f.mayRecount()
	}
}

// hurry makes the next comparison come soon, after one that proved nothing.
func (f *Feed) hurry() { f.verified = time.Now().Add(f.cfg.VerifyEvery/10 - f.cfg.VerifyEvery) }
