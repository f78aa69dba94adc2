package stream

import (
	"errors"
	"runtime"
	"slices"
	"strings"
	"sync"
	"time"

	"headgate/bridge/internal/encode"
	"headgate/bridge/internal/feed"
	"headgate/bridge/internal/history"
	"headgate/bridge/internal/kv"
)

// stateWindow is how long a state that was read is given to those who ask for the same one. What has happened since they are given as
// what they missed, so an older state is as good as a new one. Those who come together then hold one list and not one each.
const stateWindow = 5 * time.Second

// stateBehind is how many messages the stream may have got since: they follow the state, and nobody wants an old state and a flood.
const stateBehind = 1000

// largeFor is how long a state that was too large is not tried again: reading it takes as much room as any state may have.
const largeFor = time.Minute

// firstBytes of room must be there before a state is read at all.
const firstBytes = 4 << 10

// collectEvery is how often memory is looked through for states whose clients have gone away in the middle, while there is no room.
const collectEvery = time.Second

// states are the states that were read from NATS lately, or are being read. What they take, and those that are still being given,
// belongs to the budget of the feeds.
type states struct {
	mu        sync.Mutex
	all       map[string]*shared
	large     map[string]time.Time // those that were too large to be read: until then nobody tries again
	collected time.Time
}

// shared is one of them. Guarded by the mu of its states.
type shared struct {
	inc     *feed.Incarnation
	doubts  uint64         // of the feed: what went without a message before is not in it
	at      uint64         // what it is the state of
	answer  *historyAnswer // nil: being read
	room    *feed.Room
	kept    *feed.Use // for those who come within the window
	waiting []taker
}

// taker is given a state, and the use of its room, which ends when the state has been given.
type taker func(a historyAnswer, use *feed.Use)

// get gives the last message of every subject of a source, as of answer.Upto, which is least at the earliest.
func (t *states) get(s *Source, now feed.State, least uint64, done taker) {
	key := s.stream + " " + strings.Join(s.filters, " ")
	t.mu.Lock()
	old := t.all[key]
	if old.young(s, now) && old.inc.Same(now.Inc) && old.doubts == now.Doubts && old.at >= least {
		if old.answer == nil {
			old.waiting = append(old.waiting, done)
			t.mu.Unlock()
			return
		}
		answer, use := *old.answer, old.room.Use()
		t.mu.Unlock()
		done(answer, use)
		return
	}
	room := s.streams.budget.Room()
	grow := func(bytes int64) bool { return room.Grow(bytes) || t.reclaim() && room.Grow(bytes) }
	sh := &shared{inc: now.Inc, doubts: now.Doubts, at: now.Cursor, room: room, kept: room.Use(), waiting: []taker{done}}
	if old != nil && old.answer != nil {
		t.drop(key, old)
	}
	t.all[key] = sh
	large := time.Now().Before(t.large[key])
	t.mu.Unlock()
	if large {
		t.tooLarge(s, key, sh, now)
		return
	}
	if !grow(firstBytes) { // no need to trouble NATS
		t.read(key, sh, historyAnswer{Err: history.ErrCrowded})
		return
	}
	ahead := int64(firstBytes)
	r := s.request(now.Inc, 0, now.Cursor, 0)
	r.Grow = func(bytes int64) bool {
		if bytes <= ahead {
			ahead -= bytes
			return true
		}
		return grow(bytes)
	}
	s.streams.history.LastPerSubject(r, func(a historyAnswer) {
		a.Upto = now.Cursor
		if errors.Is(a.Err, history.ErrTooLarge) {
			if t.note(key) {
				s.streams.cfg.Log.Info("a state is too large to be held: it is read part by part", "stream", s.stream, "source", s.spec.Name)
			}
			t.tooLarge(s, key, sh, now)
			return
		}
		if s.Bucket() { // once for all; what was read may be others' too
			a.Items = slices.DeleteFunc(slices.Clone(a.Items), func(it *encode.Item) bool { return kv.Gone(it.Header) })
		}
		t.read(key, sh, a)
		s.streams.retries.later(stateWindow, func() { t.forget(key, sh) })
	})
}

