//go:build !nodev

package main

import (
	"context"
	"log/slog"
	"strings"
	"testing"
	"time"

	"headgate/internal/config"
	"headgate/ratelimit"
)

// The walk is over every part, and says where it has found something.
func TestWalk_IsOverEveryPart(t *testing.T) {
	cfg, _, err := config.Load(config.Options{Environ: base("SUBJECTS_ALLOW=feed.>", "AUTH_MODE=none")})
	if err != nil {
		t.Fatal(err)
	}
	s, err := build(cfg, 1, plainPage(cfg), slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	running, stop := context.WithCancel(ctx)
	ended := make(chan error, 1)
	go func() { ended <- s.delivery.Run(running) }()
	defer func() { stop(); <-ended }()
	if broken, err := s.walk(ctx); err != nil || len(broken) > 0 {
		t.Fatalf("%q, %v", broken, err)
	}
	if _, r, ok := s.limiter.Admit(ratelimit.Nobody, "events", false); !ok {
		t.Fatal(r)
	}
	broken, err := s.walk(ctx)
	if text := strings.Join(broken, "\n"); err != nil || text != "limits: route events counts other streams than are open\nlimits: the process counts other streams than are open" {
		t.Errorf("%q, %v", text, err)
	}
}
