package main

import (
	"net/netip"
	"testing"
	"time"

	"headgate/internal/config"
	"headgate/ratelimit"
)

// Every setting reaches the limit that it is for, and no other.
func TestLimiter_HasWhatTheConfigurationSays(t *testing.T) {
	addr := netip.MustParseAddr("192.0.2.1")
	ann := ratelimit.UserOf("i", "ann")
	connect := func(l *ratelimit.Limiter) string { r, _ := l.Connect(addr, false); return r.Limit }
	admit := func(l *ratelimit.Limiter) string { _, r, _ := l.Admit(ann, "r", false); return r.Limit }
	publish := func(l *ratelimit.Limiter) string { r, _ := l.Publish(addr); return r.Limit }
	publishAs := func(l *ratelimit.Limiter) string { r, _ := l.PublishAs(ann, "r"); return r.Limit }
	for _, test := range []struct {
		set   func(*config.Limit, *config.Route)
		ask   func(*ratelimit.Limiter) string
		limit string
	}{
		{func(l *config.Limit, _ *config.Route) { l.Connections = 1 }, admit, ratelimit.Streams},
		{func(l *config.Limit, _ *config.Route) { l.ConnectionsPerIP = 1 }, connect, ratelimit.StreamsPerAddress},
		{func(l *config.Limit, _ *config.Route) { l.ConnectionsPerUser = 1 }, admit, ratelimit.StreamsPerUser},
		{func(l *config.Limit, _ *config.Route) { l.ConnectRate, l.ConnectBurst = 0.001, 1 }, connect, ratelimit.ConnectRate},
		{func(l *config.Limit, _ *config.Route) { l.ConnectRatePerUser, l.ConnectBurst = 0.001, 1 }, admit, ratelimit.UserConnectRate},
		{func(l *config.Limit, _ *config.Route) { l.GlobalConnectRate = 0.001 }, admit, ratelimit.GlobalConnectRate},
		{func(l *config.Limit, _ *config.Route) { l.PublishRate = 0.001 }, publish, ratelimit.PublishRate},
		{func(l *config.Limit, _ *config.Route) { l.PublishRatePerUser = 0.001 }, publishAs, ratelimit.UserPublishRate},
		{func(_ *config.Limit, r *config.Route) { r.MaxStreams = 1 }, admit, ratelimit.StreamsPerRoute},
		{func(_ *config.Limit, r *config.Route) { r.Limits.ConnectionsPerUser = 1 }, admit, ratelimit.StreamsPerUserAndRoute},
		{func(_ *config.Limit, r *config.Route) { r.Limits.PublishRate = 0.001 }, publishAs, ratelimit.RoutePublishRate},
	} {
		cfg := config.Config{Limit: config.Limit{Addresses: 10, Users: 10}, Routes: []config.Route{{Name: "r"}}}
		test.set(&cfg.Limit, &cfg.Routes[0])
		l := limiter(cfg, nil)
		for _, ask := range []func(*ratelimit.Limiter) string{connect, admit, publish, publishAs} {
			if got := ask(l); got != "" && got != ratelimit.Streams { // a full process refuses everybody
				t.Errorf("%s: the first one is refused by %q", test.limit, got)
			}
		}
		if got := test.ask(l); got != test.limit {
			t.Errorf("the second one is refused by %q, want %q", got, test.limit)
		}
	}

	for name, set := range map[string]func(*config.Limit){
		"events in all":   func(l *config.Limit) { l.ReplayEventRate = 1 },
		"bytes in all":    func(l *config.Limit) { l.ReplayByteRate = 1 },
		"events per user": func(l *config.Limit) { l.ReplayEventRatePerUser = 1 },
		"bytes per user":  func(l *config.Limit) { l.ReplayByteRatePerUser = 1 },
	} {
		cfg := config.Config{Limit: config.Limit{Addresses: 10, Users: 10}}
		set(&cfg.Limit)
		l := limiter(cfg, nil)
		if replayOne(l, "ann") != 0 || replayOne(l, "ann") == 0 {
			t.Errorf("replays are not bounded by %s", name)
		}
		if shared := replayOne(l, "ben") != 0; shared != (name == "events in all" || name == "bytes in all") {
			t.Errorf("%s: whether others wait too is %v", name, shared)
		}
	}
}

// replayOne reads a part of a replay for a user, or says how long it would have to wait.
func replayOne(l *ratelimit.Limiter, user string) time.Duration {
	wait := l.MayReplay(user)
	if wait == 0 {
		l.Replayed(user, 10, 10)
	}
	return wait
}
