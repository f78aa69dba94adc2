// Package walk helps to look for what is broken in something that goes on changing while it is looked at.
package walk

import (
	"context"
	"slices"
	"time"
)

const (
	looks = 3
	apart = 50 * time.Millisecond // between two looks
)

// Still lists what is found at every one of some looks: what is wrong for a moment only, because something is just changing, is not wrong. A
// finding must have the same words each time. When the first look finds nothing there is no other.
func Still(ctx context.Context, look func() []string) ([]string, error) {
	found := look()
	for n := 1; n < looks && len(found) > 0; n++ {
		timer := time.NewTimer(apart)
		select {
		case <-ctx.Done():
			timer.Stop()
			return nil, ctx.Err()
		case <-timer.C:
		}
		again := look()
		found = slices.DeleteFunc(found, func(what string) bool { return !slices.Contains(again, what) })
	}
	return found, nil
}
