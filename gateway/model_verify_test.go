package gateway_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"headgate/internal/cursor"
	"headgate/internal/subject"
)

// everybody runs clients until ctx ends, and then until each of them has everything.
func everybody(ctx context.Context, w *world, clients []*modelClient, disturb ...func(context.Context)) {
	w.t.Helper()
	var wg sync.WaitGroup
	for _, c := range clients {
		wg.Go(func() { c.live(ctx) })
	}
	for _, f := range disturb {
		wg.Go(func() { f(ctx) })
	}
	wg.Wait()
}

// finish lets every client get to the end of its streams, and checks what it was told. The streams that are named are looked at once more in
// between: without a leader, what nobody acknowledged may be stored later.
func finish(w *world, clients []*modelClient, late ...string) {
	w.t.Helper()
	w.t.Logf("%s quiet", time.Now().Format("05.000"))
	var wg sync.WaitGroup
	ctx, cancel := context.WithTimeout(context.Background(), 3*patience)
	defer cancel()
	for _, c := range clients {
		wg.Go(func() {
			began := time.Now()
			for !c.complete() && !c.ended && ctx.Err() == nil {
				c.slow = false
				c.session(ctx, 1<<30, 700*time.Millisecond)
			}
			if d := time.Since(began); d > 5*time.Second {
				w.t.Logf("%s took %v%s", c.name, d, c.recent(20))
			}
			if !c.complete() && !c.ended {
				c.fail("does not get to the end: %s", c.behind())
			}
		})
	}
	wg.Wait()
	for _, stream := range late {
		w.reread(stream)
	}
	for _, c := range clients {
		c.verify()
	}
	var sessions, events, gaps, states int
	for _, c := range clients {
		sessions, events, gaps, states = sessions+c.sessions, events+c.events, gaps+c.gaps, states+c.states
	}
	w.t.Logf("%s %d clients, %d connections, %d events, %d gaps, %d states", time.Now().Format("05.000"), len(clients), sessions, events, gaps, states)
	if sessions <= len(clients) || events == 0 {
		w.t.Error("the run shows nothing")
	}
}

// complete says whether the client is at the end of all its streams.
func (c *modelClient) complete() bool { return c.behind() == "" }

// behind says of which stream it is not at the end.
func (c *modelClient) behind() string {
	for _, tr := range c.tracks {
		if last := c.w.lastMatch(tr); !tr.known || tr.at.Tag != last.Tag || tr.at.Seq < last.Seq {
			return fmt.Sprintf("at %v of %v in %s", tr.at, last, tr.stream)
		}
	}
	return ""
}

// lastMatch is the last message that is for a client.
func (w *world) lastMatch(tr *track) cursor.Entry {
	w.mu.Lock()
	defer w.mu.Unlock()
	l := w.now[tr.stream]
	last := cursor.Entry{Tag: l.tag}
	for seq, m := range l.stored {
		if subject.Match(tr.pattern(), m.subject) && !l.removed[seq] && !l.purged[seq] {
			last.Seq = max(last.Seq, seq)
		}
	}
	return last
}

func (tr *track) pattern() string {
	if tr.kv {
		return "$KV." + strings.TrimPrefix(tr.stream, "KV_") + "." + tr.filter
	}
	return tr.filter
}

// verify compares what the client was told with what there was.
func (c *modelClient) verify() {
	c.w.mu.Lock()
	defer c.w.mu.Unlock()
	c.trace = nil // it is about something else
	all := c.past
	for _, tr := range c.tracks {
		all = append(all, tr)
	}
	for _, tr := range all {
		c.verifyGiven(tr)
		c.verifyRanges(tr)
		if !tr.kv { // of a bucket the values count, and of older values some are gone
			c.verifyClaims(tr)
			c.verifyStates(tr)
		}
	}
}

func (c *modelClient) verifyGiven(tr *track) {
	for at, got := range tr.given {
		l := c.w.lives[at.Tag]
		want, ok := l.stored[at.Seq]
		if tr.kv && got == (stored{}) { // a key was taken away
			continue
		}
		if tr.kv {
			_, want.subject, _ = strings.Cut(strings.TrimPrefix(want.subject, "$KV."), ".")
		}
		if !ok || got != want {
			c.fail("%s %d of life %d is %.60q, and not %.60q", l.stream, at.Seq, l.number, want, got)
		}
	}
}

// verifyClaims finds messages that the client has been told were sent.
func (c *modelClient) verifyClaims(tr *track) {
	for tag, l := range c.w.lives {
		for seq, m := range l.stored {
			if !subject.Match(tr.filter, m.subject) || l.removed[seq] {
				continue
			}
			_, given := tr.given[cursor.Entry{Tag: tag, Seq: seq}]
			claim := holding(tr.claims[tag], seq)
			if claim == nil && !l.purged[seq] {
				claim = holding(tr.reborn[tag], seq)
			}
			if !given && claim != nil && !within(tr.ranges[tag], seq) {
				c.fail("%s %d of life %d (%s) was not sent, and no gap says so:%s", l.stream, seq, l.number, m.subject, claim.why)
			}
		}
	}
}

