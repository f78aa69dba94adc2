package conn

import (
	"strconv"
	"testing"
	"time"
)

func TestThrottle_SaysTheSameOnceInAWhileAndCountsTheRest(t *testing.T) {
	var th throttle
	now := time.Now()
	said := func(after time.Duration, text string) int {
		n, say := th.allow(now.Add(after), text)
		if !say {
			return 0
		}
		return n
	}
	if said(0, "read 1.1.1.1:1->2.2.2.2:4222: EOF") != 1 || said(1, "read 1.1.1.1:2->2.2.2.2:4222: EOF") != 0 {
		t.Fatal("not once")
	}
	if n := said(2, "another"); n != 2 {
		t.Fatalf("another text: %d", n)
	}
	lines := 0
	for i := range 100 {
		if said(3, strconv.Itoa(i)) > 0 {
			lines++
		}
	}
	if lines != throttleTexts-2 {
		t.Fatalf("%d lines of 100 that differ", lines)
	}
	if n := said(throttleEvery, "another"); n != 99 {
		t.Fatalf("after a while: %d", n)
	}
	th.reset()
	if n := said(throttleEvery, "another"); n != 1 {
		t.Fatalf("after a reset: %d", n)
	}
}
