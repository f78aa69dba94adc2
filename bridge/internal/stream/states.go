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
	young := old != nil && (old.answer == nil || now.Cursor-min(now.Cursor, old.at) <= stateBehind)
	if young && old.inc.Same(now.Inc) && old.doubts == now.Doubts && old.at >= least {
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
	t.all[key] = sh
	large := s.walkable(now.Inc) && time.Now().Before(t.large[key])
	t.mu.Unlock()
	if old != nil && old.answer != nil {
		old.kept.End()
	}
	if large {
		t.read(key, sh, historyAnswer{Err: history.ErrTooLarge, Upto: now.Cursor})
		s.streams.retries.later(stateWindow, func() { t.forget(key, sh) })
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
		if s.Bucket() { // once for all; what was read may be others' too
			a.Items = slices.DeleteFunc(slices.Clone(a.Items), func(it *encode.Item) bool { return kv.Gone(it.Header) })
		}
		t.read(key, sh, a)
		s.streams.retries.later(stateWindow, func() { t.forget(key, sh) })
	})
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
	if errors.Is(a.Err, history.ErrTooLarge) {
		t.tooLarge(key)
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

// tooLarge needs mu.
func (t *states) tooLarge(key string) {
	now := time.Now()
	for k, until := range t.large {
		if now.After(until) {
			delete(t.large, k)
		}
	}
	if _, ok := t.large[key]; !ok {
		t.large[key] = now.Add(largeFor)
	}
}

func (t *states) forget(key string, sh *shared) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.drop(key, sh)
}

// drop needs mu.
func (t *states) drop(key string, sh *shared) {
	if t.all[key] == sh {
		delete(t.all, key)
	}
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
