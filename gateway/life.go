package gateway

import (
	"slices"
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"

	"headgate/internal/delivery"
)

// life is what a route keeps through reloads for as long as its streams may go on: streams, and requests that began before a reload, know
// their route by it. A route whose streams must end when it changes begins another life.
type life struct {
	// Fixed before the route is used.
	name   string
	key    string             // begins the keys of its groups; no other life has the same
	index  uint32             // in Server.lives
	open   prometheus.Gauge   // streams
	opened prometheus.Counter // the outcome that counts most

	// Atomic. They come true in this order, and stay.
	ended     atomic.Uint32 // a delivery.Reason: why its streams end; None = they go on
	closed    atomic.Bool   // it has no streams, and gets none any more
	forgotten atomic.Bool   // its series are gone
}

// over is why streams of the route end at once, None as long as they do not.
func (lf *life) over() delivery.Reason { return delivery.Reason(lf.ended.Load()) }

// lives are those of which there may be streams, by number. The numbers of others are used again.
type lives struct {
	all atomic.Pointer[[]*life] // a copy is changed and put in its place, by one goroutine
}

// nobody is whose a stream is that has come too late and is about to be taken out again (see Server.admit).
var nobody = &life{name: noRoute}

// at is the life that a stream in the table names.
func (l *lives) at(index uint32) *life {
	if lf := (*l.all.Load())[index]; lf != nil {
		return lf
	}
	return nobody
}

func (l *lives) copied() []*life {
	if all := l.all.Load(); all != nil {
		return slices.Clone(*all)
	}
	return nil
}

// add gives each of them a number.
func (l *lives) add(fresh []*life) {
	all := l.copied()
	free := 0
	for _, lf := range fresh {
		for free < len(all) && all[free] != nil {
			free++
		}
		if free == len(all) {
			all = append(all, nil)
		}
		lf.index, all[free] = uint32(free), lf
	}
	l.all.Store(&all)
}

// remove takes those out of which there are no streams any more.
func (l *lives) remove(gone []*life) {
	all := l.copied()
	for _, lf := range gone {
		all[lf.index] = nil
	}
	l.all.Store(&all)
}
