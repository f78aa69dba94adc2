package feed

import (
	"math"
	"slices"
	"strings"
	"testing"
	"time"
)

// settled waits until doubt has ended.
func (r *running) settled() State {
	r.t.Helper()
	eventually(r.t, "doubt to end", func() bool { return r.State().Doubt != math.MaxUint64 })
	return r.State()
}

// Another replica that has not noticed yet gives positions that are behind the one where this one has noticed. So every position is in
// doubt for a while, and behind that those that were given meanwhile.
func TestDoubt_LastsUntilEveryReplicaHasNoticed(t *testing.T) {
	for name, cfg := range map[string]Config{"table": bucketFeed(), "keys": noRoom()} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			kv := w.loose(1)
			w.fill(kv)
			cfg.VerifyEvery = 250 * time.Millisecond
			f := w.run(cfg).ready()
			if s := f.State(); s.Doubt != math.MaxUint64 {
				t.Errorf("doubt up to %d, and others may not know yet what this one never had", s.Doubt)
			}
			w.set(kv, "k1")
			if s := f.settled(); s.Doubt != 51 {
				t.Errorf("doubt up to %d", s.Doubt)
			}
			rec, _ := f.follow()
			w.remove("k7")
			eventually(t, "the hole", func() bool { return slices.ContainsFunc(rec.all(), isHole) })
			noticed := time.Now()
			w.set(kv, "k1", "k2")
			eventually(t, "the last key", func() bool { return f.State().Cursor == 53 })
			if s := f.settled(); s.Doubt != 53 {
				t.Errorf("doubt up to %d", s.Doubt)
			}
			if d := time.Since(noticed); d < 3*cfg.VerifyEvery {
				t.Errorf("doubt ended after %v", d)
			}
			w.set(kv, "k3")
			eventually(t, "the last key", func() bool { return f.State().Cursor == 54 })
			if s := f.State(); s.Doubt != 53 {
				t.Errorf("doubt up to %d", s.Doubt)
			}
		})
	}
}

func TestDoubt_NeverEndsWhereNotEvenTheKeysFit(t *testing.T) {
	w := newWorld(t)
	kv := w.loose(1)
	w.fill(kv)
	cfg := bucketFeed()
	cfg.Budget = NewBudget(1000)
	f := w.run(cfg).ready()
	eventually(t, "the metric", func() bool { return f.metric("headgate_feed_keys_unknown", "KV_B") == 1 })
	f.mu.Lock()
	f.doubts = time.Now() // as if it were much later
	f.mu.Unlock()
	if s := f.State(); s.Doubt != math.MaxUint64 {
		t.Errorf("doubt up to %d", s.Doubt)
	}
	if !strings.Contains(f.log.String(), "JETSTREAM_TAIL_BYTES") {
		t.Error("the log does not say what to do")
	}
}

// Others have stopped doubting by then, so the one that was away must not push anything before it knows what has gone.
func TestDoubt_AwayForLongComparesBeforeItPushes(t *testing.T) {
	for name, cfg := range map[string]Config{"table": bucketFeed(), "keys": noRoom()} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			kv := w.loose(1)
			w.fill(kv)
			cfg.VerifyEvery = 250 * time.Millisecond
			f := w.run(cfg).ready()
			rec, _ := f.follow()
			f.away()
			away := time.Now()
			w.remove("k7")
			w.set(kv, "new", "newer")
			eventually(t, "others to end their doubt", func() bool { return time.Since(away) > doubtChecks*cfg.VerifyEvery })
			f.Connected(f.nc)
			eventually(t, "the newest key", func() bool { return f.State().Cursor == 52 && len(rec.all()) > 0 })
			if all := rec.all(); !isHole(all[0]) {
				t.Errorf("pushed before the hole: %q", all)
			}
		})
	}
}
