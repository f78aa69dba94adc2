package bridge

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"headgate/internal/cursor"
	"headgate/internal/devnats"
	"headgate/internal/flow"
	"headgate/internal/subject"
)

// TestModel_WhateverIsMissingIsNamedByAGap runs clients that are cut and resume at random, while messages are published and NATS
// connections break. Each client's record of a subject must be what was published, in order and once, or have a $gap where
// something is missing.
func TestModel_WhateverIsMissingIsNamedByAGap(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	s := startNATS(t, devnats.Options{})
	cfg := testNATS(s.URL())
	cfg.DataConnections = 3
	cfg.TopicLinger = 30 * time.Millisecond
	cfg.RingBytes = 24 << 10 // less than the rings could hold
	r := connectedBridge(t, cfg, 0)
	w := &modelWorld{nc: publisherOf(t, s.URL()), counts: map[string]int{}}
	for _, a := range []string{"a", "b", "c"} {
		for _, b := range []string{"x", "y"} {
			w.subjects = append(w.subjects, "m."+a+"."+b)
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), 4*time.Second)
	defer cancel()
	var clients []*modelClient
	var wg sync.WaitGroup
	for i := range 24 {
		rnd := rand.New(rand.NewPCG(seed, uint64(i)))
		c := &modelClient{t: t, r: r, world: w, rnd: rnd, name: fmt.Sprint("client ", i), next: map[string]int{}}
		c.choose()
		clients = append(clients, c)
		wg.Go(func() { c.live(ctx) })
	}
	wg.Go(func() { w.publish(t, ctx, rand.New(rand.NewPCG(seed, 1000))) })
	wg.Go(func() {
		rnd := rand.New(rand.NewPCG(seed, 1001))
		for sleep(ctx, time.Duration(300+rnd.IntN(500))*time.Millisecond) {
			if r.Health().Connected {
				cut(t, s, fmt.Sprint("test data-", rnd.IntN(3)))
			}
		}
	})
	wg.Wait()
	eventually(t, "the connections to be back", func() bool { return r.Health().Connected })
	var resumes, gaps, replayed, got int
	for _, c := range clients {
		c.end()
		resumes, gaps, replayed, got = resumes+c.resumes, gaps+c.gaps, replayed+c.replayed, got+c.got
	}
	t.Logf("%d events, %d of them replayed, %d resumes, %d gaps", got, replayed, resumes, gaps)
	if got == 0 || replayed == 0 || resumes == 0 || gaps == 0 {
		t.Error("the run shows nothing")
	}
	eventually(t, "the topics to go", func() bool { return r.metric("headgate_nats_topics") == 0 })
}

func sleep(ctx context.Context, d time.Duration) bool {
	select {
	case <-ctx.Done():
		return false
	case <-time.After(d):
		return true
	}
}

// modelWorld is what has been published: messages of a subject are numbered from 1.
type modelWorld struct {
	nc       *nats.Conn
	subjects []string
	mu       sync.Mutex
	counts   map[string]int
}

func (w *modelWorld) publish(t *testing.T, ctx context.Context, rnd *rand.Rand) {
	for ctx.Err() == nil {
		w.mu.Lock()
		for range rnd.IntN(10) {
			s := w.subjects[rnd.IntN(len(w.subjects))]
			w.counts[s]++
			if err := w.nc.Publish(s, fmt.Appendf(nil, "%s %d", s, w.counts[s])); err != nil {
				t.Error(err)
			}
		}
		w.nc.Flush()
		w.mu.Unlock()
		sleep(ctx, time.Duration(rnd.IntN(2000))*time.Microsecond)
	}
}

func (w *modelWorld) snapshot() map[string]int {
	w.mu.Lock()
	defer w.mu.Unlock()
	m := map[string]int{}
	for s, n := range w.counts {
		m[s] = n
	}
	return m
}

// modelClient is a client with delivery's part played by the test.
type modelClient struct {
	t     *testing.T
	r     *running
	world *modelWorld
	rnd   *rand.Rand
	name  string
	specs []flow.Spec

	cursor string
	next   map[string]int // subject -> the number that has to come; 0 before the first
	most   map[string]int // subject -> how many had been published when the client was connected for the first time

	trace                        []string
	told                         map[string]map[string]bool // source name -> subject -> a gap was told and not used yet
	resumes, gaps, replayed, got int
}

func (c *modelClient) choose() {
	choices := [][]flow.Spec{
		{{Name: "one", Subjects: []string{"m.a.x"}}},
		{{Name: "one", Subjects: []string{"m.a.x", "m.b.*"}}},
		{{Name: "one", Subjects: []string{"m.>"}}},
		{{Name: "one", Subjects: []string{"m.*.x"}}, {Name: "two", Subjects: []string{"m.a.*", "m.c.y"}}},
		{{Name: "one", Subjects: []string{"m.b.y", "m.a.*"}}, {Name: "two", Subjects: []string{"m.>"}}},
	}
	c.specs = choices[c.rnd.IntN(len(choices))]
	for i := range c.specs {
		c.specs[i].RingSize, c.specs[i].RingAge = 8, time.Minute
	}
	c.told = map[string]map[string]bool{}
}

// owners are the sources by which the client may get a subject, one of which must tell of a hole in it.
func (c *modelClient) owners(subj string) (names []string) {
	for _, spec := range c.specs {
		for _, p := range spec.Subjects {
			if subject.Match(p, subj) {
				names = append(names, spec.Name)
				break
			}
		}
	}
	return names
}

