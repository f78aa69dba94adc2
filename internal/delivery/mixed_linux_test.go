package delivery

import (
	"bytes"
	"fmt"
	"testing"
	"time"

	"golang.org/x/sys/unix"
	"pgregory.net/rapid"

	"headgate/internal/cursor"
	"headgate/internal/flow"
	"headgate/internal/sse"
)

// told is a source that has a past: event n has the sequence number n+1, and some of them are new beginnings.
type told struct {
	still
	m *mixed
}

func (s told) Attach(flow.Sink) cursor.Position {
	return cursor.Position{{Tag: cursor.MakeTag("test"), Seq: uint64(len(s.m.events))}}
}

func (s told) Read(ask flow.Ask, done func(flow.Batch)) {
	to := ask.To[0].Seq
	state := flow.Event{Frame: sse.NewFrame("", fmt.Appendf(nil, "state %d", to)), Seq: to}
	if ask.State != nil {
		done(flow.Batch{Events: []flow.Event{state}, Done: true})
		return
	}
	b := flow.Batch{Done: true}
	for n := ask.From[0].Seq; n < to; n++ {
		if len(b.Events) == 10 {
			b.Done = false
			break
		}
		e := s.m.events[n]
		b.Events = append(b.Events, flow.Event{Frame: e.Frame, Seq: n + 1, Bare: e.Bare})
		if e.Again != nil {
			b.Events = append(b.Events, state)
			break
		}
	}
	done(b)
}

// mixed is a shard of members of all kinds, whose steps and whose clock are the test's.
type mixed struct {
	t       *rapid.T
	shard   *shard
	policy  Policy
	now     time.Time
	events  []flow.Event
	all     []*reader
	agains  int // new beginnings
	reasons map[Reason]int
}

// reader is the other end of a member's socket.
type reader struct {
	fd    int
	tag   uint64
	since int  // events before it came
	deaf  bool // reads nothing until the end
	got   []byte
	ended Ended
}

func newMixed(t *rapid.T, policy Policy) *mixed {
	m := &mixed{t: t, policy: policy, now: time.Now(), reasons: map[Reason]int{}}
	m.shard = newShard(New(Config{Shards: 1, Now: func() time.Time { return m.now }, OnEnd: func(e Ended) { m.all[e.Tag].ended = e; m.reasons[e.Reason]++ }}))
	m.shard.readTime()
	if err := m.shard.poll.open(); err != nil {
		t.Fatal(err)
	}
	return m
}

func (m *mixed) close() {
	for _, r := range m.all {
		unix.Close(r.fd)
	}
	m.shard.slots.each(func(i uint32, _ *slot) { m.shard.end(i, ClientGone) })
	m.shard.poll.close()
}

// join brings a client that is live, or has missed the last events.
func (m *mixed) join(missed int, deaf bool) {
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		m.t.Fatal(err)
	}
	r := &reader{fd: pair[1], tag: uint64(len(m.all)), deaf: deaf, since: len(m.events)}
	c := Client{Tag: r.tag, Key: "k", Source: told{m: m}, Policy: &m.policy, Ready: sse.NewFrame("$ready", []byte("{}"))}
	if g := m.shard.groups.byKey["k"]; g != nil {
		r.since = int(g.head()[0].Seq)
	}
	c.Expires, c.Notice = m.now.Add(time.Hour), time.Hour // it is told at the next tick
	if missed > 0 {
		r.since = max(0, r.since-missed)
		c.From = cursor.Position{{Tag: cursor.MakeTag("test"), Seq: uint64(r.since)}}
	}
	m.all = append(m.all, r)
	m.shard.join(&joining{client: c, fd: int32(pair[0])})
}

func (m *mixed) publish(size int, again bool, end flow.End) {
	n := len(m.events)
	e := flow.Event{Frame: sse.NewFrame("", event(n, size)), Seq: uint64(n + 1), End: end}
	if again {
		m.agains++
		e.Frame, e.Bare = sse.NewFrame("", fmt.Appendf(nil, "again %d", n)), true
		e.Again = func(any) any { return "fresh" }
	}
	m.events = append(m.events, e)
	if g := m.shard.groups.byKey["k"]; g != nil {
		g.append(m.shard, e)
	}
}

