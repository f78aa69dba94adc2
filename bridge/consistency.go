package bridge

import "context"

// Check lists what is broken among topics, references, subscriptions, feeds and the memory that they share, while all of it goes on. It holds
// a lock for a moment at a time.
func (b *Bridge) Check(ctx context.Context) ([]string, error) {
	topics, err := b.core.Check(ctx)
	if err != nil {
		return topics, err
	}
	streams, err := b.streams.Check(ctx)
	return append(topics, streams...), err
}
