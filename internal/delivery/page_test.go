package delivery_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"strconv"
	"strings"

	"headgate/internal/cursor"
	"headgate/internal/sse"
)

// page is what a browser makes of a stream of buckets.
type page struct {
	b     *buckets
	s     *stream
	keys  [2]map[string]string
	fresh [2]uint64 // the new beginning whose state it has
	owed  map[int]bool
	gaps  int // of new beginnings
	slow  int // of jumps
	stale int // of them, behind which a state follows
	ended bool
	id    string
}

func (b *buckets) page(s *stream) *page {
	return &page{b: b, s: s, keys: [2]map[string]string{{}, {}}, owed: map[int]bool{}}
}

// read takes events until ok.
func (p *page) read(what string, ok func() bool) *page {
	p.b.t.Helper()
	if p.s.dec == nil {
		p.s.start()
	}
	for !ok() {
		e, err := p.s.next()
		if err != nil {
			p.b.t.Fatalf("waiting for %s: %v", what, err)
		}
		p.take(e)
	}
	return p
}

func (p *page) take(e sse.Event) {
	p.b.t.Helper()
	switch e.Type {
	case "put":
		f := strings.SplitN(e.Data, " ", 3)
		part, _ := strconv.Atoi(f[0])
		p.keys[part][f[1]] = f[2]
	case "delete":
		f := strings.SplitN(e.Data, " ", 2)
		part, _ := strconv.Atoi(f[0])
		delete(p.keys[part], f[1])
	case "$gap":
		var g struct {
			Reason, Next string
			Part         int
		}
		if err := json.Unmarshal([]byte(e.Data), &g); err != nil {
			p.b.t.Fatal(err)
		}
		switch {
		case g.Reason == "":
			p.gaps++
		case g.Next == "snapshot":
			p.stale++
			fallthrough
		default:
			p.slow++
		}
		if g.Next == "" {
			break
		}
		p.owed[g.Part] = true
		clear(p.keys[g.Part])
	case "$snapshot":
		clear(p.owed)
		position, _ := cursor.Parse(e.ID)
		p.fresh[0], p.fresh[1] = position[0].Seq, position[1].Seq
	case "$end":
		p.ended = true
	}
	p.judge(e)
}

// judge looks whether somebody who came back with the id that a page has now would be taken for one that has the states.
func (p *page) judge(e sse.Event) {
	p.b.t.Helper()
	if len(p.owed) > 0 && e.ID != p.id {
		p.b.t.Fatalf("%s of %.60q has the id %s, and the states of %v have not been given", e.Type, e.Data, e.ID, p.owed)
	}
	p.id = e.ID
	position, err := cursor.Parse(e.ID)
	if err != nil {
		return
	}
	p.b.mu.Lock()
	defer p.b.mu.Unlock()
	for part, at := range position {
		if begun := p.b.parts[part].begun; at.Seq >= begun && p.fresh[part] < begun {
			p.b.t.Fatalf("%s of %.60q has the id %s, and the state of part %d at %d has not been given (last %d)", e.Type, e.Data, e.ID, part, begun, p.fresh[part])
		}
	}
}

// last reads until the key "last" of both parts has been seen, and compares then.
func (p *page) last(value string) {
	p.b.t.Helper()
	p.read("the last changes", func() bool {
		return len(p.owed) == 0 && p.keys[0]["last"] == value && p.keys[1]["last"] == value
	})
	p.b.mu.Lock()
	defer p.b.mu.Unlock()
	for part := range p.keys {
		if want := p.b.parts[part].keys; !maps.Equal(p.keys[part], want) {
			p.b.t.Errorf("part %d: the page has %s, the bucket %s", part, brief(p.keys[part]), brief(want))
		}
	}
}

func brief(keys map[string]string) string {
	var b strings.Builder
	for k, v := range keys {
		fmt.Fprintf(&b, "%s=%.8s ", k, v)
	}
	return b.String()
}
