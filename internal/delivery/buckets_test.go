package delivery_test

import (
	"fmt"
	"maps"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"headgate/internal/cursor"
	"headgate/internal/delivery"
	"headgate/internal/flow"
	"headgate/internal/sse"
)

// buckets is a source of two parts, each with keys and values, that begin again without a word on the keys that are gone then.
type buckets struct {
	t *testing.T

	mu      sync.Mutex
	parts   [2]bucket
	sinks   map[*bucketsSource]flow.Sink
	behind  []flow.Event // not pushed yet
	holding bool         // what happens is kept in behind
	kept    func()       // a read that is not answered yet
	keep    bool         // the next read is kept
	opened  int
	closed  int
	pad     string // makes the $gap of a new beginning long
	states  int    // that were read
}

// bucket is one part.
type bucket struct {
	tag    cursor.Tag
	seq    uint64
	pushed uint64
	keys   map[string]string
	log    []flow.Event
	begun  uint64 // the sequence at which it last began again
}

func newBuckets(r *rig) *buckets {
	b := &buckets{t: r.t, sinks: map[*bucketsSource]flow.Sink{}}
	for i := range b.parts {
		b.parts[i] = bucket{tag: cursor.MakeTag("bucket", strconv.Itoa(i)), keys: map[string]string{}}
	}
	r.buckets = b
	r.t.Cleanup(func() {
		eventually(r.t, "every source to be closed", func() bool {
			b.mu.Lock()
			defer b.mu.Unlock()
			return b.opened == b.closed
		})
	})
	return b
}

// put changes a key of a part.
func (b *buckets) put(part int, key, value string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	p := &b.parts[part]
	p.seq++
	p.keys[key] = value
	e := flow.Event{Frame: putFrame(part, key, value), Entry: part, Seq: p.seq}
	p.log = append(p.log, e)
	b.push(e)
}

// remove deletes a key of a part.
func (b *buckets) remove(part int, key string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	p := &b.parts[part]
	p.seq++
	delete(p.keys, key)
	e := flow.Event{Frame: sse.NewFrame("delete", fmt.Appendf(nil, "%d %s", part, key)), Entry: part, Seq: p.seq}
	p.log = append(p.log, e)
	b.push(e)
}

// renew makes a part begin again, with one key.
func (b *buckets) renew(part int, key string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	p := &b.parts[part]
	p.seq++
	p.keys, p.log, p.begun = map[string]string{key: "renewed"}, nil, p.seq
	b.push(flow.Event{Frame: b.gapFrame(part), Entry: part, Seq: p.seq, Bare: true, Again: owePart(part)})
}

// owePart adds the state of a part to the notes on a client.
func owePart(part int) func(state any) any {
	return func(state any) any {
		owed := owedParts{}
		if state != nil {
			maps.Copy(owed, state.(owedParts))
		}
		owed[part] = true
		return owed
	}
}

func putFrame(part int, key, value string) *sse.Frame {
	return sse.NewFrame("put", fmt.Appendf(nil, "%d %s %s", part, key, value))
}

func (b *buckets) gapFrame(part int) *sse.Frame {
	return sse.NewFrame("$gap", fmt.Appendf(nil, `{"next":"snapshot","part":%d,"pad":"%s"}`, part, b.pad))
}

// push needs mu.
func (b *buckets) push(e flow.Event) {
	if b.holding {
		b.behind = append(b.behind, e)
		return
	}
	b.parts[e.Entry].pushed = e.Seq
	for _, s := range b.sinks {
		s.Push(e)
	}
}

// hold keeps back what happens, and with false pushes it.
func (b *buckets) hold(on bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.holding = on
	if on {
		return
	}
	for _, e := range b.behind {
		b.push(e)
	}
	b.behind = nil
}

// keepNext lets the next read wait for answer.
func (b *buckets) keepNext() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.keep = true
}

// answer answers it, when it has come.
func (b *buckets) answer() {
	b.t.Helper()
	var kept func()
	eventually(b.t, "the read that is to wait", func() bool {
		b.mu.Lock()
		defer b.mu.Unlock()
		kept = b.kept
		return kept != nil
	})
	kept()
}

func (b *buckets) open() *bucketsSource {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.opened++
	return &bucketsSource{b}
}

// beginning is the position of somebody who has nothing.
func (b *buckets) beginning() cursor.Position {
	return cursor.Position{{Tag: b.parts[0].tag}, {Tag: b.parts[1].tag}}
}

// position needs mu.
func (b *buckets) position() cursor.Position {
	p := b.beginning()
	p[0].Seq, p[1].Seq = b.parts[0].pushed, b.parts[1].pushed
	return p
}

// owedParts are the notes on a reading client: the parts whose state it is to be given.
type owedParts map[int]bool

