package inspect

import (
	"context"
	"encoding/json"
	"slices"

	"headgate/internal/subject"
)

// userInfo is where a server tells a user its own rights (nats-server, UserInfo). A user whose rights are narrow may not ask.
const userInfo = "$SYS.REQ.USER.INFO"

// rights are what the user may publish to; nil: everything. told is false where the server does not say.
type rights struct {
	told        bool
	allow, deny []string
}

// verdict is what can be told of a subject.
type verdict uint8

const (
	unknown verdict = iota
	refused
	partly
	allowed
)

func (l *link) rights(ctx context.Context) *rights {
	var r rights
	err := l.try(ctx, func(ctx context.Context) error {
		m, err := l.nc.RequestWithContext(ctx, userInfo, nil)
		if err != nil {
			return err
		}
		var answer struct {
			Data *struct {
				Permissions struct {
					Publish struct {
						Allow []string `json:"allow"`
						Deny  []string `json:"deny"`
					} `json:"publish"`
				} `json:"permissions"`
			} `json:"data"`
		}
		if err := json.Unmarshal(m.Data, &answer); err != nil || answer.Data == nil {
			return err
		}
		p := answer.Data.Permissions.Publish
		r = rights{told: true, allow: p.Allow, deny: p.Deny}
		return nil
	})
	if err != nil {
		return &rights{}
	}
	return &r
}

func (r *rights) mayPublish(pattern string) verdict {
	covers := func(p string) bool { return subject.Covers(p, pattern) }
	meets := func(p string) bool { return subject.Intersects(p, pattern) }
	switch {
	case !r.told:
		return unknown
	case slices.ContainsFunc(r.deny, covers):
		return refused
	case len(r.allow) > 0 && !slices.ContainsFunc(r.allow, meets):
		return refused
	case slices.ContainsFunc(r.deny, meets), len(r.allow) > 0 && !slices.ContainsFunc(r.allow, covers):
		return partly
	}
	return allowed
}
