package gateway

import (
	"context"
	"log/slog"
	"sync/atomic"
	"time"

	"golang.org/x/time/rate"

	"headgate/internal/delivery"
)

const (
	endlogQueue = 4096        // ended streams that may wait for their line
	endlogRate  = 50          // lines a second
	endlogBurst = 200         // and at once
	endlogEvery = time.Second // how often the lines left out are summed up
)

// ending is a stream that has ended.
type ending struct {
	stream stream
	ended  delivery.Ended
	route  string
	id     string
}

// endlog writes one line per ended stream. When thousands end at once it writes the first ones, and for the rest one line per second
// with their number for each reason: a drain must not fill the log, and the log must not slow a shard.
type endlog struct {
	log   *slog.Logger
	queue chan ending
	full  [256]atomic.Uint64 // per reason: what the queue could not take
}

func newEndlog(log *slog.Logger) *endlog {
	return &endlog{log: log, queue: make(chan ending, endlogQueue)}
}

// put never blocks.
func (l *endlog) put(e ending) {
	select {
	case l.queue <- e:
	default:
		l.full[e.ended.Reason].Add(1)
	}
}

// run writes until ctx ends, then what is still waiting.
func (l *endlog) run(ctx context.Context) {
	ticker := time.NewTicker(endlogEvery)
	defer ticker.Stop()
	limit := rate.NewLimiter(endlogRate, endlogBurst)
	var left [256]uint64
	for {
		select {
		case e := <-l.queue:
			l.write(e, limit, &left)
		case <-ticker.C:
			l.summary(&left)
		case <-ctx.Done():
			for {
				select {
				case e := <-l.queue:
					l.write(e, limit, &left)
				default:
					l.summary(&left)
					return
				}
			}
		}
	}
}

func (l *endlog) write(e ending, limit *rate.Limiter, left *[256]uint64) {
	if !limit.Allow() {
		left[e.ended.Reason]++
		return
	}
	l.log.Info("stream ended", "connection", e.id, "route", e.route, "reason", e.ended.Reason.String(),
		"seconds", e.ended.Duration.Seconds(), "events", e.ended.Events, "bytes", e.ended.Bytes,
		"client", e.stream.address())
}

// summary writes what was left out since the last one.
func (l *endlog) summary(left *[256]uint64) {
	var total uint64
	var counts []any
	for _, r := range delivery.Reasons() {
		n := left[r] + l.full[r].Swap(0)
		left[r] = 0
		if n > 0 {
			total += n
			counts = append(counts, slog.Uint64(r.String(), n))
		}
	}
	if total > 0 {
		l.log.Info("streams ended, not logged one by one", "streams", total, slog.Group("reasons", counts...))
	}
}
