package delivery_test

import (
	"strings"
	"testing"
)

func TestCheck_NamesWhatIsBroken(t *testing.T) {
	r := newRig(t, "socket")
	s := r.connect("").start()
	s.expect("$ready", "")
	r.topic.publish("one")
	s.expect("message", "one")
	checkInvariants(t, r)
	found, err := r.server.Broken(t.Context())
	if err != nil || len(found) < 10 {
		t.Fatalf("%d broken, %v", len(found), err)
	}
	for says, all := range found {
		if !strings.Contains(strings.Join(all, "\n"), says) {
			t.Errorf("%s: %q", says, all)
		}
	}
	checkInvariants(t, r)
}
