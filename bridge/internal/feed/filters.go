package feed

import (
	"context"
	"slices"

	"headgate/internal/flow"
	"headgate/internal/subject"
)

// filtered is what the loop reads.
type filtered struct {
	filters []string // what is wanted; nil = all of the stream
	server  []string // the filters that the consumer has; nil: it gets everything, and mine decides
	mine    []string // what is relayed of that; nil = all
}

// asked are the filters that the consumer of a feed has, and what is left to the feed to choose from that. nats-server refuses several
// filters that overlap. For several of which one is a wildcard, its consumer goes through all the subjects that they match, of a block of
// the stream, for every single message: a millisecond each with 10,000 subjects, see asked_test.go.
func asked(filters []string) filtered {
	if len(filters) == 0 {
		return filtered{}
	}
	if len(filters) < 2 || !slices.ContainsFunc(filters, subject.HasWildcard) && !overlap(filters) {
		return filtered{filters: filters, server: filters}
	}
	cover := subject.Cover(filters)
	if cover[0] == '*' || cover[0] == '>' { // first tokens are few: most likely all of the stream
		return filtered{filters: filters, mine: filters}
	}
	return filtered{filters: filters, server: []string{cover}, mine: filters}
}

func overlap(filters []string) bool {
	for i, a := range filters {
		if slices.ContainsFunc(filters[:i], func(b string) bool { return subject.Intersects(a, b) }) {
			return true
		}
	}
	return false
}

// delivered are the patterns of what the consumer delivers: the feed's own, or more.
func (f *filtered) delivered() []string {
	if f.server == nil {
		return everything
	}
	return f.server
}

var everything = []string{">"}

// Read makes a feed without a table read other subjects from now on; nil = all of the stream. It returns when whoever follows them is
// given every match behind the cursor, or with flow.ErrClosed after Run, or with the error of ctx. Followers of subjects that are still
// read notice nothing.
func (f *Feed) Read(ctx context.Context, filters []string) error {
	f.mu.Lock()
	f.other = &filters
	f.mu.Unlock()
	select {
	case f.wake <- struct{}{}:
	default:
	}
	for {
		f.mu.Lock()
		waiting, ended, changed := f.other != nil, f.ended, f.changed
		f.mu.Unlock()
		switch {
		case ended:
			return flow.ErrClosed
		case !waiting:
			return nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-changed:
		}
	}
}

// asksOther says whether the loop is to take other filters.
func (f *Feed) asksOther() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.other != nil
}

// refilter takes other filters, between two sessions: the next consumer begins with them behind the cursor. Of subjects that were not read
// before, the tail has nothing, so it begins anew there; what is older is read from history.
func (f *Feed) refilter() {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.other == nil {
		return
	}
	next := asked(*f.other)
	f.other = nil
	if !coversAll(f.filters, next.filters) {
		f.tail.clear(f.Cursor)
		f.account()
	}
	f.filtered = next
	f.target = target{} // it says where the old subjects end
	f.tell()
}

// coversAll says whether everything that b matches is matched by a filter of a; nil matches everything.
func coversAll(a, b []string) bool {
	if a == nil {
		return true
	}
	if b == nil {
		b = everything
	}
	return !slices.ContainsFunc(b, func(p string) bool {
		return !slices.ContainsFunc(a, func(q string) bool { return subject.Covers(q, p) })
	})
}

// Retire closes a feed that nobody follows, for good: nobody can follow it any more, and Run is to be ended. It is false, and changes
// nothing, while somebody does.
func (f *Feed) Retire() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.all) > 0 {
		return false
	}
	f.ended = true
	f.tell()
	return true
}
