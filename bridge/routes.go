package bridge

import (
	"context"
	"fmt"

	"headgate/bridge/internal/stream"
	"headgate/internal/config"
	"headgate/internal/subject"
)

// Prepare makes the bridge read what routes need, beside everything that it reads already, and waits until the new streams and buckets
// are in memory, or known to be missing. late names those of which neither is so when ctx ends: they are opened all the same, as at a
// start without NATS. Prepare and Keep are not to be called at the same time.
func (b *Bridge) Prepare(ctx context.Context, routes []config.Route) (late []string, err error) {
	wants, err := streamsOf(routes)
	if err == nil {
		late, err = b.streams.Want(ctx, wants)
	}
	if err != nil {
		return nil, fmt.Errorf("bridge: %w", err)
	}
	return late, nil
}

// Keep makes the bridge read what routes need, and nothing else. It is called when nobody follows anything else any more; where somebody
// does, it is false and does the rest when it is called again.
func (b *Bridge) Keep(ctx context.Context, routes []config.Route) (all bool, err error) {
	wants, err := streamsOf(routes)
	if err == nil {
		all, err = b.streams.Keep(ctx, wants)
	}
	if err != nil {
		return false, fmt.Errorf("bridge: %w", err)
	}
	return all, nil
}

// streamsOf are the streams and buckets that routes read.
func streamsOf(routes []config.Route) ([]stream.Want, error) {
	var wants []stream.Want
	for _, r := range routes {
		for _, s := range r.Sources {
			w := stream.Want{Name: s.Stream, Filters: s.Allow}
			switch s.Type {
			case "stream":
				if len(s.Allow) == 0 {
					t, err := subject.ParseTemplate(s.Subject)
					if err != nil {
						return nil, fmt.Errorf("route %q: %w", r.Name, err)
					}
					w.Filters = []string{t.Pattern()}
				}
			case "kv":
				t, err := subject.ParseKey(s.Subject)
				if err != nil {
					return nil, fmt.Errorf("route %q: %w", r.Name, err)
				}
				w.Bucket, w.Filters = true, []string{t.Pattern()}
			default:
				continue
			}
			wants = append(wants, w)
		}
	}
	return wants, nil
}
