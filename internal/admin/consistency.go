package admin

import (
	"context"
	"encoding/json"
	"net/http"
	"time"
)

// walkTimeout is how long a walk may take; a shard answers between two rounds.
const walkTimeout = 10 * time.Second

// Walk looks through what must always be so, while everything goes on, and lists what is not. An error means that it could not look.
type Walk func(ctx context.Context) (broken []string, err error)

// consistency carries out a walk at a time. Anything that it finds is a bug.
func consistency(walk Walk) http.Handler {
	free := make(chan struct{}, 1)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		select {
		case free <- struct{}{}:
			defer func() { <-free }()
		default:
			http.Error(w, "Another walk is under way: ask again when it is over.", http.StatusTooManyRequests)
			return
		}
		ctx, cancel := context.WithTimeout(r.Context(), walkTimeout)
		defer cancel()
		broken, err := walk(ctx)
		answer := struct {
			Consistent bool     `json:"consistent"`
			Broken     []string `json:"broken"`
			Error      string   `json:"error,omitempty"`
		}{Consistent: len(broken) == 0 && err == nil, Broken: broken}
		status := http.StatusOK
		if err != nil { // it is stopping, or too busy to look: nothing is known to be broken
			answer.Error, status = err.Error(), http.StatusServiceUnavailable
		}
		if len(broken) > 0 {
			status = http.StatusInternalServerError
		}
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("Cache-Control", "no-store") // RFC 9111 section 5.2.2.5
		w.WriteHeader(status)
		enc := json.NewEncoder(w)
		enc.SetIndent("", "  ")
		_ = enc.Encode(answer) // whoever asked is gone
	})
}
