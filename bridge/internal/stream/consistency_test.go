package stream

import (
	"context"
	"log/slog"
	"strings"
	"testing"

	"headgate/bridge/internal/conn"
	"headgate/internal/config"
)

func TestCheck_NamesAFeedThatHasEndedWhileRoutesReadIt(t *testing.T) {
	s := New(Config{NATS: config.DefaultConfig().NATS, JetStream: config.DefaultConfig().JetStream, Log: slog.New(slog.DiscardHandler), Connections: conn.NewMetrics(nil),
		Wants: []Want{{Name: "A", Filters: []string{"a.>"}}, {Name: "B", Filters: []string{"b.>"}}}})
	look := func() string {
		found, err := s.Check(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return strings.Join(found, "\n")
	}
	if found := look(); found != "" {
		t.Fatal(found)
	}
	a, b := s.feeds.all["A"], s.feeds.all["B"]
	over, cancel := context.WithCancel(t.Context())
	cancel()
	_ = a.feed.Run(over)
	if found := look(); !strings.Contains(found, "stream A: its memory does not count") || strings.Contains(found, "stream B") {
		t.Error(found)
	}
	close(a.done)
	if found := look(); !strings.Contains(found, "stream A: its feed has ended") {
		t.Error(found)
	}
	delete(s.feeds.all, "A")
	if found := look(); found != "" {
		t.Error(found)
	}
	delete(s.feeds.all, "B")
	if found := look(); !strings.Contains(found, "1 streams count for the memory, and 0 are read") {
		t.Error(found)
	}
	s.feeds.all["B"] = b
}
