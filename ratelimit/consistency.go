package ratelimit

import (
	"context"
	"fmt"
	"iter"
	"slices"

	"headgate/internal/walk"
)

// lookStep is how many entries of a table are looked at under one hold of the lock.
const lookStep = 4096

// Open are the admissions that are out, as whoever keeps the streams knows them.
type Open interface {
	Admissions() iter.Seq[Admission] // changes meanwhile may be among them or not
	Changes() uint64                 // how often one has come, become more, or gone
}

// Check holds what is counted against the streams that are open, while both go on changing: per address, user and route, and in all. It
// tolerates a difference of as much as has changed while it looked, so it sees less the more streams come and go. Nobody is named.
func (l *Limiter) Check(ctx context.Context, open Open) ([]string, error) {
	return walk.Still(ctx, func() []string { return l.look(open) })
}

// tally is what is counted, and what is open.
type tally struct{ counted, open int }

// tallies are those of the entries of a table, and of what has none or shares one.
type tallies struct {
	entries map[key]*tally
	all     tally
	shared  int // in the entry of all newcomers
}

func (t *tallies) count(k key) {
	t.all.open++
	if e := t.entries[k]; e != nil {
		e.open++
	}
}

// look is what seems to be wrong now.
func (l *Limiter) look(open Open) (found []string) {
	before := open.Changes()
	addresses, broken := l.tally(l.connects)
	users, more := l.tally(l.users)
	byRoute, yetMore := l.tally(l.userRoutes)
	found = append(found, slices.Concat(broken, more, yetMore)...)
	l.mu.Lock()
	process := tally{counted: l.streams}
	routes := map[string]*tally{}
	for name, n := range l.routes {
		routes[name] = &tally{counted: n}
	}
	l.mu.Unlock()
	for a := range open.Admissions() {
		addresses.count(keyOf(a.Addr))
		if !a.admitted() {
			continue
		}
		process.open++
		if routes[a.Route] == nil {
			routes[a.Route] = &tally{}
		}
		routes[a.Route].open++
		if a.User != Nobody {
			users.count(key(a.User))
			if a.Counted == ByUserOnRoute {
				byRoute.count(a.User.on(a.Route))
			}
		}
	}
	slack := int(open.Changes() - before)
	if process.off(slack) {
		found = append(found, "the process counts other streams than are open")
	}
	for name, t := range routes {
		if t.off(slack) {
			found = append(found, fmt.Sprintf("route %s counts other streams than are open", name))
		}
	}
	if l.cfg.StreamsPerAddress > 0 {
		found = append(found, addresses.judge("address", slack)...)
	}
	if l.cfg.StreamsPerUser > 0 {
		found = append(found, users.judge("user", slack)...)
	}
	return append(found, byRoute.judge("user on a route", slack)...)
}

func (t tally) off(slack int) bool { return t.counted-t.open > slack || t.open-t.counted > slack }

// judge says what is wrong with a table. Who came while it was full may count in the shared entry, also if he has one of his own by now.
func (t *tallies) judge(what string, slack int) (found []string) {
	if t.all.off(slack) {
		found = append(found, fmt.Sprintf("the entries by %s count other streams than are open", what))
	}
	for _, e := range t.entries {
		if e.counted > e.open+slack || e.open > e.counted+t.shared+slack {
			return append(found, fmt.Sprintf("an entry by %s counts other streams than are open", what))
		}
	}
	return found
}

// tally reads a table, and finds entries in it that nobody would find. It holds the lock for a part of it at a time.
func (l *Limiter) tally(t *table) (*tallies, []string) {
	all := &tallies{entries: map[key]*tally{}}
	var broken []string
	for from := 0; ; from += lookStep {
		l.mu.Lock()
		if from == 0 {
			all.shared = int(t.overflow.streams)
			all.all.counted = all.shared
		}
		for i := from; i < min(from+lookStep, len(t.slots)); i++ {
			s := &t.slots[i]
			place, there := t.index[s.key]
			switch {
			case there && int(place) == i:
				all.entries[s.key] = &tally{counted: int(s.streams)}
				all.all.counted += int(s.streams)
			case s.streams != 0 || s.bucket != nil:
				broken = append(broken, fmt.Sprintf("entry %d of a table says something, and nobody finds it", i))
			}
		}
		last := from+lookStep >= len(t.slots)
		l.mu.Unlock()
		if last {
			return all, broken
		}
	}
}
