package delivery_test

import (
	"fmt"
	"strconv"
	"sync"
	"testing"
	"time"

	"headgate/internal/cursor"
	"headgate/internal/flow"
	"headgate/internal/sse"
)

// topic is a source in memory: numbered events, all of them kept, so that every reader can be checked against it.
type topic struct {
	mu     sync.Mutex
	tag    cursor.Tag
	seq    uint64
	log    []flow.Event
	sinks  map[*source]flow.Sink
	slow   time.Duration // answers of Read come from another goroutine, this late
	opened int
	closed int

	incarnation int
}

func newTopic() *topic {
	return &topic{tag: cursor.MakeTag("test"), sinks: map[*source]flow.Sink{}}
}

// publish gives everybody the next event, whose data is its number.
func (p *topic) publish(data string) uint64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.seq++
	if data == "" {
		data = strconv.FormatUint(p.seq, 10)
	}
	p.push(flow.Event{Frame: sse.NewFrame("", []byte(data)), Seq: p.seq, At: time.Now().UnixNano()})
	return p.seq
}

// push needs mu.
func (p *topic) push(e flow.Event) {
	p.log = append(p.log, e)
	for _, s := range p.sinks {
		s.Push(e)
	}
}

// finish publishes the last event.
func (p *topic) finish(data string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.seq++
	p.push(flow.Event{Frame: sse.NewFrame("", []byte(data)), Seq: p.seq, End: flow.Done})
}

// lose says that the source is gone.
func (p *topic) lose() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, s := range p.sinks {
		s.Push(flow.Event{Seq: p.seq, End: flow.Lost})
	}
}

var resetFrame = sse.NewFrame("$gap", []byte(`{"reason":"reset"}`))

// begin makes the topic another incarnation, without any event yet.
func (p *topic) begin() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.incarnation++
	p.tag, p.seq, p.log = cursor.MakeTag("test", strconv.Itoa(p.incarnation)), 0, nil
	for _, s := range p.sinks {
		s.Push(flow.Event{Frame: resetFrame, Tag: p.tag})
	}
}

// skip moves the position without an event, and tells nobody: Progress does.
func (p *topic) skip(n uint64) {
	p.mu.Lock()
	p.seq += n
	p.mu.Unlock()
}

func (p *topic) open() *source {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.opened++
	return &source{topic: p}
}

// balance is how many sources are still open.
func (p *topic) balance() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.opened - p.closed
}

var freshFrame = sse.NewFrame("$gap", []byte(`{"next":"snapshot"}`))

// refresh gives everybody a fresh state.
func (p *topic) refresh() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, s := range p.sinks {
		s.Push(flow.Event{Frame: freshFrame, Seq: p.seq, Bare: true, Again: func(any) any { return snapshotWanted }})
	}
}

// snapshotWanted is the State of a client that begins with a snapshot.
const snapshotWanted = "snapshot"

type source struct {
	topic *topic
	once  sync.Once
}

func (s *source) Attach(sink flow.Sink) cursor.Position {
	s.topic.mu.Lock()
	defer s.topic.mu.Unlock()
	s.topic.sinks[s] = sink
	return cursor.Position{{Tag: s.topic.tag, Seq: s.topic.seq}}
}

func (s *source) Progress(p cursor.Position) {
	s.topic.mu.Lock()
	defer s.topic.mu.Unlock()
	if p[0].Tag != s.topic.tag {
		p[0] = cursor.Entry{Tag: s.topic.tag, Seq: s.topic.seq}
	}
	p[0].Seq = max(p[0].Seq, s.topic.seq)
}

func (s *source) Read(ask flow.Ask, done func(flow.Batch)) {
	from, to, maxBytes := ask.From, ask.To, ask.MaxBytes
	s.topic.mu.Lock()
	var b flow.Batch
	b.Done = true
	size := 0
	switch {
	case ask.State == snapshotWanted:
		state := sse.NewFrame("state", []byte(strconv.FormatUint(s.topic.seq, 10)))
		b.Events = []flow.Event{{Frame: state, Bare: true},
			{Frame: sse.NewFrame("$snapshot", []byte(`{"count":1}`)), Tag: s.topic.tag, Seq: s.topic.seq}}
		from = cursor.Position{{Seq: cursor.Live}}
	case to[0].Tag != s.topic.tag:
		if from[0].Tag == to[0].Tag && from[0].Seq < to[0].Seq {
			b.Events = []flow.Event{{Frame: resetFrame, Seq: to[0].Seq}} // what is asked for went with its incarnation
		}
		from = cursor.Position{{Seq: cursor.Live}} // what follows is in the log
	case from[0].Tag != s.topic.tag:
		b.Events = []flow.Event{{Frame: resetFrame, Tag: s.topic.tag}}
		from = cursor.Position{{Tag: s.topic.tag}}
	}
	for _, e := range s.topic.log {
		if e.Seq <= from[0].Seq || e.Seq > to[0].Seq {
			continue
		}
		if size > maxBytes {
			b.Done = false
			break
		}
		size += e.Frame.Len()
		b.Events = append(b.Events, e)
	}
	slow := s.topic.slow
	s.topic.mu.Unlock()
	if slow == 0 {
		done(b)
		return
	}
	time.AfterFunc(slow, func() { done(b) })
}

func (s *source) Close() {
	again := true
	s.once.Do(func() {
		again = false
		s.topic.mu.Lock()
		defer s.topic.mu.Unlock()
		delete(s.topic.sinks, s)
		s.topic.closed++
	})
	if again {
		panic("source closed twice")
	}
}

// eventually polls until ok, or fails.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	deadline := time.Now().Add(10 * time.Second)
	for !ok() {
		if time.Now().After(deadline) {
			t.Fatalf("never happened: %s", what)
		}
		time.Sleep(time.Millisecond)
	}
}

func readyFrame(n uint64) *sse.Frame {
	return sse.NewFrame("$ready", fmt.Appendf(nil, `{"connection":"%d"}`, n))
}
