package gateway

import (
	"net/http"
	"strings"

	"headgate/internal/cursor"
)

// position finds out where the client wants to start: the Last-Event-ID field (HTML Living Standard, section 9.2.4), or the parameter
// last-event-id, since a page's first request cannot set the field, or the parameter since. The first present one wins. An id is not
// judged here: a bad one is an unknown position, never a refusal.
func (rt *route) position(r *http.Request, q query) (string, error) {
	if id := r.Header.Get("Last-Event-ID"); id != "" {
		return rt.bounded(id), nil
	}
	if id, ok := q.first("last-event-id"); ok && id != "" {
		return rt.bounded(id), nil
	}
	if _, ok := q.values["since"]; ok {
		return "", &refusal{kind: sinceUnsupported}
	}
	return "", nil
}

// bounded is a copy of the id, cut where it has become too long to be one of ours, and nothing where the route has no ids.
func (rt *route) bounded(id string) string {
	if !rt.resume {
		return ""
	}
	return strings.Clone(id[:min(len(id), cursor.MaxLen+1)])
}