// verifyRanges finds gaps that name too much, or are certain of nothing.
func (c *modelClient) verifyRanges(tr *track) {
	for at := range tr.given {
		for _, s := range tr.ranges[at.Tag] {
			if at.Seq > s.from && at.Seq <= s.to {
				c.fail("%s %v was sent, and a gap says that it was not:%s", tr.stream, at, s.why)
				return
			}
		}
	}
	for tag, spans := range tr.sure {
		for _, s := range spans {
			if !c.w.lives[tag].any(tr.filter, s) {
				c.fail("%s: nothing is missing in (%d, %d], of which a gap is certain", tr.stream, s.from, s.to)
			}
		}
	}
}

func (l *life) any(filter string, s span) bool {
	for seq := s.from + 1; seq <= s.to; seq++ {
		if m, ok := l.stored[seq]; ok && subject.Match(filter, m.subject) {
			return true
		}
	}
	return false
}

func within(spans []span, seq uint64) bool { return holding(spans, seq) != nil }

// holding is the span that has a sequence; nil = none has.
func holding(spans []span, seq uint64) *span {
	if i := slices.IndexFunc(spans, func(s span) bool { return seq > s.from && seq <= s.to }); i >= 0 {
		return &spans[i]
	}
	return nil
}

// verifyStates compares initial states with what the stream was at their moments.
func (c *modelClient) verifyStates(tr *track) {
	for _, st := range tr.whole {
		if err := c.verifyState(tr, st); err != nil {
			c.fail("the state of %s as of %d is wrong: %v%s", tr.stream, st.at.Seq, err, st.why)
			return
		}
	}
}

// excuses says whether a gap has named a message that a state with bounds leaves out.
func (st wholeState) excuses(seq uint64) bool {
	return slices.ContainsFunc(st.gaps, func(g told) bool { return g.reason == "limit" && seq >= g.from && seq <= g.to })
}

func (c *modelClient) verifyState(tr *track, st wholeState) error {
	l := c.w.lives[st.at.Tag]
	got := map[uint64]bool{}
	newest := map[string]uint64{}
	for _, e := range st.events {
		switch {
		case e.at.Tag != st.at.Tag:
			return fmt.Errorf("it has an event of another incarnation, %v", e.at)
		case got[e.at.Seq]:
			return fmt.Errorf("it has %d twice", e.at.Seq)
		case e.at.Seq > st.at.Seq:
			return fmt.Errorf("it has %d", e.at.Seq)
		case l.stored[e.at.Seq] != e.stored:
			return fmt.Errorf("%d is %.60q, and not %.60q", e.at.Seq, l.stored[e.at.Seq], e.stored)
		}
		got[e.at.Seq] = true
		newest[e.subject] = max(newest[e.subject], e.at.Seq)
		newest[""] = max(newest[""], e.at.Seq)
	}
	lasts := map[string]uint64{}
	very := uint64(0)
	for seq, m := range l.stored {
		if seq <= st.at.Seq && subject.Match(tr.filter, m.subject) && !l.removed[seq] && !l.purged[seq] {
			lasts[m.subject], very = max(lasts[m.subject], seq), max(very, seq)
		}
	}
	switch tr.mode {
	case "last":
		lasts = map[string]uint64{"": very}
	case "all", "since":
		oldest := uint64(1)
		if tr.mode == "since" && len(got) == 0 {
			return nil // nothing was as young
		}
		if tr.mode == "since" { // all from the oldest on
			oldest = very
			for seq := range got {
				oldest = min(oldest, seq)
			}
		}
		for seq, m := range l.stored {
			if seq >= oldest && seq <= st.at.Seq && subject.Match(tr.filter, m.subject) && !l.removed[seq] && !l.purged[seq] && !got[seq] && !st.excuses(seq) {
				return fmt.Errorf("%d (%s) is missing", seq, m.subject)
			}
		}
		return nil
	}
	for s, seq := range lasts {
		if newest[s] < seq { // a newer one may have been removed since
			return fmt.Errorf("%d, the last of %q, is missing", seq, s)
		}
	}
	return nil
}

// stateOfKeys replaces what the client knows of a bucket.
func (c *modelClient) stateOfKeys(tr *track, events []stateEvent) {
	tr.keys = map[string]kvValue{}
	for _, e := range events {
		tr.keys[e.subject] = kvValue{e.at.Seq, e.data}
	}
}

// change is what happened to a key.
func (c *modelClient) change(tr *track, kind string, at cursor.Entry, m stored) {
	if kind == "put" {
		tr.keys[m.subject] = kvValue{at.Seq, m.data}
		return
	}
	delete(tr.keys, m.subject)
}
