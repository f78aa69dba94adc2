package core

import (
	"context"
	"fmt"
	"time"

	"headgate/bridge/internal/encode"
	"headgate/internal/cursor"
	"headgate/internal/flow"
	"headgate/internal/gap"
	"headgate/internal/sse"
	"headgate/internal/subject"
)

// Open subscribes to what the request asks for, waits until NATS has confirmed it, and finds out where the client's cursor stands.
// Its errors are flow.ErrUnavailable, ErrUnconfirmed, ErrRefused and ErrTopics, or that of ctx.
func (c *Core) Open(ctx context.Context, req flow.Request) (flow.Opened, error) {
	s := &Source{core: c}
	waits, err := s.acquire(req.Sources, req.Format)
	if err == nil {
		err = c.await(ctx, waits)
	}
	if err != nil {
		s.Close()
		return flow.Opened{}, err
	}
	opened := flow.Opened{Source: s, Start: flow.Live}
	if req.Cursor != "" {
		s.resume(&opened, req)
	}
	return opened, nil
}

// acquire makes a link for each subject of the request.
func (s *Source) acquire(specs []flow.Spec, format flow.Format) (waits []*wait, err error) {
	n := 0
	for _, spec := range specs {
		n += len(spec.Subjects)
	}
	s.links = make([]link, 0, n)
	for _, spec := range specs {
		form := s.core.format(encode.Of(format, spec.Name))
		for _, subj := range spec.Subjects {
			d := s.core.connOf(subj)
			t, w, err := d.acquire(subj, spec.RingSize, spec.RingAge)
			if err != nil {
				return nil, err
			}
			if w != nil {
				waits = append(waits, w)
			}
			l := link{src: s, topic: t, name: spec.Name, form: form, entry: s.entryOf(d)}
			l.skip = s.before(subj)
			s.add(l)
		}
	}
	return waits, nil
}

// entryOf is the place of a connection in the position: connections stand in the order of their first use.
func (s *Source) entryOf(d *dataConn) uint8 {
	for i := range s.conns {
		if s.conns[i] == d {
			return uint8(i)
		}
	}
	if s.conns == nil {
		s.conns = s.one[:0]
	}
	s.conns = append(s.conns, d)
	return uint8(len(s.conns) - 1)
}

// before are the patterns of the source so far that may match the same messages as a new one.
func (s *Source) before(pattern string) (skip []string) {
	for i := range s.links {
		if p := s.links[i].topic.subject; subject.Intersects(p, pattern) {
			skip = append(skip, p)
		}
	}
	return skip
}

// add puts a link behind the others.
func (s *Source) add(l link) {
	l.lead = true
	for i := range s.links {
		o := &s.links[i]
		o.twin = o.twin || o.topic == l.topic
		if o.entry == l.entry && o.name == l.name {
			l.lead = false
		}
	}
	for i := range s.links {
		if o := &s.links[i]; l.lead && o.lead && o.entry == l.entry {
			o.more = true
		}
	}
	s.links = append(s.links, l)
}

// await waits for confirmations, all of them within one timeout.
func (c *Core) await(ctx context.Context, waits []*wait) error {
	if len(waits) == 0 {
		return nil
	}
	limit := c.conns[0].confirm
	timer := time.NewTimer(limit)
	defer timer.Stop()
	for _, w := range waits {
		select {
		case <-w.done:
			if w.err != nil {
				return w.err
			}
		case <-ctx.Done():
			return ctx.Err()
		case <-timer.C:
			return fmt.Errorf("%w: after %v", flow.ErrUnconfirmed, limit)
		}
	}
	return nil
}

// resume finds out what a cursor says about each connection. What has been lost within a connection that it knows is found out
// by Read, which knows the place of each hole.
func (s *Source) resume(o *flow.Opened, req flow.Request) {
	position, err := cursor.Parse(req.Cursor)
	from := make(cursor.Position, len(s.conns))
	var told []string
	for i, d := range s.conns {
		d.mu.Lock()
		now := d.seq
		d.mu.Unlock()
		from[i] = cursor.Entry{Tag: d.tag, Seq: cursor.Live}
		seq, known := position.Seq(d.tag)
		if err == nil && known && seq <= now && s.ringed(uint8(i), req.Sources) {
			from[i].Seq = seq
			o.Start = flow.Replay
			continue
		}
		o.Gaps, told = s.unknown(uint8(i), o.Gaps, told)
	}
	if o.Start == flow.Replay {
		o.From = from
	}
}

// ringed says whether all sources on a connection keep what a reconnect needs.
func (s *Source) ringed(entry uint8, specs []flow.Spec) bool {
	for i := range s.links {
		if s.links[i].entry != entry {
			continue
		}
		for _, spec := range specs {
			if spec.Name == s.links[i].name && spec.RingSize <= 0 {
				return false
			}
		}
	}
	return true
}

// unknown adds the gap of an unknown position for each source on a connection that has not been told yet.
func (s *Source) unknown(entry uint8, gaps []*sse.Frame, told []string) ([]*sse.Frame, []string) {
next:
	for i := range s.links {
		l := &s.links[i]
		if l.entry != entry {
			continue
		}
		for _, name := range told {
			if name == l.name {
				continue next
			}
		}
		told = append(told, l.name)
		gaps = append(gaps, s.core.gap(gap.UnknownPosition, l.name))
	}
	return gaps, told
}
