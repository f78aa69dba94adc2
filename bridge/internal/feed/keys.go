package feed

import (
	"hash/maphash"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"headgate/bridge/internal/jsapi"
	"headgate/internal/gap"
)

// keyCost is what a key takes as a hash. Measured by TestMemory_OfKeysStaysWithinWhatTheyCount.
const keyCost = 40

// countShare bounds the work of counting: behind a count the feed waits so many times as long as that took, before it counts again.
const countShare = 20

// keys are which keys a bucket has, as hashes, where its values do not fit into memory. That is enough to notice that one has gone
// without a message that says so. It is owned by the loop of its Feed.
type keys struct {
	seed maphash.Seed
	live map[uint64]struct{} // those with a value
	gone map[uint64]struct{} // those without, which the stream still has a message of
}

func (f *Feed) newKeys() *keys {
	return &keys{f.seed, map[uint64]struct{}{}, map[uint64]struct{}{}}
}

func (k *keys) take(literal string, gone bool) {
	to, from := k.live, k.gone
	if gone {
		to, from = from, to
	}
	h := maphash.String(k.seed, literal)
	delete(from, h)
	to[h] = struct{}{}
}

func (k *keys) len() int {
	if k == nil {
		return 0
	}
	return len(k.live) + len(k.gone)
}

func (k *keys) size() int64 { return int64(k.len()) * keyCost }

// lostBy says whether a key has a value here that a later count knows nothing of.
func (k *keys) lostBy(later *keys) bool {
	for h := range k.live {
		_, live := later.live[h]
		if _, gone := later.gone[h]; !live && !gone {
			return true
		}
	}
	return false
}

// keysOf are the keys of a table that is given up; nil when they are too many as well.
func (f *Feed) keysOf(t *table) *keys {
	if t == nil || !f.fits(int64(t.rows.Len())*keyCost) {
		return nil
	}
	k := f.newKeys()
	t.rows.Match(">", func(literal string, r row) bool {
		k.take(literal, r.it == nil)
		return true
	})
	return k
}

// check is what the leader counted in a stream that we had not read to its end: to be compared when we have taken exactly that.
type check struct {
	at, subjects uint64    // at 0 = nothing
	asked        time.Time // when the leader was
}

// counting takes one message of a consumer that begins with the last message of every subject, without its payload.
func (f *Feed) counting(literal string, gone bool) reset {
	k := f.load.keys
	k.take(literal, gone)
	if !f.fits(k.size()) {
		f.load = nil
		f.mu.Lock()
		f.tooManyKeys()
		f.mu.Unlock()
		if f.owed == nil {
			f.owed = &Hole{Reason: gap.Reset} // nobody can say any more what is still there
		}
		return resetTable // and go on without
	}
	f.taking(k.size())
	f.arrive()
	return goesOn
}

// tooManyKeys goes on without them. It needs mu.
func (f *Feed) tooManyKeys() {
	f.keys, f.recount, f.uncounted = nil, false, true
	f.log.Warn("not even the bucket's keys fit into memory: while it changes, clients are given the whole state anew about every minute, "+
		"since one may have been removed without a message, and whoever comes back is as well; raise JETSTREAM_TAIL_BYTES", "limit", f.cfg.Budget.limit)
}

// counted replaces the keys by those that were counted, and tells of a hole when one went without a message. The session ends: its
// consumer has no payloads.
func (f *Feed) counted() {
	before, now, began := f.keys, f.load.keys, f.load.began
	f.load, f.recount, f.countOver = nil, false, true
	f.countedAt = time.Now()
	f.countTook = f.countedAt.Sub(began)
	if !f.revives { // else they say nothing of values
		f.sound = began
	}
	hole := f.owed
	f.owed = nil
	switch {
	case hole != nil:
	case before == nil:
		hole = &Hole{Reason: gap.Reset, Silent: true}
	case before.lostBy(now):
		hole = &Hole{Reason: gap.Reset}
	}
	change := func() {
		f.keys, f.loads, f.keysHeld = now, 0, now.size()
		if hole != nil {
			f.Inc = f.named()
			f.doubt()
		}
		f.account()
	}
	if hole != nil {
		f.announce(*hole, change)
		return
	}
	f.mu.Lock()
	change()
	f.mu.Unlock()
	f.judge()
}

// vanished says whether keys, or values, were removed from a bucket without a message. Where the stream has grown meanwhile, what the
// leader counted is compared when we have got there.
func (f *Feed) vanished(info jsapi.Info, before fingerprint) bool {
	f.check = check{}
	if !f.cfg.Table || f.filters != nil {
		return false
	}
	now := printOf(info)
	quiet := before.known && before.last == now.last
	if info.LastSeq > f.Cursor {
		f.check = check{info.LastSeq, info.NumSubjects, f.verified}
		return f.table == nil && f.keys == nil && before.subjects > now.subjects // changes alone never make them fewer
	}
	switch {
	case f.table != nil:
		return f.miscounts(info.NumSubjects) || quiet && before != now
	case f.keys != nil:
		return f.miscounts(info.NumSubjects) || quiet && revived(info.Config, before, now)
	}
	return before.subjects > now.subjects || quiet && (before.subjects != now.subjects || revived(info.Config, before, now))
}

// miscounts says whether the leader's number of subjects is another one than ours.
func (f *Feed) miscounts(subjects uint64) bool {
	switch {
	case f.table != nil:
		return subjects != uint64(f.table.rows.Len())
	case f.keys != nil:
		return subjects != uint64(f.keys.len())
	}
	return false
}

// revived says whether the last message of a key may have been removed so that an older one is its value again. What a limit of age
// or of messages removes of a key is the oldest.
func revived(c jetstream.StreamConfig, before, now fingerprint) bool {
	return revives(c) && now.messages < before.messages && now.deleted > before.deleted
}

// revives says whether that may happen at all in a bucket. No bucket that a NATS client made with markers, or without times to live, is one.
func revives(c jetstream.StreamConfig) bool {
	ages := c.AllowMsgTTL && c.SubjectDeleteMarkerTTL <= 0
	return (!c.DenyDelete || ages) && c.MaxMsgsPerSubject != 1
}

// countPause is how long the keys are not counted again.
func (f *Feed) countPause() time.Duration { return max(f.cfg.VerifyEvery, countShare*f.countTook) }

// recheck compares, or counts again, or tells at once where nothing can be compared.
func (f *Feed) recheck(subjects uint64) reset {
	switch {
	case f.table != nil:
		f.reload = true
		return resetTable
	case f.keys != nil && f.miscounts(subjects):
		if time.Since(f.countedAt) < f.countPause() {
			return goesOn // the next time it will not be right either
		}
		f.recount = true
		return resetTable
	}
	f.freshened, f.stale = time.Now(), false
	f.announce(Hole{Reason: gap.Reset}, f.doubt)
	return goesOn
}

// checked compares what the leader counted, when we have taken the message that was the last one then.
func (f *Feed) checked(seq uint64) reset {
	c := f.check
	if c.at == 0 || seq < c.at {
		return goesOn
	}
	f.check = check{}
	switch {
	case f.load != nil:
		return goesOn
	case seq > c.at:
		f.hurry()
		return goesOn
	case !f.miscounts(c.subjects):
		if !f.revives {
			f.sound = c.asked
			f.judge()
		}
		return goesOn
	}
	return f.recheck(c.subjects)
}
