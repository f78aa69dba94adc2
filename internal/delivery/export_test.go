package delivery

import (
	"context"
	"sync/atomic"
	"time"
)

// Slowest is how far the slowest client is behind.
func (s *Server) Slowest() time.Duration { return s.slowest() }

// Hold bounds what is held for clients that read, and says how much that is. It is to be called before any comes.
func (s *Server) Hold(most int64) (held func() int64) {
	s.heldMost.Store(most)
	return s.held.Load
}

// Wake makes every shard look at its clock.
func (s *Server) Wake() {
	for _, sh := range s.shards {
		_ = sh.mail.put(op{kind: opTick})
	}
}

// Walk makes a table with so many clients, and returns what asks for each whether it matches, as an end does.
func Walk(clients int) func(match func(tag uint64) bool) {
	var t slots
	t.free = none
	for i := range clients {
		_, sl := t.take()
		sl.tag, sl.state = uint64(i), live
	}
	return func(match func(uint64) bool) { t.each(func(_ uint32, sl *slot) { match(sl.tag) }) }
}

// look runs f on the goroutine of every shard that has clients.
func (s *Server) look(ctx context.Context, f func(*shard)) error {
	for _, sh := range s.shards {
		first := true
		match := func(uint64) bool {
			if first {
				f(sh)
			}
			first = false
			return false
		}
		if err := sh.mail.put(op{kind: opEnd, arg: &ending{match: match}}); err != nil {
			return err
		}
	}
	_, err := s.Check(ctx) // is handled behind it
	return err
}

// Settled says whether every round has run.
func (s *Server) Settled(ctx context.Context) (bool, error) {
	settled := true
	err := s.look(ctx, func(sh *shard) {
		for _, g := range sh.groups.table {
			settled = settled && (g == nil || g.idle())
		}
	})
	return settled, err
}

// Reading counts the clients that are being given what they missed, or a state.
func (s *Server) Reading(ctx context.Context) (int, error) {
	var n atomic.Int64
	err := s.look(ctx, func(sh *shard) {
		for _, sd := range sh.sides {
			if sd.read != nil || sd.again != nil {
				n.Add(1)
			}
		}
	})
	return int(n.Load()), err
}

// Agains counts the new beginnings that are remembered.
func (s *Server) Agains(ctx context.Context) (n int, err error) {
	err = s.look(ctx, func(sh *shard) {
		for _, all := range sh.again {
			n += len(all)
		}
	})
	return n, err
}

// Ending counts the clients that have been told to end and are still there.
func (s *Server) Ending(ctx context.Context) (n int, err error) {
	err = s.look(ctx, func(sh *shard) {
		for _, sd := range sh.sides {
			if sd.end != None {
				n++
			}
		}
	})
	return n, err
}

// Blocked counts the clients whose sockets, or writers, have refused something or are not done with it.
func (s *Server) Blocked(ctx context.Context) (int, error) {
	var n atomic.Int64
	err := s.look(ctx, func(sh *shard) {
		for _, sd := range sh.sides {
			if sd.wants != 0 {
				n.Add(1)
			}
		}
	})
	return int(n.Load()), err
}
