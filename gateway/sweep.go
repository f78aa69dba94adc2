package gateway

import (
	"context"
	"strconv"
	"strings"
	"sync"
	"time"

	"headgate/auth"
	"headgate/internal/delivery"
	"headgate/internal/flow"
)

const (
	// sweepPause is the least time between two sweeps. One that took long is followed by a pause four times as long, so that revocations
	// cost a fifth of a processor at most however many come; but by no longer one than maxPause, which a revocation may have to wait.
	sweepPause = 20 * time.Millisecond
	maxPause   = 300 * time.Millisecond
	// sweepAgain is when those that should have ended are looked at again.
	sweepAgain = 100 * time.Millisecond
)

// condemned are streams that are to end. A stream may be on its way into delivery when it is condemned, and then an end overtakes it; so
// it stays here until it has left the table, and is ended again and again.
type condemned struct {
	wake chan struct{}

	mu   sync.Mutex
	tags map[uint64]delivery.Reason
}

func (c *condemned) init() { c.wake, c.tags = make(chan struct{}, 1), map[uint64]delivery.Reason{} }

// add wakes the sweep. The first reason counts.
func (c *condemned) add(tags []uint64, why delivery.Reason) {
	c.mu.Lock()
	for _, tag := range tags {
		if _, there := c.tags[tag]; !there {
			c.tags[tag] = why
		}
	}
	c.mu.Unlock()
	select {
	case c.wake <- struct{}{}:
	default:
	}
}

func (c *condemned) list() []uint64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	tags := make([]uint64, 0, len(c.tags))
	for tag := range c.tags {
		tags = append(tags, tag)
	}
	return tags
}

// settle forgets those that have ended, and returns the others by reason.
func (c *condemned) settle(ended []uint64) map[delivery.Reason]map[uint64]struct{} {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, tag := range ended {
		delete(c.tags, tag)
	}
	left := map[delivery.Reason]map[uint64]struct{}{}
	for tag, why := range c.tags {
		if left[why] == nil {
			left[why] = map[uint64]struct{}{}
		}
		left[why][tag] = struct{}{}
	}
	return left
}

// own says in the table whose the stream is, for the sweep and for operators.
func (s *Server) own(tag uint64, id *auth.Identity, specs []flow.Spec) {
	if !s.streams.owned && !s.streams.described {
		return
	}
	var m auth.Marks
	var a about
	issuer := ""
	if id != nil {
		m, a.user, issuer = id.Marks(), id.Subject(), id.Issuer()
	}
	if s.streams.described {
		a.began = uint32(s.now().Unix())
		var all []string
		for _, spec := range specs {
			for _, subj := range spec.Subjects {
				if spec.Kind == flow.KV {
					subj = "$KV." + spec.Stream + "." + subj // ADR-8 of nats-architecture-and-design
				}
				all = append(all, subj)
			}
		}
		a.subjects = strings.Join(all, " ") // of a single one this is that one
	}
	s.streams.own(tag, m, a, issuer)
}

// sweep ends the streams whose identity is revoked, and those that operators have condemned, until ctx ends.
func (s *Server) sweep(ctx context.Context) {
	var changed <-chan struct{}
	if s.revoked != nil {
		changed = s.revoked.Changed()
	}
	again := time.NewTimer(time.Hour)
	defer again.Stop()
	for {
		again.Reset(time.Hour)
		if len(s.condemned.list()) > 0 {
			again.Reset(sweepAgain)
		}
		select {
		case <-ctx.Done():
			return
		case <-changed:
		case <-s.condemned.wake:
		case <-again.C:
		}
		began := time.Now()
		s.findRevoked()
		s.carryOut()
		pause := time.NewTimer(min(max(sweepPause, 4*time.Since(began)), maxPause))
		select {
		case <-ctx.Done():
			pause.Stop()
			return
		case <-pause.C:
		}
	}
}

// findRevoked condemns every stream whose identity or connection is revoked now. It asks for each what is so, not for each revocation
// whose: so none is missed, and a hundred cost as much as one.
func (s *Server) findRevoked() {
	if s.revoked == nil {
		return
	}
	mine := map[uint64]bool{}
	for _, id := range s.revoked.Connections(s.instance + "-") {
		if n, err := strconv.ParseUint(strings.TrimPrefix(id, s.instance+"-"), 36, 64); err == nil {
			mine[n] = true
		}
	}
	var revoked, kicked []uint64
	var slab owned
	verdicts := make([]auth.Verdict, streamSlab)
	for n := 0; s.streams.copyOwned(n, &slab); n++ {
		s.revoked.FindAll(slab.marks, verdicts)
		for i, tag := range slab.tags {
			switch {
			case verdicts[i] == auth.Revoked, len(mine) > 0 && mine[slab.numbers[i]]:
				revoked = append(revoked, tag)
			case verdicts[i] == auth.Kicked:
				kicked = append(kicked, tag)
			}
		}
	}
	if len(revoked) > 0 {
		s.condemned.add(revoked, delivery.Revoked)
	}
	if len(kicked) > 0 {
		s.condemned.add(kicked, delivery.Kicked)
	}
}

// carryOut ends the condemned streams that are still there.
func (s *Server) carryOut() {
	var ended []uint64
	for _, tag := range s.condemned.list() {
		if !s.streams.taken(tag) {
			ended = append(ended, tag)
		}
	}
	for why, tags := range s.condemned.settle(ended) {
		s.delivery.EndWhere(func(tag uint64) bool {
			_, ok := tags[tag]
			return ok
		}, why, 0)
	}
}
