package stream

import (
	"context"
	"fmt"

	"headgate/internal/walk"
)

// Check lists what is broken, while everything goes on.
func (s *Streams) Check(ctx context.Context) ([]string, error) {
	return walk.Still(ctx, func() (found []string) {
		wrong := func(format string, args ...any) { found = append(found, fmt.Sprintf(format, args...)) }
		if s.feeds.closed() {
			return nil // all of them are ending
		}
		all := s.feeds.list()
		for _, r := range all {
			select {
			case <-r.done:
				wrong("stream %s: its feed has ended, and routes read it", r.name)
				continue
			default:
			}
			if s.feeds.get(r.name) == r.feed && !s.budget.Has(r.feed) {
				wrong("stream %s: its memory does not count", r.name)
			}
			r.feed.Check(wrong)
		}
		if n := s.budget.Len(); n > len(all) {
			wrong("%d streams count for the memory, and %d are read", n, len(all))
		}
		s.budget.Check(wrong)
		return found
	})
}

// closed says whether Run ends.
func (f *feeds) closed() bool {
	f.mu.RLock()
	defer f.mu.RUnlock()
	return f.stopped
}
