package history

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"headgate/bridge/internal/jsapi"
)

// codeNoStream is nats-server's error code for a stream that does not exist.
const codeNoStream = 10059

// subjects asks the leader which subjects of a stream the filters match; ErrTooLarge beyond a bound.
func (c *Coordinator) subjects(ctx context.Context, nc *nats.Conn, stream string, filters []string, most int) (map[string]struct{}, error) {
	names := map[string]struct{}{}
	for _, f := range filters {
		if err := c.subjectsOf(ctx, nc, stream, f, most, names); err != nil {
			return nil, err
		}
	}
	return names, nil
}

func (c *Coordinator) subjectsOf(ctx context.Context, nc *nats.Conn, stream, filter string, most int, names map[string]struct{}) error {
	c.m.leader.Inc()
	ctx, cancel := context.WithTimeout(ctx, answerWait)
	defer cancel()
	body, err := json.Marshal(map[string]any{"subjects_filter": filter})
	if err != nil {
		return err
	}
	m, err := nc.RequestWithContext(ctx, c.api.Subject("STREAM.INFO", stream), body)
	if errors.Is(err, nats.ErrNoResponders) {
		return jsapi.ErrUnavailable
	}
	if err != nil {
		return err
	}
	var r struct {
		Total int                 `json:"total"`
		Error *jetstream.APIError `json:"error"`
		State struct {
			Subjects map[string]uint64 `json:"subjects"`
		} `json:"state"`
	}
	if err := json.Unmarshal(m.Data, &r); err != nil {
		return fmt.Errorf("subjects of %s: %w", stream, err)
	}
	switch {
	case r.Error != nil && r.Error.ErrorCode == codeNoStream:
		return jsapi.ErrNoStream
	case r.Error != nil:
		return r.Error
	case r.Total > most || len(names)+len(r.State.Subjects) > most:
		return fmt.Errorf("%w: %d subjects", ErrTooLarge, max(r.Total, len(r.State.Subjects)))
	}
	for s := range r.State.Subjects {
		names[s] = struct{}{}
	}
	return nil
}
