package delivery

import (
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"headgate/internal/flow"
)

// fullMailbox is one whose shard does not look.
func fullMailbox() *mailbox {
	m := &mailbox{wake: func() {}}
	for n := range fullOps {
		m.putEvent(0, 0, flow.Event{Seq: uint64(n)})
	}
	return m
}

func TestMailbox_SlowsDownWhoeverFillsItForABoundedTimeAndLosesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		m := fullMailbox()
		if waited := time.Since(began); waited != 0 {
			t.Errorf("it took %v to fill it", waited)
		}
		for n := range 3 {
			began = time.Now()
			m.putEvent(0, 0, flow.Event{Seq: uint64(fullOps + n)})
			if waited := time.Since(began); waited != fullWait {
				t.Errorf("an event waited %v, want %v", waited, fullWait)
			}
		}
		began = time.Now()
		if err := m.put(op{kind: opTick}); err != nil || time.Since(began) != 0 {
			t.Errorf("what is no event waited %v: %v", time.Since(began), err)
		}
		ops := m.take(nil)
		if len(ops) != fullOps+4 {
			t.Fatalf("%d messages, want %d", len(ops), fullOps+4)
		}
		for n, o := range ops[:fullOps+3] {
			if o.event.Seq != uint64(n) {
				t.Fatalf("message %d is event %d", n, o.event.Seq)
			}
		}
	})
}

func TestMailbox_WhoWaitsGoesOnWhenItIsEmptiedOrStopped(t *testing.T) {
	for name, empty := range map[string]func(*mailbox) int{
		"emptied": func(m *mailbox) int { return len(m.take(nil)) },
		"stopped": func(m *mailbox) int { return len(m.stop()) },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				m := fullMailbox()
				began := time.Now()
				var senders sync.WaitGroup
				for range 10 {
					senders.Go(func() { m.putEvent(0, 0, flow.Event{}) })
				}
				synctest.Wait() // all of them wait
				time.Sleep(fullWait / 2)
				if n := empty(m); n != fullOps {
					t.Errorf("%d messages were in it, want %d", n, fullOps)
				}
				senders.Wait()
				if waited := time.Since(began); waited != fullWait/2 {
					t.Errorf("they waited %v, and it was emptied after %v", waited, fullWait/2)
				}
				if left := len(m.take(nil)); name == "emptied" && left != 10 || name == "stopped" && left != 0 {
					t.Errorf("%d messages came behind it", left)
				}
				if err := m.put(op{kind: opTick}); errors.Is(err, errStopped) != (name == "stopped") {
					t.Errorf("put: %v", err)
				}
			})
		})
	}
}
