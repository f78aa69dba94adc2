package feed

import (
	"context"
	"sort"
	"time"

	"headgate/bridge/internal/jsapi"
	"headgate/internal/gap"
)

const (
	recheckWait = 300 * time.Millisecond // a leader that was just elected may not have everything yet
	prefillAsks = 48                     // requests to find where the tail begins
)

// compare judges what the leader says against what we have, and tells of holes. The order matters: sequences of another incarnation say
// nothing, and a stream that ends too early says nothing about its beginning.
func (f *Feed) compare(ctx context.Context, s *session, info jsapi.Info) reset {
	same := f.Inc != nil && f.Inc.Created.Equal(info.Created)
	if same && info.LastSeq < f.Cursor {
		timer := time.NewTimer(recheckWait)
		defer timer.Stop()
		select {
		case <-ctx.Done():
			return resetUnanswered
		case <-timer.C:
		}
		var err error
		if info, err = f.info(ctx, s); err != nil {
			return f.failed(ctx, s.nc, err)
		}
		same = f.Inc.Created.Equal(info.Created)
	}
	kept, sure, err := f.kept(ctx, s, info, same)
	if err != nil {
		return f.failed(ctx, s.nc, err)
	}
	if same {
		f.explain(info) // what was not explained yet
		f.suspect(sure)
	}
	switch {
	case f.Inc == nil:
		if err := f.startReading(ctx, s, info); err != nil {
			return f.failed(ctx, s.nc, err)
		}
	case !same:
		f.tooLarge, f.uncounted = false, false
		// Everything that the new one has is pushed: a connected client misses nothing of it.
		f.restart(Hole{Reason: gap.Reset, Silent: f.goneTold}, info, max(info.FirstSeq, 1)-1)
	case info.LastSeq < f.Cursor:
		f.restart(Hole{Reason: gap.Rewound}, info, info.LastSeq)
	case kept < f.Cursor:
		f.restart(Hole{Reason: gap.Rewound}, info, kept)
	case info.FirstSeq > f.Cursor+1:
		f.expired(info)
	}
	if f.cfg.Table && f.goneTold && f.owed == nil {
		f.owed = &Hole{Reason: gap.Reset, Silent: true} // its values are to be told again
	}
	if !same && f.cfg.Begun != nil {
		f.cfg.Begun(info.Config)
	}
	f.refresh(info)
	switch {
	case f.reload && !f.tooLarge:
		f.load = &load{began: time.Now()}
	case f.recount && !f.uncounted:
		f.load = &load{keys: f.newKeys(), began: time.Now()}
	case f.owed != nil:
		h := *f.owed
		f.owed = nil
		f.announce(h, f.doubt)
	}
	return goesOn
}

// startReading begins with a stream that has not been read before.
func (f *Feed) startReading(ctx context.Context, s *session, info jsapi.Info) error {
	first, err := f.start(ctx, s, info)
	if err != nil {
		return err
	}
	f.restart(Hole{Reason: gap.Reset, Silent: true}, info, first-1)
	f.log.Info("reading the stream", "from", first, "last", info.LastSeq, "filters", append([]string{}, f.filters...))
	return nil
}

// restart makes the feed begin behind a position, in another incarnation or in what is left of this one. A table's followers are told
// when it has been loaded.
func (f *Feed) restart(h Hole, info jsapi.Info, position uint64) {
	f.epoch++
	inc := incarnation(f.cfg.Stream, info, f.epoch)
	if f.cfg.Table {
		inc.Tag = inc.Doubted // until something has been proven
	}
	f.target, f.late, f.covered, f.reload = target{}, nil, 0, f.cfg.Table
	f.recount, f.check, f.print = f.cfg.Table && f.tooLarge, check{}, fingerprint{}
	f.newest = mark{}
	change := func() {
		f.Inc, f.Cursor, f.caughtUp, f.Doubt = inc, position, false, 0
		f.table, f.keys = nil, nil
		f.tail.clear(position)
	}
	if f.cfg.Table {
		if f.owed == nil || f.owed.Silent {
			f.owed = &h
		}
		f.mu.Lock()
		change()
		f.account()
		f.tell()
		f.mu.Unlock()
		f.progress.begin(inc)
		return
	}
	f.announce(h, change)
}

// expired: retention has overtaken us while we were away.
func (f *Feed) expired(info jsapi.Info) {
	if f.cfg.Table && !f.tooLarge {
		f.reload = true // what is left is compared with what we had
		return
	}
	from, to := f.Cursor+1, info.FirstSeq-1
	f.announce(Hole{Reason: gap.Expired, Certain: f.filters == nil, From: from, To: to}, func() {
		f.Cursor = to
		f.tail.raise(to)
		f.doubt()
	})
}

// refresh takes the facts that may change within an incarnation.
func (f *Feed) refresh(info jsapi.Info) {
	f.whole, f.revives = f.getsAll(info), revives(info.Config)
	f.mu.Lock()
	defer f.mu.Unlock()
	f.First, f.Last, f.Average = info.FirstSeq, info.LastSeq, info.Bytes/max(info.Messages, 1)
	if f.Inc.Direct != info.Config.AllowDirect {
		inc := incarnation(f.cfg.Stream, info, f.epoch)
		inc.Tag = f.Inc.Tag
		f.Inc = inc
	}
}

// start is the sequence that the tail begins with.
func (f *Feed) start(ctx context.Context, s *session, info jsapi.Info) (uint64, error) {
	end := info.LastSeq + 1
	if f.cfg.PrefillAge <= 0 || f.cfg.Table || info.Messages == 0 {
		return end, nil
	}
	first, err := f.firstAfter(ctx, s, max(info.FirstSeq, 1), end, time.Now().Add(-f.cfg.PrefillAge))
	each := 2*info.Bytes/info.Messages + itemCost
	f.granted = f.cfg.Budget.grant(int64((end - first) * each))
	if fit := uint64(f.granted) / each; fit < end-first {
		first = end - fit
	}
	return first, err
}

// firstAfter is the first sequence from first on whose message, or the next there is, came behind a moment; end if none before end did.
// Sequences are nearly in the order of time, which is good enough to say where to begin.
func (f *Feed) firstAfter(ctx context.Context, s *session, first, end uint64, moment time.Time) (uint64, error) {
	var err error
	asks := 0
	n := sort.Search(int(end-min(first, end)), func(i int) bool {
		if asks++; err != nil || asks > prefillAsks {
			return true
		}
		m, e := f.next(ctx, s, everything[0], first+uint64(i))
		if e != nil && !isNoMessage(e) {
			err = e
		}
		return e != nil || m.Time.After(moment)
	})
	return first + uint64(n), err
}
