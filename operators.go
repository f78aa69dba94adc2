package main

import (
	"context"
	"errors"
	"time"

	"headgate/auth"
	"headgate/bridge"
	"headgate/control"
)

// watched hands what bridge reads in the bucket of revocations to auth. Neither knows the other.
type watched struct{ revoked *auth.Revocations }

func entries(list []bridge.Entry) []auth.RevocationEntry {
	out := make([]auth.RevocationEntry, len(list))
	for i, e := range list {
		out[i] = auth.RevocationEntry(e)
	}
	return out
}

// Replace implements bridge.Revocations.
func (w watched) Replace(all []bridge.Entry) { w.revoked.Replace(entries(all)) }

// Apply implements bridge.Revocations.
func (w watched) Apply(changes []bridge.Entry) { w.revoked.Apply(entries(changes)) }

// Watched implements bridge.Revocations.
func (w watched) Watched(ok bool, detail string) { w.revoked.Watched(ok, detail) }

// Keeps implements bridge.Revocations.
func (w watched) Keeps(d time.Duration) { w.revoked.Keeps(d) }

// revocationsKnown is for readiness.
func (s *system) revocationsKnown() (bool, string) {
	state := s.revoked.State()
	return state.Known, state.Detail
}

// operators makes bridge answer them, if the configuration says so.
func (s *system) operators() {
	if !s.cfg.Control {
		return
	}
	var revoked control.Revocations
	if s.revoked != nil {
		revoked = s.revoked
	}
	var issuers control.Issuers
	if s.auth != nil {
		issuers = s.auth
	}
	var offered []bridge.Endpoint
	for _, e := range control.New(s.gateway, s.bridge, revoked, issuers, s.log).Endpoints() {
		offered = append(offered, bridge.Endpoint{Name: e.Name, Doc: e.Doc, Everybody: e.Everybody,
			Answer: func(ctx context.Context, id string, request []byte, room int) ([]byte, error) {
				answer, err := e.Answer(ctx, id, request, room)
				var refused *control.Refusal
				if errors.As(err, &refused) {
					err = &bridge.Refusal{Code: refused.Code, Text: refused.Text}
				}
				return answer, err
			}})
	}
	s.bridge.Serve(s.cfg, s.gateway.Instance(), versionText(), offered, s.log)
}
