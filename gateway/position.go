package gateway

import (
	"net/http"
	"strings"
	"time"

	"headgate/internal/cursor"
)

// aheadOfUs is how far a client's clock may be before ours: until then since counts as now.
const aheadOfUs = time.Minute

// position finds out where the client wants to start: at an id, or since a time. The Last-Event-ID field (HTML Living Standard,
// section 9.2.4), or the parameter last-event-id, since a page's first request cannot set the field, or the parameter since: the first
// present one wins. An id is not judged here: a bad one is an unknown position, never a refusal, unless nobody can tell what it is. Where the
// route has no ids it is as if there were none.
func (rt *route) position(r *http.Request, q query, now time.Time) (id string, since time.Time, err error) {
	if id := r.Header.Get("Last-Event-ID"); id != "" && rt.resume {
		return bounded(id), since, nil
	}
	if rt.resume {
		if err := q.whole("last-event-id"); err != nil {
			return "", since, err
		}
		if id, ok := q.first("last-event-id"); ok && id != "" {
			return bounded(id), since, nil
		}
	}
	if err := q.whole("since"); err != nil {
		return "", since, err
	}
	text, ok := q.first("since")
	if !ok {
		return "", since, nil
	}
	if !rt.dated {
		return "", since, &refusal{kind: sinceUnsupported}
	}
	since, ok = parseSince(text, now)
	if !ok {
		return "", since, &refusal{kind: sinceInvalid}
	}
	return "", since, nil
}

// bounded is a copy of the id, cut where it has become too long to be one of ours.
func bounded(id string) string {
	return strings.Clone(id[:min(len(id), cursor.MaxLen+1)])
}

// parseSince reads a time (RFC 3339) or a duration before now.
func parseSince(text string, now time.Time) (time.Time, bool) {
	if d, err := time.ParseDuration(text); err == nil {
		return notZero(now.Add(-d)), d >= 0
	}
	// The plus of an offset that was not percent-encoded has become a space.
	at, err := time.Parse(time.RFC3339, strings.ReplaceAll(text, " ", "+"))
	if err != nil || at.After(now.Add(aheadOfUs)) {
		return time.Time{}, false
	}
	if at.After(now) {
		at = now
	}
	return notZero(at), true
}

// notZero keeps a time from being the zero Time, which says that none was asked for. No message is from before 1970.
func notZero(at time.Time) time.Time {
	if first := time.Unix(0, 0); at.Before(first) {
		return first
	}
	return at
}