// step lets time pass, and everybody read but the deaf.
func (m *mixed) step(d time.Duration, deafToo bool) bool {
	m.now = m.now.Add(d)
	worked := m.shard.step()
	for _, r := range m.all {
		if !r.deaf || deafToo {
			m.read(r)
		}
	}
	m.shard.slots.each(func(i uint32, sl *slot) {
		if r := m.all[sl.tag]; sl.hasSide && m.shard.sides[i].armed && (!r.deaf || deafToo) {
			m.shard.flush(i)
			m.read(r)
			worked = true
		}
	})
	return worked
}

func (m *mixed) read(r *reader) {
	var buf [32 << 10]byte
	for {
		n, err := unix.Read(r.fd, buf[:])
		if n <= 0 || err != nil {
			return
		}
		r.got = append(r.got, buf[:n]...)
	}
}

func (m *mixed) consistent() {
	c := &checking{done: make(chan struct{})}
	m.shard.check(c)
	if len(c.found) > 0 {
		m.t.Fatal(c.found)
	}
}

// judge reads what a client got as a page does.
func (m *mixed) judge(r *reader) {
	at, owes, over := r.since, false, false
	events, jumps, notices := 0, 0, 0
	blocks := bytes.Split(r.got, []byte("\n\n"))
	for _, block := range blocks[:len(blocks)-1] { // behind the last one is nothing, or it is torn
		id, typ, data := fields(block)
		var n, size int
		switch {
		case over:
			m.t.Fatalf("client %d: %.40q behind the end", r.tag, block)
		case typ == "$end":
			over = true
		case typ == "$gap":
			if jumps++; id == "" {
				owes = true // new beginnings, and a state
			} else if p, _ := cursor.Parse(id); len(p) > 0 && p[0].Seq >= uint64(at) {
				at, owes = int(p[0].Seq), false
			}
		case typ == "$expiring":
			notices++
		case typ != "" || data == "":
		case scan(data, "again %d", &n):
			if n < at {
				m.t.Fatalf("client %d has %d events and is told of the new beginning %d", r.tag, at, n)
			}
			at, owes = n+1, true
		case scan(data, "state %d", &n):
			if n < at || !owes {
				m.t.Fatalf("client %d has %d events, owes a state: %v, and is given that of %d", r.tag, at, owes, n)
			}
			at, owes = n, false
		case scan(data, "%d %d ", &n, &size) && len(data) == len(event(n, size)):
			if n != at || owes {
				m.t.Fatalf("client %d has %d events, owes a state: %v, and is given event %d", r.tag, at, owes, n)
			}
			at++
			events++
		default:
			m.t.Fatalf("client %d: %.40q", r.tag, block)
		}
		if id == "" {
			continue
		}
		if p, err := cursor.Parse(id); err != nil || owes || p[0].Seq != uint64(at) {
			m.t.Fatalf("client %d has %d events, owes a state: %v, and is given the id %s: %v (%.40q)", r.tag, at, owes, id, err, block)
		}
	}
	if notices > 1 || notices == 0 && r.ended.Reason == None {
		m.t.Fatalf("client %d was told %d times that its identity ends", r.tag, notices)
	}
	if r.ended.Reason == Done && jumps > 0 {
		return // it has perhaps jumped over the last event, and owes a state
	}
	if whole := r.ended.Reason == None || r.ended.Reason == Done; whole && (at != len(m.events) || owes || len(blocks[len(blocks)-1]) > 0) {
		m.t.Fatalf("client %d came behind %d events and has %d of %d, owes a state: %v, ended: %v", r.tag, r.since, at, len(m.events), owes, r.ended.Reason)
	}
	if m.agains == 0 && r.ended.Reason == Done && r.ended.Events != uint64(events) {
		m.t.Fatalf("client %d has got %d events, and %d are counted", r.tag, events, r.ended.Events)
	}
}

// fields takes a block apart.
func fields(block []byte) (id, typ, data string) {
	for line := range bytes.SplitSeq(block, []byte("\n")) {
		name, value, _ := bytes.Cut(line, []byte(": "))
		switch string(name) {
		case "id":
			id = string(value)
		case "event":
			typ = string(value)
		case "data":
			data = string(value)
		}
	}
	return id, typ, data
}

