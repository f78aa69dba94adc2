package history

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"time"

	"github.com/nats-io/nats.go"

	"headgate/bridge/internal/encode"
	"headgate/bridge/internal/jsapi"
	"headgate/internal/subject"
)

// backoff is how long a read pauses before it asks again, where a replica lags.
var backoff = [...]time.Duration{10 * time.Millisecond, 40 * time.Millisecond, 160 * time.Millisecond}

// leaderMessages is how many messages a read takes from the leader, one by one, where every other way lags.
const leaderMessages = 256

// few messages are asked of the leader one by one rather than with a consumer, where there is no direct get.
const few = 4

// target is what one read is to bring: what the filters match in (from, to] of one incarnation of a stream.
type target struct {
	stream   string
	created  time.Time
	direct   bool
	filters  []string
	from, to uint64
}

// fetch reads the beginning of a range: at least up to the next message, unless it fails. What it returns is proven. A replica that
// lags is asked again, then another way is taken, and at last the leader, so that it ends.
func (c *Coordinator) fetch(ctx context.Context, nc *nats.Conn, t target) (*segment, error) {
	info, err := c.bounds(ctx, nc, &t)
	if err != nil {
		return nil, err
	}
	since := time.Now().Add(-fresh)
	for try := 0; ; try++ {
		lasts, err := c.lastsOf(ctx, nc, &t, info, since)
		if err != nil {
			return nil, err
		}
		p, err := c.attempt(ctx, nc, &t, lasts, try)
		if err != nil && !errors.Is(err, errLost) && !errors.Is(err, errNoDirect) {
			return nil, err
		}
		if errors.Is(err, errNoDirect) {
			t.direct = false // it was switched off, or is not for us
		}
		if err == nil && p.upto > t.from {
			return c.prove(ctx, nc, &t, p)
		}
		if err == nil {
			c.m.lag.Inc()
		}
		if err := pause(ctx, backoff[min(try, len(backoff)-1)]); err != nil {
			return nil, err
		}
		if try > 2*len(backoff) {
			return nil, ErrAway
		}
		// What was the last message may be gone meanwhile, and the stream another one.
		since = time.Now()
		if info, err = c.after(ctx, nc, &t); err != nil {
			return nil, err
		}
	}
}

// attempt reads in the way that the number of tries leaves.
func (c *Coordinator) attempt(ctx context.Context, nc *nats.Conn, t *target, lasts []lastSaid, try int) (*segment, error) {
	needed := false
	for _, l := range lasts {
		needed = needed || l.seq > t.from
	}
	span := t.to - t.from
	switch {
	case !needed:
		return &segment{from: t.from, upto: proven(lasts)}, nil
	case t.direct && len(t.filters) <= maxFilters && try < len(backoff):
		return c.readDirect(ctx, nc, t, lasts)
	case try < 2*len(backoff)-1 && (t.direct || span > few):
		return c.readScan(ctx, nc, t, lasts)
	}
	return c.readLeader(ctx, nc, t, lasts)
}

// proven is how far it is certain that nothing follows behind the last messages that the leader knows.
func proven(lasts []lastSaid) uint64 {
	upto := ^uint64(0)
	for _, l := range lasts {
		upto = min(upto, max(l.asOf, l.seq))
	}
	return upto
}

// asked is the filters that the leader is asked about: those of the target, or fewer wider ones where they are many.
func (t *target) asked() []string {
	if len(t.filters) > maxFilters {
		return consumerFilters(t.filters)
	}
	return t.filters
}

// wants says whether a filter matches.
func (t *target) wants(literal string) bool {
	return slices.ContainsFunc(t.filters, func(f string) bool { return subject.Match(f, literal) })
}

func (c *Coordinator) lastsOf(ctx context.Context, nc *nats.Conn, t *target, i jsapi.Info, since time.Time) ([]lastSaid, error) {
	filters := t.asked()
	lasts := make([]lastSaid, len(filters))
	for n, f := range filters {
		said, err := c.lastOf(ctx, nc, t, f, i, since)
		if err != nil {
			return nil, err
		}
		lasts[n] = said
	}
	return lasts, nil
}

