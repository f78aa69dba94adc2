package inspect

import (
	"context"
	"errors"
	"fmt"

	"headgate/bridge/internal/control"
	"headgate/bridge/internal/jsapi"
	"headgate/bridge/internal/kv"
)

// operatorInboxes are where operators want their answers, as long as they have no prefix of their own.
const operatorInboxes = "_INBOX.>"

// operators adds what the bucket of revocations and the control service need. The service also answers for micro itself, at $SRV.
func (p *Permissions) operators(cfg Config, api jsapi.API) {
	if cfg.Bucket != "" {
		stream := kv.Stream(cfg.Bucket)
		for _, r := range apiRequests {
			if r.request != "DIRECT.GET" {
				p.Publish = append(p.Publish, api.Subject(r.request, stream)+r.rest)
			}
		}
		if cfg.BucketTTL > 0 {
			p.Publish = append(p.Publish, api.Subject("STREAM.CREATE", stream))
		}
	}
	if cfg.Control == "" {
		return
	}
	// Not allow_responses: whoever asks says where the answer goes, and with that NATS would let it go to a stream's purge.
	p.Publish = append(p.Publish, operatorInboxes)
	if cfg.Bucket != "" {
		p.Publish = append(p.Publish, values(cfg, api))
	}
	p.Subscribe = append(p.Subscribe, cfg.Control+".>")
	for _, verb := range []string{"PING", "INFO", "STATS"} {
		subj := "$SRV." + verb
		p.Subscribe = append(p.Subscribe, subj, subj+"."+control.ServiceName, subj+"."+control.ServiceName+".*")
	}
}

// values are the subjects that values of the bucket are published to: through the API, where that is not the account's own.
func values(cfg Config, api jsapi.API) string {
	subj := kv.Subject(cfg.Bucket, ">")
	if own := jsapi.New("", ""); api != own {
		return api.Subject() + subj
	}
	return subj
}

// operators looks at the bucket of revocations and at the operators' subjects.
func (i *inspector) operators(ctx context.Context) {
	if i.cfg.Bucket != "" && !i.lost {
		i.revocations(ctx)
	}
	if i.cfg.Control == "" || i.lost {
		return
	}
	for _, subj := range []string{i.cfg.Control + ".>", "$SRV.PING." + control.ServiceName} {
		where := "operators (CONTROL), subject " + subj
		switch err := i.link.maySubscribe(subj); {
		case err == nil:
			i.report.checked()
		case isDenied(err):
			i.report.add(Finding{Where: where, Level: Error, Text: "the NATS user may not subscribe to it, so operators are not answered",
				Remedy: "allow it: the permissions below have everything that the control service needs"})
		default:
			i.failed(ctx, where, err)
		}
	}
}

// revocations looks whether the bucket can be read, and whether it keeps values as long as it should, and no longer.
func (i *inspector) revocations(ctx context.Context) {
	name := kv.Stream(i.cfg.Bucket)
	where := "bucket " + i.cfg.Bucket + " (AUTH_REVOCATION_BUCKET)"
	var info jsapi.Info
	err := i.link.try(ctx, func(ctx context.Context) (err error) {
		info, err = i.api.Info(ctx, i.link.nc, name)
		return err
	})
	switch {
	case err == nil:
		i.report.checked()
	case errors.Is(err, jsapi.ErrNoStream) && i.cfg.BucketTTL > 0:
		i.report.add(Finding{Where: where, Level: Note, Text: "does not exist; headgate makes it when it starts, with three copies where it can, else one"})
		return
	case errors.Is(err, jsapi.ErrNoStream):
		i.report.add(Finding{Where: where, Level: Error, Text: "does not exist; until it does, headgate is not ready, and accepts no token",
			Remedy: "create it: " + control.Creation(i.cfg.Bucket, 0) + " (longer than any token lives); or set AUTH_REVOCATION_TTL"})
		return
	default:
		i.outcome(ctx, where, i.named.Subject("STREAM.INFO", name), err)
		return
	}
	c := info.Config
	if c.MaxAge == 0 {
		i.report.add(Finding{Where: where, Level: Warning, Text: "keeps its values for ever, so they grow in number until AUTH_REVOCATION_ENTRIES is reached",
			Remedy: "nats kv edit " + i.cfg.Bucket + " --ttl 24h (longer than any token lives)"})
	} else {
		i.report.add(Finding{Where: where, Level: Note,
			Text: fmt.Sprintf("forgets its values after %s (TTL): a token that lives longer than that would be good again", short(c.MaxAge))})
	}
	if c.Replicas == 1 {
		i.report.add(Finding{Where: where, Level: Note, Text: "has one copy: while its server is away nothing can be revoked",
			Remedy: "in a cluster: nats stream edit " + name + " --replicas 3"})
	}
	uses := []usage{{patterns: []string{kv.Subject(i.cfg.Bucket, ">")}}}
	i.consume(ctx, where, name, info, uses)
	err = i.link.try(ctx, func(ctx context.Context) error {
		_, err := i.api.Last(ctx, i.link.nc, name, ">")
		if errors.Is(err, jsapi.ErrNoMessage) {
			return nil
		}
		return err
	})
	i.outcome(ctx, where, i.named.Subject("STREAM.MSG.GET", name), err)
}
