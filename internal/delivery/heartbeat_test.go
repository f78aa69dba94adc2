package delivery_test

import (
	"strings"
	"testing"
	"time"

	"headgate/internal/sse"
)

func TestHeartbeatIsACommentOnASilentStream(t *testing.T) {
	onBoth(t, func(t *testing.T, r *rig) {
		r.policy.Heartbeat, r.policy.WriteTimeout = 15*time.Second, 0
		s := r.connect("").start()
		s.raw("$ready")
		if got := r.silence(s, ":\n\n"); strings.Contains(got, "id:") {
			t.Fatalf("got %q", got)
		}
	})
}

func TestHeartbeatMovesThePositionWhenItHasMoved(t *testing.T) {
	onBoth(t, func(t *testing.T, r *rig) {
		r.policy.Heartbeat, r.policy.WriteTimeout = 15*time.Second, 0
		s := r.connect("").start()
		s.raw("$ready")
		r.topic.skip(500)
		r.silence(s, "id: "+position(r, 500)+"\n\n")
		r.silence(s, ":\n\n")
		r.topic.publish("after")
		if got := s.raw("after"); strings.Contains(got, "id: "+position(r, 500)) {
			t.Fatalf("got %q", got)
		}
	})
}

func TestHeartbeatIsSkippedOnABusyStream(t *testing.T) {
	onBoth(t, func(t *testing.T, r *rig) {
		r.policy.Heartbeat, r.policy.WriteTimeout = 15*time.Second, 0
		s := r.connect("").start()
		s.raw("$ready")
		for range 10 {
			r.forward(5 * time.Second)
			r.topic.publish("tick")
			if got := s.raw("tick"); strings.Contains(got, ":\n\n") && strings.HasPrefix(got, ":") {
				t.Fatalf("got %q", got)
			}
		}
	})
}

func TestHeartbeatCanBeAnEvent(t *testing.T) {
	onBoth(t, func(t *testing.T, r *rig) {
		r.policy.Heartbeat, r.policy.WriteTimeout = 15*time.Second, 0
		r.policy.HeartbeatEvent = sse.NewFrame("ping", nil)
		s := r.connect("").start()
		s.raw("$ready")
		r.silence(s, "event: ping\ndata: \n\n")
	})
}
