package history

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/nats-io/nats.go"

	"headgate/bridge/internal/jsapi"
)

// leader keeps what the leaders of streams said, for moments: it is asked about each read, and must not be asked by each.
type leader struct {
	mu    sync.Mutex
	infos map[string]*infoCall
	lasts map[lastKey]lastSaid
}

// infoCall is a question about a stream, in flight or answered.
type infoCall struct {
	asked time.Time
	done  chan struct{}
	info  jsapi.Info // when done is closed
	err   error
}

type lastKey struct{ stream, filter string }

// lastSaid is the last message of a filter: every message up to asOf that the filter matches has seq or less, for the stream was at
// asOf when it was asked about.
type lastSaid struct {
	seq, asOf uint64 // seq 0: there is none
	created   time.Time
	asked     time.Time
}

func (l *leader) init() {
	l.infos, l.lasts = map[string]*infoCall{}, map[lastKey]lastSaid{}
}

func (l *leader) forget(now time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for k, i := range l.infos {
		if now.Sub(i.asked) > 2*answerWait {
			delete(l.infos, k)
		}
	}
	for k, s := range l.lasts {
		if now.Sub(s.asked) > fresh {
			delete(l.lasts, k)
		}
	}
}

// info is what the leader said when it was asked at since or later. Equal questions are asked once.
func (c *Coordinator) info(ctx context.Context, nc *nats.Conn, name string, since time.Time) (jsapi.Info, error) {
	l := &c.leader
	l.mu.Lock()
	call := l.infos[name]
	mine := call == nil || call.asked.Before(since)
	if mine {
		call = &infoCall{asked: time.Now(), done: make(chan struct{})}
		l.infos[name] = call
	}
	l.mu.Unlock()
	if mine {
		c.m.leader.Inc()
		asking, cancel := context.WithTimeout(ctx, answerWait)
		call.info, call.err = c.api.Info(asking, nc, name)
		cancel()
		if call.err != nil { // the next one asks again
			l.mu.Lock()
			if l.infos[name] == call {
				delete(l.infos, name)
			}
			l.mu.Unlock()
		}
		close(call.done)
	}
	select {
	case <-call.done:
		return call.info, call.err
	case <-ctx.Done():
		return jsapi.Info{}, context.Cause(ctx)
	}
}

// Info is what the leader of a stream says about it, or said a moment ago.
func (c *Coordinator) Info(ctx context.Context, stream string) (jsapi.Info, error) {
	c.mu.Lock()
	s := c.session
	c.mu.Unlock()
	if s == nil {
		return jsapi.Info{}, ErrAway
	}
	// Others may wait for the same answer: it does not end with this request.
	return c.info(context.WithoutCancel(ctx), s.nc, stream, time.Now().Add(-moment))
}

// moment is how old an answer may be that decides about a client's position: short enough for who has just seen another incarnation,
// and long enough for a crowd that comes back at once.
const moment = 50 * time.Millisecond

// bounds is what the leader says of a stream before something is read of it: an answer that knows the incarnation and the sequence to.
func (c *Coordinator) bounds(ctx context.Context, nc *nats.Conn, t *target) (jsapi.Info, error) {
	since := time.Now().Add(-fresh)
	for try := 0; ; try++ {
		i, err := c.info(ctx, nc, t.stream, since)
		if err != nil {
			return i, err
		}
		same := i.Created.Equal(t.created)
		if same && i.LastSeq >= t.to {
			return i, nil
		}
		if try > 0 && !same {
			return i, ErrReset
		}
		if try >= len(backoff) {
			if i.LastSeq <= t.from {
				return i, ErrRewound
			}
			return i, nil
		}
		if try > 0 { // the feed knew more: perhaps the leader has just changed
			if err := pause(ctx, backoff[try]); err != nil {
				return i, err
			}
		}
		since = time.Now()
	}
}

// after is what the leader says once a read is over. The same incarnation then is that of the whole read, and its first sequence
// tells what may have been thrown away while it was read.
func (c *Coordinator) after(ctx context.Context, nc *nats.Conn, t *target) (jsapi.Info, error) {
	i, err := c.info(ctx, nc, t.stream, time.Now())
	if err == nil && !i.Created.Equal(t.created) {
		err = ErrReset
	}
	return i, err
}

// lastOf is the last message that a filter matches. i was said before; now is asked where what is kept does not reach its end.
func (c *Coordinator) lastOf(ctx context.Context, nc *nats.Conn, t *target, filter string, i jsapi.Info, since time.Time) (lastSaid, error) {
	l := &c.leader
	key := lastKey{t.stream, filter}
	l.mu.Lock()
	said, ok := l.lasts[key]
	l.mu.Unlock()
	if ok && said.created.Equal(i.Created) && !said.asked.Before(since) && said.asOf >= min(t.to, i.LastSeq) {
		return said, nil
	}
	c.m.leader.Inc()
	said = lastSaid{asOf: i.LastSeq, created: i.Created, asked: time.Now()}
	asking, cancel := context.WithTimeout(ctx, answerWait)
	defer cancel()
	m, err := c.api.Last(asking, nc, t.stream, filter)
	if err != nil && !errors.Is(err, jsapi.ErrNoMessage) {
		return said, err
	}
	said.seq = m.Seq // 0 when there is none
	l.mu.Lock()
	l.lasts[key] = said
	l.mu.Unlock()
	return said, nil
}

// next asks the leader for the first message from a sequence on that a filter matches.
func (c *Coordinator) next(ctx context.Context, nc *nats.Conn, stream, filter string, seq uint64) (jsapi.Stored, error) {
	c.m.leader.Inc()
	asking, cancel := context.WithTimeout(ctx, answerWait)
	defer cancel()
	return c.api.Next(asking, nc, stream, filter, seq)
}

// pause waits a moment.
func pause(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