type bucketsSource struct{ b *buckets }

func (s *bucketsSource) Attach(sink flow.Sink) cursor.Position {
	s.b.mu.Lock()
	defer s.b.mu.Unlock()
	s.b.sinks[s] = sink
	return s.b.position()
}

// States implements flow.Stateful.
func (s *bucketsSource) States() []flow.StateEntry {
	return []flow.StateEntry{{Entry: 0, Source: "zero", Again: owePart(0)}, {Entry: 1, Source: "one", Again: owePart(1)}}
}

func (s *bucketsSource) Progress(p cursor.Position) {
	s.b.mu.Lock()
	defer s.b.mu.Unlock()
	copy(p, s.b.position())
}

func (s *bucketsSource) Close() {
	s.b.mu.Lock()
	defer s.b.mu.Unlock()
	delete(s.b.sinks, s)
	s.b.closed++
}

// Read gives the states that are owed, then what was missed.
func (s *bucketsSource) Read(ask flow.Ask, done func(flow.Batch)) {
	s.b.mu.Lock()
	if s.b.keep {
		s.b.keep = false
		s.b.kept = func() { s.Read(ask, done) }
		s.b.mu.Unlock()
		return
	}
	batch := s.b.read(ask)
	s.b.mu.Unlock()
	done(batch)
}

// read needs mu.
func (b *buckets) read(ask flow.Ask) (batch flow.Batch) {
	owed, _ := ask.State.(owedParts)
	if len(owed) > 0 {
		b.states++
		var positions []flow.Event
		for part := range owed {
			p := &b.parts[part]
			for k, v := range p.keys {
				batch.Events = append(batch.Events, flow.Event{Frame: putFrame(part, k, v), Entry: part, Bare: true})
			}
			positions = append(positions, flow.Event{Entry: part, Tag: p.tag, Seq: p.seq})
		}
		positions[len(positions)-1].Frame = sse.NewFrame("$snapshot", []byte("{}"))
		batch.Events = append(batch.Events, positions...)
		return batch
	}
	for part := range b.parts {
		for _, e := range b.parts[part].log {
			if e.Seq > ask.From[part].Seq && e.Seq <= ask.To[part].Seq {
				batch.Events = append(batch.Events, e)
			}
		}
	}
	batch.Done = true
	return batch
}

// finish makes the last changes.
func (b *buckets) finish(value string) {
	b.put(0, "last", value)
	b.put(1, "last", value)
}

// flood changes a key with so many values of 64 KiB, more of them than a socket takes from somebody who does not read.
func (b *buckets) flood(part, values int) {
	value := strings.Repeat("x", 64<<10)
	for range values {
		b.put(part, "big", value)
	}
}

// streams waits until so many are open.
func (r *rig) streams(n int) {
	r.t.Helper()
	eventually(r.t, fmt.Sprintf("%d streams", n), func() bool { return r.server.Streams() == n })
}

// settle waits until every round has run. Each question is answered by the shards, so there is no need to sleep in between.
func (r *rig) settle() {
	r.t.Helper()
	for deadline := time.Now().Add(10 * time.Second); time.Now().Before(deadline); {
		settled, err := r.server.Settled(r.t.Context())
		if err != nil {
			r.t.Fatal(err)
		}
		if settled {
			return
		}
	}
	r.t.Fatal("the rounds have no end")
}

// firstState takes the first state, and waits until its client is live: the last read, of what came meanwhile, is asked for behind it.
func (p *page) firstState(r *rig) *page {
	p.b.t.Helper()
	p.read("the first state", func() bool { return p.s.id != "" })
	eventually(r.t, "everybody to be live", func() bool {
		n, err := r.server.Reading(r.t.Context())
		return err == nil && n == 0
	})
	r.settle()
	return p
}

// renewAhead is renew for a part that is pushed at once, while what the other part has is still kept.
func (b *buckets) renewAhead(part int, key string) {
	b.mu.Lock()
	b.holding = false
	b.mu.Unlock()
	b.renew(part, key)
	b.mu.Lock()
	b.holding = true
	b.mu.Unlock()
}

// slowGaps is what a jump says of the two parts.
func slowGaps() []delivery.JumpGap { return jumpGaps("slow") }

func jumpGaps(reason string) (gaps []delivery.JumpGap) {
	for part, source := range []string{"zero", "one"} {
		frame := func(next string) *sse.Frame {
			return sse.NewFrame("$gap", fmt.Appendf(nil, `{"reason":"%s","part":%d%s}`, reason, part, next))
		}
		gaps = append(gaps, delivery.JumpGap{Source: source, Live: frame(""), State: frame(`,"next":"snapshot"`)})
	}
	return gaps
}
