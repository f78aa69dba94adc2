package inspect

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"headgate/bridge/internal/jsapi"
)

// streams looks at every stream and bucket once, then at what each route wants of it.
func (i *inspector) streams(ctx context.Context, uses []usage) {
	byStream := map[string][]usage{}
	var names []string
	for _, u := range uses {
		if u.stream == "" {
			continue
		}
		if byStream[u.stream] == nil {
			names = append(names, u.stream)
		}
		byStream[u.stream] = append(byStream[u.stream], u)
	}
	if len(names) == 0 {
		return
	}
	inbox := inboxPrefix(i.cfg) + ".>"
	switch err := i.link.maySubscribe(inbox); {
	case isDenied(err):
		i.report.add(Finding{Where: "answers of JetStream", Level: Error,
			Text:   "the NATS user may not subscribe to " + inbox + ", so it hears no answers and streams and buckets cannot be checked",
			Remedy: "allow it, or set NATS_INBOX_PREFIX to one that is allowed"})
		return
	case err != nil:
		i.failed(ctx, "answers of JetStream", err)
		return
	}
	for _, name := range names {
		if !i.stream(ctx, name, byStream[name]) {
			return
		}
	}
}

// stream looks at one stream. It returns false where there is no use in asking for another.
func (i *inspector) stream(ctx context.Context, name string, uses []usage) bool {
	where := i.whereOf(uses)
	var info jsapi.Info
	err := i.link.try(ctx, func(ctx context.Context) (err error) {
		info, err = i.api.Info(ctx, i.link.nc, name)
		return err
	})
	switch {
	case err == nil:
		i.report.checked()
	case errors.Is(err, jsapi.ErrNoStream):
		i.report.add(Finding{Where: where, Level: Error, Text: "does not exist; until it does, clients are told to come back later", Remedy: creation(&uses[0])})
		return true
	case isDenied(err):
		i.denied(where, i.named.Subject("STREAM.INFO", name))
		return true
	case errors.Is(err, jsapi.ErrUnavailable), disabled(err):
		i.report.add(Finding{Where: "JetStream", Level: Error, Text: "does not answer at " + i.api.Subject("") + ">",
			Remedy: "switch JetStream on, for the server and the account of the user; or say where it is with JETSTREAM_DOMAIN or JETSTREAM_API_PREFIX"})
		return false
	default:
		i.failed(ctx, where, err)
		return !i.lost && ctx.Err() == nil
	}
	i.read(ctx, where, name, info, uses)
	i.consume(ctx, where, name, info, uses)
	i.settings(where, info.Config)
	for n := range uses {
		i.matches(&uses[n], info.Config)
		if uses[n].bucket() {
			continue
		}
		i.keeps(&uses[n], info.Config)
	}
	if uses[0].bucket() {
		i.bucket(where, &uses[0], info.Config)
		i.room(where, info)
	}
	return true
}

// whereOf names a stream and the routes that want it.
func (i *inspector) whereOf(uses []usage) string {
	var routes []string
	for _, u := range uses {
		if p := place(u.route); !slices.Contains(routes, p) {
			routes = append(routes, p)
		}
	}
	return uses[0].what() + ", of " + strings.Join(routes, ", ")
}

// creation is the command that makes what is missing.
func creation(u *usage) string {
	if u.bucket() {
		return "correct the name, or create it: nats kv add " + u.source.Stream
	}
	return fmt.Sprintf("correct the name, or create it: nats stream add %s --subjects %s", u.stream, shellQuote(strings.Join(u.patterns, ",")))
}

// disabled says whether JetStream is switched off where we asked.
func disabled(err error) bool {
	var refused *jetstream.APIError
	return errors.As(err, &refused) && (refused.ErrorCode == jetstream.JSErrCodeJetStreamNotEnabled ||
		refused.ErrorCode == jetstream.JSErrCodeJetStreamNotEnabledForAccount || refused.Code == 503)
}

func (i *inspector) denied(where, subj string) {
	i.report.add(Finding{Where: where, Level: Error, Text: "the NATS user may not publish to " + subj,
		Remedy: "allow it: the permissions below have everything that the routes need"})
}

// outcome notes what became of a request to subj. permitted says whether it was carried out.
func (i *inspector) outcome(ctx context.Context, where, subj string, err error) (permitted bool) {
	switch {
	case err == nil:
		i.report.checked()
		return true
	case isDenied(err):
		i.denied(where, subj)
	default:
		i.failed(ctx, where+": "+subj, err)
	}
	return false
}