func (c *modelClient) live(ctx context.Context) {
	for ctx.Err() == nil {
		o, err := c.r.Open(ctx, flow.Request{Sources: c.specs, Format: plain, Cursor: c.cursor})
		if errors.Is(err, flow.ErrUnavailable) || ctx.Err() != nil {
			sleep(ctx, 5*time.Millisecond)
			continue
		}
		if err != nil {
			c.t.Errorf("%s: %v", c.name, err)
			return
		}
		c.session(ctx, o, time.Duration(c.rnd.IntN(60))*time.Millisecond)
		sleep(ctx, time.Duration(c.rnd.IntN(60))*time.Millisecond)
	}
}

// session plays one stream that is cut after a while, perhaps in the middle of the replay.
func (c *modelClient) session(ctx context.Context, o flow.Opened, length time.Duration) {
	defer o.Source.Close()
	for _, g := range o.Gaps {
		c.take(frameText(string(g.AppendBlock(nil, nil))))
	}
	c.log("opened %s: %s %v, specs %v", c.cursor, o.Start, o.From, c.specs)
	sink := &recorder{}
	defer func() { c.log("closed at %s", c.cursor) }()
	pos := append(cursor.Position(nil), o.Source.Attach(sink)...)
	if c.cursor == "" {
		c.most = c.world.snapshot() // what is published from now on must come
	} else {
		c.resumes++
	}
	if o.Start == flow.Replay {
		c.log("attached at %v", pos)
		from := append(cursor.Position(nil), pos...)
		for i := range from {
			from[i].Seq = min(from[i].Seq, o.From[i].Seq)
		}
		c.cursor = from.String()
		events := readAll(c.t, o.Source, from, pos, 1+c.rnd.IntN(500))
		if c.rnd.IntN(8) == 0 {
			events = events[:c.rnd.IntN(len(events)+1)]
			length = -1
		}
		c.takeAll(events, from)
		c.replayed += len(events)
		if length < 0 {
			return
		}
	}
	c.cursor = pos.String()
	sleep(ctx, length)
	if c.rnd.IntN(2) == 0 { // as a heartbeat does: first where the source stands, then what has been pushed until then
		progress := append(cursor.Position(nil), pos...)
		o.Source.Progress(progress)
		c.takeAll(sink.all(), pos)
		for i := range pos {
			pos[i].Seq = max(pos[i].Seq, progress[i].Seq)
		}
		c.cursor = pos.String()
		return
	}
	events := sink.all()
	if c.rnd.IntN(2) == 0 { // cut in the middle of what was on its way
		events = events[:c.rnd.IntN(len(events)+1)]
	}
	c.takeAll(events, pos)
}

func (c *modelClient) takeAll(events []flow.Event, pos cursor.Position) {
	for _, e := range events {
		if e.Seq < pos[e.Entry].Seq {
			c.t.Errorf("%s: the position goes back from %d to %d", c.name, pos[e.Entry].Seq, e.Seq)
		}
		pos[e.Entry].Seq = e.Seq
		c.log("entry %d seq %d at %d", e.Entry, e.Seq, e.At)
		c.take(texts([]flow.Event{e})[0])
		c.cursor = pos.String()
	}
}

func (c *modelClient) log(f string, a ...any) {
	c.trace = append(c.trace, fmt.Sprintf(f, a...))
	if len(c.trace) > 120 {
		c.trace = c.trace[1:]
	}
}

func (c *modelClient) take(text string) {
	c.log("take %s", text)
	if rest, ok := strings.CutPrefix(text, "$gap "); ok {
		c.gaps++
		name := rest[strings.LastIndexByte(rest, ' ')+1:]
		c.told[name] = map[string]bool{}
		for _, s := range c.world.subjects {
			c.told[name][s] = true
		}
		return
	}
	c.got++
	var s string
	var n int
	fmt.Sscan(text, &s, &n)
	switch want := c.next[s]; {
	case want == 0 && n <= c.most[s]+1:
	case want == 0 && c.excused(s):
	case n < want:
		c.t.Errorf("%s: %s twice or out of order, %d was due", c.name, text, want)
	case n > want && !c.excused(s):
		c.t.Errorf("%s: %s came where %d was due, without a gap\n%s", c.name, text, want, strings.Join(c.trace, "\n"))
		c.trace = nil
	}
	c.next[s] = n + 1
	for _, name := range c.owners(s) {
		delete(c.told[name], s)
	}
}

func (c *modelClient) excused(s string) bool {
	for _, name := range c.owners(s) {
		if c.told[name][s] {
			return true
		}
	}
	return false
}

// end resumes until everything is there or excused.
func (c *modelClient) end() {
	if c.cursor == "" {
		return
	}
	missing := ""
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); {
		o := c.r.open(flow.Request{Sources: c.specs, Format: plain, Cursor: c.cursor})
		c.session(context.Background(), o, 10*time.Millisecond)
		missing = ""
		for s, n := range c.world.snapshot() {
			if len(c.owners(s)) > 0 && max(c.next[s], c.most[s]+1) <= n && !c.excused(s) {
				missing = fmt.Sprintf("%s ends before %d of %d, without a gap", s, c.next[s], n)
			}
		}
		if missing == "" {
			return
		}
	}
	c.t.Errorf("%s: %s", c.name, missing)
}
