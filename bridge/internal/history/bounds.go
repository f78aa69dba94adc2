package history

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/nats-io/nats.go"

	"headgate/bridge/internal/encode"
	"headgate/bridge/internal/jsapi"
)

// Backward searches read piece by piece, each one older and, where there is little, longer.
const (
	firstPiece = 1024
	pieceGrows = 4
	pieceFull  = 1000 // messages; with more the next piece is not longer
)

// walk reads a range and visits what there is, part by part, in order.
func (c *Coordinator) walk(ctx context.Context, nc *nats.Conn, t target, visit func([]*encode.Item) (more bool)) error {
	for t.from < t.to {
		p, err := c.fetch(ctx, nc, t)
		if err != nil {
			return err
		}
		items := p.items
		for len(items) > 0 && items[len(items)-1].Seq > t.to {
			items = items[:len(items)-1]
		}
		if !visit(items) {
			return nil
		}
		t.from = p.upto
	}
	return nil
}

// backward visits what is of interest about the messages of (t.from, t.to] in pieces, the youngest first; each piece is in order.
func backward[T any](ctx context.Context, c *Coordinator, nc *nats.Conn, t target, of func(*encode.Item) T, visit func([]T) (more bool)) error {
	i, err := c.bounds(ctx, nc, &t)
	if err != nil {
		return err
	}
	low := max(t.from, i.FirstSeq-min(i.FirstSeq, 1)) // below it there is nothing
	for length := uint64(firstPiece); t.to > low; {
		piece := t
		piece.from = max(low, t.to-min(t.to, length))
		var items []T
		err := c.walk(ctx, nc, piece, func(part []*encode.Item) bool {
			for _, it := range part {
				items = append(items, of(it))
			}
			return true
		})
		if err != nil {
			return err
		}
		if !visit(items) {
			return nil
		}
		if len(items) < pieceFull {
			length *= pieceGrows
		}
		t.to = piece.from
	}
	return nil
}

// Last reads the last matching message up to r.To, or none.
func (c *Coordinator) Last(r Request, done func(Answer)) {
	key := r.key()
	c.m.reads.Inc()
	c.operate(r, "last "+key, func(s *session) Answer {
		t := target{stream: r.Stream, created: r.Created, direct: r.Direct, filters: r.Filters, to: r.To}
		items, err := c.lastUpTo(s.ctx, s.nc, t)
		if err != nil {
			return Answer{Err: err}
		}
		i, err := c.after(s.ctx, s.nc, &t)
		return Answer{Items: items, Upto: r.To, First: i.FirstSeq, Err: err}
	}, done)
}

// lastUpTo begins where the leader has its last message, if that is in the range.
func (c *Coordinator) lastUpTo(ctx context.Context, nc *nats.Conn, t target) (found []*encode.Item, err error) {
	i, err := c.bounds(ctx, nc, &t)
	if err != nil {
		return nil, err
	}
	lasts, err := c.lastsOf(ctx, nc, &t, i, time.Now().Add(-fresh))
	if err != nil {
		return nil, err
	}
	if one := together(lasts); one.seq == 0 {
		return nil, nil
	} else if one.seq <= t.to {
		t.to = one.seq // behind it there is nothing
	}
	itself := func(it *encode.Item) *encode.Item { return it }
	err = backward(ctx, c, nc, t, itself, func(items []*encode.Item) bool {
		if len(items) > 0 {
			found = items[len(items)-1:]
		}
		return found == nil
	})
	return found, err
}

// Most bounds what a client is given at once.
type Most struct {
	Events int   // 0 = any number
	Bytes  int64 // of their payloads, and Each for every one of them; 0 = any number. The last one is within it whatever its size
	Each   int64
}

// Newest counts messages from the youngest on.
type Newest struct {
	Most
	n    int
	size int64
}

// Take says whether one more message, which is older than those before, is within the bounds.
func (n *Newest) Take(payload int) bool {
	n.n++
	n.size += int64(payload) + n.Each
	return !(n.Events > 0 && n.n > n.Events || n.Bytes > 0 && n.n > 1 && n.size > n.Bytes)
}