func scan(s, format string, to ...any) bool {
	n, err := fmt.Sscanf(s, format, to...)
	return err == nil && n == len(to)
}

// act does something.
func (m *mixed) act(rt *rapid.T) {
	switch rapid.SampledFrom([]string{"publish", "publish", "publish", "again", "step", "step", "step", "wait", "join", "return", "leave", "end"}).Draw(rt, "step") {
	case "publish":
		size := rapid.SampledFrom([]int{1, 1, 100, 5_000, 40_000}).Draw(rt, "size")
		for range rapid.IntRange(1, 5).Draw(rt, "events") {
			m.publish(size, false, flow.GoesOn)
		}
	case "again":
		m.publish(0, true, flow.GoesOn)
	case "step":
		m.step(0, false)
	case "wait":
		m.step(time.Duration(5*pacedStep), false)
	case "join":
		m.join(0, false)
	case "return":
		m.join(rapid.IntRange(1, 30).Draw(rt, "missed"), false)
	case "leave":
		if g := m.shard.groups.byKey["k"]; g != nil {
			m.shard.end(g.members[rapid.IntRange(0, len(g.members)-1).Draw(rt, "who")], ClientGone)
		}
	case "end":
		m.shard.stop(m.shard.groups.byKey["k"].members[0], Kicked)
	}
}

// TestMembersOfAllKinds lets members read, block, wait for their budget, be ended by a policy and begin again while rounds run. Whoever is
// not ended by a policy has everything once and in order, and nobody is given an id of what he has not.
func TestMembersOfAllKinds(t *testing.T) {
	reasons := map[Reason]int{}
	var drops, rateDrops, beats uint64
	check := func(rt *rapid.T) {
		policy := Policy{Heartbeat: time.Minute, IDs: true, BufferBytes: 50_000}
		if rapid.Bool().Draw(rt, "limited") {
			policy.EventsPerSecond = float64(rapid.SampledFrom([]int{5, 20, 300}).Draw(rt, "rate"))
			policy.BytesPerSecond = rapid.SampledFrom([]int{0, 0, 200_000}).Draw(rt, "bytes a second")
		}
		if rapid.Bool().Draw(rt, "drop oldest") {
			gap := JumpGap{Source: "s", Live: sse.NewFrame("$gap", []byte("{}")), State: sse.NewFrame("$gap", []byte("{}"))}
			policy.DropOldest, policy.SlowGaps, policy.RateGaps = true, []JumpGap{gap}, []JumpGap{gap}
		}
		m := newMixed(rt, policy)
		defer m.close()
		for range rapid.IntRange(1, 150).Draw(rt, "members") {
			m.join(0, rapid.IntRange(0, 3).Draw(rt, "deaf") == 0)
		}
		for range rapid.IntRange(20, 100).Draw(rt, "steps") {
			m.act(rt)
			m.consistent()
			if m.shard.groups.byKey["k"] == nil {
				m.join(0, false)
			}
		}
		if rapid.Bool().Draw(rt, "done") {
			m.publish(10, false, flow.Done)
		}
		m.step(2*policy.Heartbeat, false)
		for quiet := 0; quiet < 100; quiet++ {
			if m.step(time.Duration(pacedStep+1), true) {
				quiet = 0
			}
		}
		m.consistent()
		for _, r := range m.all {
			m.judge(r)
		}
		for r, n := range m.reasons {
			reasons[r] += n
		}
		drops += m.shard.stats.drops
		rateDrops += m.shard.stats.rateDrops
		beats += m.shard.stats.heartbeats
	}
	untested := func() (what []Reason) {
		for _, r := range []Reason{Done, Rate, SlowConsumer, Kicked} {
			if reasons[r] == 0 {
				what = append(what, r)
			}
		}
		return what
	}
	rapid.Check(t, check)
	for range 3 { // what the system's buffers take is not the same at any moment
		if len(untested()) > 0 {
			rapid.Check(t, check)
		}
	}
	if drops == 0 || rateDrops == 0 || beats == 0 {
		t.Errorf("%d jumps of slow clients, %d of rates, %d heartbeats: half of it was not tested", drops, rateDrops, beats)
	}
	for _, r := range untested() {
		t.Errorf("nobody ended with %s: half of it was not tested (%v)", r, reasons)
	}
}
