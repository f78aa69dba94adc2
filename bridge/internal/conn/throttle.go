package conn

import (
	"regexp"
	"slices"
	"time"
)

const (
	throttleEvery = 30 * time.Second
	throttleTexts = 4 // with several servers, each may fail for a reason of its own
)

// localAddress is what differs between two errors that are otherwise the same.
var localAddress = regexp.MustCompile(`\S+:\d+->`)

// throttle lets one of many equal log lines through at a time, and a few that differ. The zero value is ready.
type throttle struct {
	since time.Time
	said  []string // since then
	n     int
}

// allow counts, and says whether to speak now and for how many.
func (t *throttle) allow(now time.Time, text string) (n int, say bool) {
	t.n++
	text = localAddress.ReplaceAllString(text, "")
	if now.Sub(t.since) >= throttleEvery {
		t.since, t.said = now, t.said[:0]
	}
	if len(t.said) == throttleTexts || slices.Contains(t.said, text) {
		return 0, false
	}
	t.said = append(t.said, text)
	n, t.n = t.n, 0
	return n, true
}

func (t *throttle) reset() { *t = throttle{} }
