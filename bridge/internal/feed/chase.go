package feed

import "context"

const mostRounds = 20

// chase is how a load goes on behind its end. A consumer that begins with the last message of every subject leaves out those that were
// replaced before their turn came; what replaced them comes later. So as long as subjects are missing, it is read on up to where the
// stream is now: behind a round in which nothing was left out, what is missing is gone.
type chase struct {
	wanted bool // another round
	rounds int
	jumped bool // in this round something was left out
}

// unsure says whether subjects are missing in a load that may only not have come yet.
func (f *Feed) unsure() bool {
	l := f.load
	if l.rounds >= mostRounds || l.rounds > 0 && !l.jumped {
		return false
	}
	if l.keys != nil {
		return f.keys != nil && f.keys.lostBy(l.keys)
	}
	return f.table != nil && f.table.lostBy(&l.table)
}

// chase begins another round.
func (f *Feed) chase(ctx context.Context, s *session) {
	info, err := f.info(ctx, s)
	if err != nil {
		return // it is tried again
	}
	l := f.load
	l.wanted, l.jumped = false, false
	l.rounds++
	f.aim(ctx, s, info.LastSeq)
}
