package e2e_test

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"headgate/e2e/internal/stream"
)

// crowd is many streams, each read by a goroutine of its own until its end.
type crowd struct {
	members []*member
	reading sync.WaitGroup
}

// member is one stream of a crowd.
type member struct {
	stream *stream.Stream

	mu      sync.Mutex
	blocks  []stream.Block
	endedAt time.Time
	changed chan struct{}
}

// gather opens n streams of url and waits for the $ready of each.
func gather(t *testing.T, url string, n int) *crowd {
	t.Helper()
	c := &crowd{members: make([]*member, n)}
	connecting := make(chan struct{}, 64) // so many at once
	errs := make(chan error, n)
	for i := range n {
		go func() {
			connecting <- struct{}{}
			defer func() { <-connecting }()
			s, err := stream.Open(t.Context(), url)
			if err == nil {
				ctx, cancel := context.WithTimeout(t.Context(), brief)
				defer cancel()
				_, err = s.Until(ctx, "$ready")
			}
			c.members[i] = &member{stream: s, changed: make(chan struct{})}
			errs <- err
		}()
	}
	for range n {
		if err := <-errs; err != nil {
			t.Fatalf("open stream: %v", err)
		}
	}
	for _, m := range c.members {
		c.reading.Go(func() { m.read(t.Context()) })
	}
	t.Cleanup(func() {
		c.close()
		c.reading.Wait()
	})
	return c
}

func (m *member) read(ctx context.Context) {
	for {
		b, err := m.stream.Next(ctx)
		m.mu.Lock()
		if err == nil {
			m.blocks = append(m.blocks, b)
		} else {
			m.endedAt = time.Now()
		}
		close(m.changed)
		m.changed = make(chan struct{})
		m.mu.Unlock()
		if err != nil {
			return
		}
	}
}

// all returns what has come after $ready, and when the stream ended; zero while it is open.
func (m *member) all() ([]stream.Block, time.Time) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return append([]stream.Block(nil), m.blocks...), m.endedAt
}

// wait waits until the member has an event of that type with that data.
func (m *member) wait(ctx context.Context, eventType, data string) error {
	for {
		m.mu.Lock()
		changed, ended := m.changed, m.endedAt
		for _, b := range m.blocks {
			if b.HasData() && b.Event() == eventType && (data == "" || b.Data() == data) {
				m.mu.Unlock()
				return nil
			}
		}
		m.mu.Unlock()
		if !ended.IsZero() {
			return fmt.Errorf("the stream ended before %s %s", eventType, data)
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return fmt.Errorf("no %s %s: %w", eventType, data, ctx.Err())
		}
	}
}

func (c *crowd) close() {
	for _, m := range c.members {
		m.stream.Close()
	}
}

// ofType returns the blocks with events of one type.
func ofType(blocks []stream.Block, eventType string) []stream.Block {
	var out []stream.Block
	for _, b := range blocks {
		if b.HasData() && b.Event() == eventType {
			out = append(out, b)
		}
	}
	return out
}