// young says whether it is not too old for those who come now: what has happened since follows it, for a bucket out of memory. It needs the
// mu of its states, and nil is not.
func (sh *shared) young(s *Source, now feed.State) bool {
	switch {
	case sh == nil:
		return false
	case sh.answer == nil:
		return true
	case s.Bucket() && sh.at < now.Floor:
		return false // it would be in vain
	}
	behind := uint64(stateBehind)
	if l := sh.answer.List; l != nil {
		behind = max(behind, uint64(l.Len()/10)) // making it again costs more than being told of so many changes
	}
	return now.Cursor-min(now.Cursor, sh.at) <= behind
}

// read hands out what has been read.
func (t *states) read(key string, sh *shared, a historyAnswer) {
	t.mu.Lock()
	sh.answer = &a
	waiting := sh.waiting
	sh.waiting = nil
	if a.Err != nil {
		sh.room.Free() // what was read of it is not kept
	}
	uses := make([]*feed.Use, len(waiting))
	for i := range uses {
		uses[i] = sh.room.Use()
	}
	if t.all[key] != sh || a.Err != nil && !errors.Is(a.Err, history.ErrTooLarge) {
		t.drop(key, sh)
	}
	t.mu.Unlock()
	for i, w := range waiting {
		w(a, uses[i])
	}
}

// tooLarge gives, in place of a state that nobody may hold, what it is read by part by part: nothing but its position where every message is
// a part of it, or else a list of where they are.
func (t *states) tooLarge(s *Source, key string, sh *shared, was feed.State) {
	sh.room.Free()
	now := s.feed.State()
	t.mu.Lock()
	sh.at = now.Cursor
	t.mu.Unlock()
	switch {
	case !was.Inc.Same(now.Inc):
		t.read(key, sh, historyAnswer{Err: errAgain})
	case s.walkable(now.Inc):
		t.read(key, sh, historyAnswer{Err: history.ErrTooLarge, Upto: now.Cursor})
		s.streams.retries.later(stateWindow, func() { t.forget(key, sh) })
	default:
		t.list(s, key, sh, now)
	}
}

// listWindow is how long a list is given to those who come. It takes longer to make than a state, and what has happened since is given to
// them all the same.
const listWindow = 30 * time.Second

// listBytes of memory a list may take even where the budget is small.
const listBytes = 64 << 20

func (t *states) list(s *Source, key string, sh *shared, now feed.State) {
	r := s.request(now.Inc, 0, now.Cursor, 0)
	most, never := max(listBytes, s.streams.budget.MostOfStates()), false
	r.Grow = func(bytes int64) bool {
		if most -= bytes; most < 0 {
			never = true
			return false
		}
		return sh.room.Grow(bytes) || t.reclaim() && sh.room.Grow(bytes)
	}
	var void func(*encode.Item) bool
	if s.Bucket() {
		void = func(it *encode.Item) bool { return kv.Gone(it.Header) }
	}
	s.streams.history.List(r, void, func(a historyAnswer) {
		a.Upto = now.Cursor
		if never {
			a.Err = history.ErrTooLarge
		}
		t.read(key, sh, a)
		s.streams.retries.later(listWindow, func() { t.forget(key, sh) })
	})
}

// note keeps in mind that a state is too large to be held. It says whether that is news.
func (t *states) note(key string) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	now := time.Now()
	for k, until := range t.large {
		if now.After(until) {
			delete(t.large, k)
		}
	}
	if _, ok := t.large[key]; ok {
		return false
	}
	t.large[key] = now.Add(largeFor)
	return true
}

func (t *states) forget(key string, sh *shared) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.drop(key, sh)
}

// drop lets go of what was read: its room is given back, and the call that would forget it later does not hold it until then. It needs mu.
func (t *states) drop(key string, sh *shared) {
	if t.all[key] == sh {
		delete(t.all, key)
	}
	sh.answer = nil
	sh.kept.End()
}

// reclaim makes room: states that wait for somebody to ask for them are thrown away, and those whose clients are gone are looked for.
// It says whether it has done anything.
func (t *states) reclaim() bool {
	t.mu.Lock()
	some := false
	for key, sh := range t.all {
		if sh.answer != nil {
			t.drop(key, sh)
			some = true
		}
	}
	now := time.Now()
	collect := now.Sub(t.collected) > collectEvery
	if collect {
		t.collected = now
	}
	t.mu.Unlock()
	if collect {
		runtime.GC()
	}
	return some || collect
}
