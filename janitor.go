package main

import (
	"context"
	"log/slog"
	"runtime/debug"
	"time"
)

const (
	janitorEvery = 5 * time.Second
	// stormSize is how many streams must have come for their garbage to be worth a collection: about 20 KB each.
	stormSize = 1000
)

// janitor gives memory back to the system once after a storm of connects. Accepting a stream leaves some 20 KB of garbage and the
// stream itself almost nothing, so without it a quiet process would hold on to the storm's heap for ever.
type janitor struct {
	streams func() int
	free    func()
	log     *slog.Logger

	low, last int // fewest streams since the last clean-up; streams at the last look
}

func newJanitor(streams func() int, log *slog.Logger) *janitor {
	return &janitor{streams: streams, free: debug.FreeOSMemory, log: log}
}

func (j *janitor) run(ctx context.Context) error {
	tick := time.NewTicker(janitorEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
			j.look()
		}
	}
}

// look cleans up when many streams have come since the last time, and they have stopped coming.
func (j *janitor) look() {
	n := j.streams()
	coming := n - j.last
	j.last = n
	j.low = min(j.low, n)
	if n-j.low < stormSize || coming > stormSize/10 {
		return
	}
	j.low = n
	j.free()
	j.free() // sync.Pools give up what they hold only at the second collection
	j.log.Debug("gave memory back after a storm of connects", "streams", n)
}