// read tries the ways in which single messages are read.
func (i *inspector) read(ctx context.Context, where, name string, info jsapi.Info, uses []usage) {
	err := i.link.try(ctx, func(ctx context.Context) error {
		_, err := i.api.Last(ctx, i.link.nc, name, uses[0].patterns[0])
		if errors.Is(err, jsapi.ErrNoMessage) {
			return nil
		}
		return err
	})
	i.outcome(ctx, where, i.named.Subject("STREAM.MSG.GET", name), err)
	err = i.link.try(ctx, func(ctx context.Context) error {
		_, err := i.link.one(ctx, i.api.Subject("DIRECT.GET", name), []byte(`{"seq":1}`))
		if errors.Is(err, nats.ErrNoResponders) && !info.Config.AllowDirect {
			return nil
		}
		return err
	})
	i.outcome(ctx, where, i.named.Subject("DIRECT.GET", name), err)
	if !info.Config.AllowDirect {
		i.report.add(Finding{Where: where, Level: Note,
			Text:   "allow_direct is off: what clients missed is read with consumers, and single messages from the leader alone, which is slower",
			Remedy: "nats stream edit " + name + " --allow-direct"})
	}
}

// consumerLife is that of a consumer that could not be deleted, unless the stream has a smaller limit.
const consumerLife = 10 * time.Second

// consume makes consumers as headgate does, with a filter in the subject of the request and without, asks each for messages, and deletes it.
func (i *inspector) consume(ctx context.Context, where, name string, info jsapi.Info, uses []usage) {
	life := consumerLife
	if most := info.Config.ConsumerLimits.InactiveThreshold; most > 0 {
		life = min(life, most)
	}
	for _, filter := range []string{"", uses[0].patterns[0]} {
		cfg := jetstream.ConsumerConfig{Name: "headgate-check-" + rand.Text(), FilterSubject: filter, AckPolicy: jetstream.AckNonePolicy, Replicas: 1,
			MemoryStorage: true, InactiveThreshold: life, DeliverPolicy: jetstream.DeliverNewPolicy}
		subj := i.named.Subject("CONSUMER.CREATE", name, "*")
		if filter != "" {
			subj += "." + filter
		}
		err := i.link.try(ctx, func(ctx context.Context) error {
			_, err := i.api.CreateConsumer(ctx, i.link.nc, name, cfg)
			return err
		})
		if text, remedy := notCreated(name, err); text != "" {
			i.report.add(Finding{Where: where, Level: Error, Text: text, Remedy: remedy})
			return
		}
		if !i.outcome(ctx, where, subj, err) {
			return
		}
		if !i.pullAndDelete(ctx, where, name, cfg.Name) {
			return
		}
	}
}

// generic is a subject with * in place of a consumer's random name.
func (i *inspector) generic(subj, consumer string) string {
	return strings.Replace(subj, consumer, "*", 1)
}

func (i *inspector) pullAndDelete(ctx context.Context, where, stream, consumer string) bool {
	body, _ := json.Marshal(map[string]any{"batch": 1, "no_wait": true}) // cannot fail
	err := i.link.try(ctx, func(ctx context.Context) error {
		_, err := i.link.one(ctx, i.api.Subject("CONSUMER.MSG.NEXT", stream, consumer), body)
		return err
	})
	pulled := i.outcome(ctx, where, i.named.Subject("CONSUMER.MSG.NEXT", stream, "*"), err)
	err = i.link.try(ctx, func(ctx context.Context) error { return i.api.DeleteConsumer(ctx, i.link.nc, stream, consumer) })
	deleted := i.outcome(ctx, where, i.named.Subject("CONSUMER.DELETE", stream, "*"), err)
	return pulled && deleted
}

// The error of nats-server that says that a stream takes no consumer at present, beside those that jetstream and jsapi name.
const codeMaxConsumers = 10026 // JSMaximumConsumersLimitErr

// notCreated is what an operator should know about a consumer that was refused for what the stream is like.
func notCreated(stream string, err error) (text, remedy string) {
	if errors.Is(err, jsapi.ErrWorkQueue) {
		return "is a work queue: its messages are for one consumer, which removes them; headgate cannot read it",
			"let clients follow another stream that has it as a source, with retention limits"
	}
	var refused *jetstream.APIError
	if !errors.As(err, &refused) {
		return "", ""
	}
	switch refused.ErrorCode {
	case codeMaxConsumers:
		return "takes no more consumers: a limit of the stream, the account or the server (default_max_consumers) is reached",
			"headgate needs one consumer per replica, and a few more while it reads what clients missed: raise the limit, or find out who makes the others (nats consumer ls " + stream + ")"
	}
	return "takes no consumer: " + refused.Description, "see the limits of the stream: nats stream info " + stream
}