// Newest finds the newest matches of a range that are within bounds: those in (from, r.To]. It begins as early as it can, at r.From at the
// earliest. missed says that there are more in (r.From, r.To].
func (c *Coordinator) Newest(r Request, most Most, done func(from uint64, missed bool, err error)) {
	key := fmt.Sprintf("newest %v %d %s", most, r.From, r.key())
	c.m.reads.Inc()
	type mark struct {
		seq     uint64
		payload int
	}
	c.operate(r, key, func(s *session) Answer {
		t := target{stream: r.Stream, created: r.Created, direct: r.Direct, filters: r.Filters, from: r.From, to: r.To}
		n, from := Newest{Most: most}, r.From
		if r.From >= r.To {
			return Answer{Upto: from}
		}
		of := func(it *encode.Item) mark { return mark{it.Seq, len(it.Data)} }
		err := backward(s.ctx, c, s.nc, t, of, func(marks []mark) bool {
			for _, m := range slices.Backward(marks) {
				if !n.Take(m.payload) {
					from = m.seq
					return false
				}
			}
			return true
		})
		return Answer{Upto: from, Err: err}
	}, func(a Answer) { done(a.Upto, a.Err == nil && a.Upto > r.From, a.Err) })
}

// SeqBefore finds where a replay begins: behind the last sequence that was stored before a time; 0 when there is none. Where the
// first message of the stream is younger, that is the sequence before it: what stood there is unknown.
func (c *Coordinator) SeqBefore(stream string, created, at time.Time, done func(seq uint64, err error)) {
	c.m.reads.Inc()
	key := "before " + at.UTC().Format(time.RFC3339Nano) + " " + created.UTC().Format(time.RFC3339Nano)
	c.operate(Request{Stream: stream, Created: created}, key, func(s *session) Answer {
		seq, err := c.seqBefore(s.ctx, s.nc, &target{stream: stream, created: created}, at)
		return Answer{Upto: seq, Err: err}
	}, func(a Answer) { done(a.Upto, a.Err) })
}

func (c *Coordinator) seqBefore(ctx context.Context, nc *nats.Conn, t *target, at time.Time) (uint64, error) {
	if _, err := c.bounds(ctx, nc, t); err != nil {
		return 0, err
	}
	i, err := c.info(ctx, nc, t.stream, time.Now()) // the end of the stream as it is now
	if err != nil {
		return 0, err
	}
	seq := i.LastSeq
	if i.Messages > 0 {
		seq, err = c.searchTime(ctx, nc, t.stream, i, at)
	}
	if err != nil {
		return 0, err
	}
	_, err = c.after(ctx, nc, t)
	return seq, err
}

// searchTime asks a replica, whose answer is right if it has one: it has everything before it. Otherwise the leader is searched.
func (c *Coordinator) searchTime(ctx context.Context, nc *nats.Conn, stream string, i jsapi.Info, at time.Time) (uint64, error) {
	if i.Config.AllowDirect {
		g, err := c.directGet(ctx, nc, stream, ask{StartTime: &at, Batch: 1})
		if err == nil && len(g.items) == 1 && g.items[0].At >= at.UnixNano() {
			return g.items[0].Seq - 1, nil
		}
		if err != nil && !errors.Is(err, errLost) && !errors.Is(err, errNoDirect) {
			return 0, err
		}
	}
	low, high := i.FirstSeq-1, i.LastSeq // the answer is in [low, high]
	for low < high {
		middle := low + (high-low)/2 + 1
		m, err := c.next(ctx, nc, stream, ">", middle)
		switch {
		case errors.Is(err, jsapi.ErrNoMessage): // nothing from middle on
			high = middle - 1
		case err != nil:
			return 0, err
		case m.Time.Before(at):
			low = min(m.Seq, high)
		default:
			high = middle - 1
		}
	}
	return low, nil
}
