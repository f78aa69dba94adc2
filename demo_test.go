//go:build !nodev

package main

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"headgate/internal/flow"
)

// The job ends with the status that its route says, and the next one begins.
func TestDemo_TheJobGetsDone(t *testing.T) {
	said := &says{}
	d := newDemo(said, nothing{}, func() int { return 0 }, slog.New(slog.DiscardHandler))
	for range 4 * (100/demoJobStep + 1) {
		d.round(t.Context())
	}
	var reports []string
	for _, m := range said.list {
		if strings.HasPrefix(m, "demo.jobs.") {
			reports = append(reports, m)
		}
	}
	n := 100 / demoJobStep
	if len(reports) != n+1 || reports[n-1] != `demo.jobs.1 {"job":1,"percent":100,"status":"done"}` ||
		reports[n] != fmt.Sprintf(`demo.jobs.2 {"job":2,"percent":%d,"status":"running"}`, demoJobStep) {
		t.Errorf("%d reports: %q", len(reports), reports)
	}
}

// says notes what is published; nothing is a bucket that takes everything.
type (
	says    struct{ list []string }
	nothing struct{}
)

func (s *says) Publish(_ context.Context, subject string, _ map[string][]string, body []byte) (flow.Ack, error) {
	s.list = append(s.list, subject+" "+string(body))
	return flow.Ack{}, nil
}
func (nothing) Put(context.Context, string, string, []byte) error { return nil }
func (nothing) Delete(context.Context, string, string) error      { return nil }
