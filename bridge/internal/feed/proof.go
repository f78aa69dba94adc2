package feed

import (
	"time"

	"headgate/internal/gap"
)

const (
	// proofChecks is how long behind a comparison that proved that nothing is missing positions are given as certain, in times that one
	// is made. It is less than doubtChecks: who has noticed that a key is gone doubts for longer than anybody who has not may go on.
	proofChecks = doubtChecks - 1
	// freshChecks is how often clients are given a fresh state where nothing can be compared, and something was changed.
	freshChecks = 12
	freshLate   = 10 // times that, at most, where states are always on their way
)

// proven says whether what is in the table, or among the keys, was what the bucket had not long ago.
func (f *Feed) proven() bool { return time.Since(f.sound) < proofChecks*f.cfg.VerifyEvery }

// named is the incarnation with the tag for the positions that are given now. Those that are not proven have a tag that no replica
// takes up, this one included: whoever comes back with one is given a state. So it does not matter for how long comparisons prove
// nothing, here or anywhere else.
func (f *Feed) named() *Incarnation {
	inc := f.Inc
	tag := inc.Doubted
	if f.proven() {
		tag = inc.Certain
	}
	if tag == inc.Tag {
		return inc
	}
	other := *inc
	other.Tag = tag
	return &other
}

// judge is called before anything is pushed, and when something has been proven: those who follow go on where they are, under the tag
// that is right.
func (f *Feed) judge() {
	if !f.cfg.Table || f.Inc == nil || !f.caughtUp {
		return
	}
	inc := f.named()
	if inc == f.Inc {
		return
	}
	f.log.Info("positions are given under another tag: while nobody can say that no key went without a message, whoever comes back gets the state",
		"certain", inc.Tag == inc.Certain)
	f.announce(Hole{Reason: gap.Reset, Silent: true, Renamed: true}, func() { f.Inc = inc })
}

// prove compares by loading anew what has not been proven for long, where that does not cost too much.
func (f *Feed) prove() reset {
	switch {
	case f.load != nil || f.proven():
	case f.table != nil && f.mayReload():
		f.reload = true
		return resetTable
	case f.keys != nil && f.mayRecount():
		f.recount = true
		return resetTable
	}
	return goesOn
}

// mayReload says whether the table may be loaded again without taking more than its share of the time.
func (f *Feed) mayReload() bool { return time.Since(f.loadedAt) >= countShare*f.loadTook }

// mayRecount is the same of keys, where counting them proves anything.
func (f *Feed) mayRecount() bool { return !f.revives && time.Since(f.countedAt) >= f.countPause() }

// freshen gives those who follow a bucket of which not even the keys are known, or of which these say too little, a fresh state from time
// to time, unless nothing has changed in it; while states are on their way, later.
func (f *Feed) freshen(before, now fingerprint) {
	f.stale = f.stale || before != now
	if f.table != nil || f.keys != nil && !f.revives || !f.stale || !f.caughtUp {
		return
	}
	since, pause := time.Since(f.freshened), freshChecks*f.cfg.VerifyEvery
	if since < pause || since < freshLate*pause && f.cfg.Budget.States() > 0 {
		return
	}
	f.freshened, f.stale = time.Now(), false
	f.announce(Hole{Reason: gap.Reset}, f.doubt)
}
