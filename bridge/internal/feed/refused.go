package feed

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/nats-io/nats.go"
)

// needed are the requests without which a feed cannot go on. What follows is the name of the stream.
var needed = [...]string{"STREAM.INFO.", "STREAM.MSG.GET.", "CONSUMER.CREATE.", "CONSUMER.MSG.NEXT."}

// Refused is called by the owner of the feed's connection: the server has refused a request to the subject. A refusal is the only answer
// to a pull. Requests about other streams are passed over.
func (f *Feed) Refused(subj string) {
	for _, request := range needed {
		_, rest, found := strings.Cut(subj, request)
		if stream, _, _ := strings.Cut(rest, "."); found && stream == f.cfg.Stream {
			f.mu.Lock()
			f.refusal = subj
			f.mu.Unlock()
		}
	}
}

// refused takes the refusal of a request, nil when there was none.
func (f *Feed) refused() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	subj := f.refusal
	f.refusal = ""
	if subj == "" {
		return nil
	}
	return fmt.Errorf("%w: publish to %s", errDenied, subj)
}

// denied says whether a request that got no answer was refused by the server, which says so beside it. A server names the plain API
// where it was asked by the name of its own domain.
func denied(nc *nats.Conn, err error) bool {
	last := nc.LastError()
	if !errors.Is(err, context.DeadlineExceeded) || last == nil || !errors.Is(last, nats.ErrPermissionViolation) {
		return false
	}
	_, subj, _ := strings.Cut(strings.ToLower(last.Error()), `"`)
	subj, _, _ = strings.Cut(subj, `"`)
	if _, request, found := strings.Cut(subj, ".api."); found {
		subj = request
	}
	return subj != "" && strings.Contains(strings.ToLower(err.Error()), subj)
}
