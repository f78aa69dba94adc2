package stream

import (
	"errors"
	"strings"
	"sync"
	"time"

	"headgate/bridge/internal/feed"
	"headgate/bridge/internal/history"
)

// stateWindow is how long a state that was read is given to those who ask for the same one. What has happened since they are given as
// what they missed, so an older state is as good as a new one. Those who come together then hold one list and not one each.
const stateWindow = 5 * time.Second

// states are the states that were read from NATS lately, or are being read.
type states struct {
	mu  sync.Mutex
	all map[string]*shared
}

// shared is one of them. Guarded by the mu of its states.
type shared struct {
	inc     *feed.Incarnation
	doubts  uint64 // of the feed: what went without a message before is not in it
	at      uint64         // what it is the state of
	answer  *historyAnswer // nil: being read
	waiting []func(historyAnswer)
}

// get gives the last message of every subject of a source, as of answer.Upto, which is least at the earliest.
func (t *states) get(s *Source, now feed.State, least uint64, done func(historyAnswer)) {
	key := s.stream + " " + strings.Join(s.filters, " ")
	t.mu.Lock()
	if sh := t.all[key]; sh != nil && sh.inc.Same(now.Inc) && sh.doubts == now.Doubts && sh.at >= least {
		if sh.answer == nil {
			sh.waiting = append(sh.waiting, done)
			t.mu.Unlock()
			return
		}
		answer := *sh.answer
		t.mu.Unlock()
		done(answer)
		return
	}
	sh := &shared{inc: now.Inc, doubts: now.Doubts, at: now.Cursor, waiting: []func(historyAnswer){done}}
	t.all[key] = sh
	t.mu.Unlock()
	s.streams.history.LastPerSubject(s.request(now.Inc, 0, now.Cursor, 0), func(a historyAnswer) {
		a.Upto = now.Cursor
		t.mu.Lock()
		sh.answer = &a
		waiting := sh.waiting
		sh.waiting = nil
		if a.Err != nil && !errors.Is(a.Err, history.ErrTooLarge) && t.all[key] == sh {
			delete(t.all, key)
		}
		t.mu.Unlock()
		for _, w := range waiting {
			w(a)
		}
		s.streams.retries.later(stateWindow, func() { t.forget(key, sh) })
	})
}

func (t *states) forget(key string, sh *shared) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.all[key] == sh {
		delete(t.all, key)
	}
}