// prove asks the leader whether what was read is of the right incarnation, and what may have been thrown away before it. A message
// that was read shows that at that moment nothing from there on was missing.
func (c *Coordinator) prove(ctx context.Context, nc *nats.Conn, t *target, p *segment) (*segment, error) {
	i, err := c.after(ctx, nc, t)
	if err != nil {
		return nil, err
	}
	p.first = i.FirstSeq
	if len(p.items) > 0 {
		p.first = min(p.first, p.items[0].Seq)
	}
	p.size = itemOverhead
	for _, it := range p.items {
		p.size += size(it)
	}
	return p, nil
}

// readDirect asks for one batch per filter.
func (c *Coordinator) readDirect(ctx context.Context, nc *nats.Conn, t *target, lasts []lastSaid) (*segment, error) {
	p := &segment{from: t.from, upto: ^uint64(0)}
	for n, f := range t.filters {
		said := lasts[n]
		if said.seq <= t.from {
			p.upto = min(p.upto, said.asOf)
			continue
		}
		items, err := c.batch(ctx, nc, t, f)
		if err != nil {
			return nil, err
		}
		reached := t.from
		if len(items) > 0 {
			reached = items[len(items)-1].Seq
		}
		if reached >= said.seq {
			reached = max(reached, said.asOf)
		}
		p.upto = min(p.upto, reached)
		p.items = append(p.items, items...)
	}
	p.items = inOrder(p.items, p.upto, len(t.filters) > 1)
	return p, nil
}

// batch asks any replica for the next messages of one filter.
func (c *Coordinator) batch(ctx context.Context, nc *nats.Conn, t *target, filter string) ([]*encode.Item, error) {
	a := ask{Seq: t.from + 1, Batch: int(min(t.to-t.from+1, passMessages)), MaxBytes: passBytes}
	if filter != ">" { // without a filter it costs half
		a.NextFor = filter
	}
	over := c.costs.begin()
	span := uint64(0)
	defer func() { over(span) }()
	g, err := c.directGet(ctx, nc, t.stream, a)
	if err != nil {
		return nil, err
	}
	switch {
	case len(g.items) == 0 || g.pending == 0 && g.items[len(g.items)-1].Seq < t.to:
		span = t.to - t.from
	default:
		span = g.items[len(g.items)-1].Seq - t.from
	}
	return g.items, nil
}

// inOrder sorts what several filters brought, keeps each message once, and cuts off what is not proven.
func inOrder(items []*encode.Item, upto uint64, several bool) []*encode.Item {
	if several {
		slices.SortFunc(items, func(a, b *encode.Item) int { return cmp.Compare(a.Seq, b.Seq) })
		items = slices.CompactFunc(items, func(a, b *encode.Item) bool { return a.Seq == b.Seq })
	}
	for len(items) > 0 && items[len(items)-1].Seq > upto {
		items = items[:len(items)-1]
	}
	return items
}

// readLeader takes messages from the leader, one by one.
func (c *Coordinator) readLeader(ctx context.Context, nc *nats.Conn, t *target, lasts []lastSaid) (*segment, error) {
	p := &segment{from: t.from, upto: ^uint64(0)}
	for n, f := range t.asked() {
		reached := t.from
		for k := 0; k < leaderMessages && reached < min(t.to, lasts[n].seq); k++ {
			m, err := c.next(ctx, nc, t.stream, f, reached+1)
			if errors.Is(err, jsapi.ErrNoMessage) {
				break // thrown away meanwhile; the leader will be asked again
			}
			if err != nil {
				return nil, err
			}
			it, err := stored(m)
			if err != nil {
				return nil, err
			}
			reached = it.Seq
			if t.wants(it.Subject) {
				p.items = append(p.items, it)
			}
		}
		if reached >= lasts[n].seq {
			reached = max(reached, lasts[n].asOf)
		}
		p.upto = min(p.upto, reached)
	}
	p.items = inOrder(p.items, p.upto, true)
	return p, nil
}
