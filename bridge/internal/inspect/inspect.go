// Package inspect asks the real NATS whether the routes can work: whether what they follow exists and can match, whether the user may use
// it, and whether streams keep what the routes promise. It changes nothing beyond consumers that it deletes again, and publishes nothing
// to an operator's subjects.
package inspect

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/nats-io/nats.go"

	"headgate/bridge/internal/conn"
	"headgate/bridge/internal/jsapi"
	"headgate/bridge/internal/kv"
	"headgate/internal/config"
	"headgate/internal/subject"
)

// Config is what an inspection needs.
type Config struct {
	NATS      config.NATS
	JetStream config.JetStream
	Options   []nats.Option // of conn.Options
	Routes    []config.Route

	Bucket    string        // of revocations; "" = none
	BucketTTL time.Duration // headgate makes it; 0 = it must be there
	Control   string        // prefix of the operators' subjects; "" = they are not answered
}

// maxTime bounds the whole inspection; one answer is waited for as long as a new stream would, NATS_CONFIRM_TIMEOUT.
const maxTime = 2 * time.Minute

// inspector is one inspection. It is used by one goroutine, except where a field says otherwise.
type inspector struct {
	cfg    Config
	api    jsapi.API
	named  jsapi.API // as permissions name its subjects
	link   *link
	report *Report
	lost   bool // the connection, and it has been said
}

// usage is one source of one route.
type usage struct {
	route    *config.Route
	source   *config.Source
	stream   string   // the name of its stream; "" of core subjects
	patterns []string // the subjects that it may follow
}

// Run inspects. The error is that NATS cannot be reached; everything else is in the report.
func Run(ctx context.Context, cfg Config) (*Report, error) {
	ctx, cancel := context.WithTimeout(ctx, maxTime)
	defer cancel()
	uses, err := usages(cfg.Routes)
	if err != nil {
		return nil, err
	}
	i := &inspector{cfg: cfg, api: jsapi.New(cfg.JetStream.Domain, cfg.JetStream.APIPrefix)}
	if i.link, err = dial(ctx, cfg); err != nil {
		return nil, err
	}
	defer i.link.close()
	i.named = permitted(i.api, i.link.nc.ConnectedDomain())
	i.report = &Report{Server: i.link.server(), Permissions: permissions(cfg, i.named, uses, i.stores())}
	i.core(ctx, uses)
	i.publishing(ctx)
	i.asking(ctx)
	i.streams(ctx, uses)
	i.operators(ctx)
	if err := ctx.Err(); err != nil {
		i.unfinished(err)
	}
	return i.report, nil
}

// stores says whether a running gateway asks which subjects are stored: where there is JetStream, and it is this account's.
func (i *inspector) stores() bool {
	there, _ := i.link.nc.ConnectedServerJetStream()
	return (there || i.cfg.JetStream.Domain != "") && i.cfg.JetStream.APIPrefix == ""
}

// usages are the sources of all routes, in their order.
func usages(routes []config.Route) ([]usage, error) {
	var uses []usage
	for r := range routes {
		route := &routes[r]
		for s := range route.Sources {
			source := &route.Sources[s]
			u := usage{route: route, source: source, patterns: source.Allow}
			parse := subject.ParseTemplate
			if source.Type == "kv" {
				parse = subject.ParseKey
			}
			if len(source.Allow) == 0 {
				t, err := parse(source.Subject)
				if err != nil {
					return nil, fmt.Errorf("route %q: %w", route.Name, err)
				}
				u.patterns = []string{t.Pattern()}
			}
			switch source.Type {
			case "stream":
				u.stream = source.Stream
			case "kv":
				u.stream = kv.Stream(source.Stream)
				u.patterns = []string{kv.Subject(source.Stream, u.patterns[0])}
			}
			uses = append(uses, u)
		}
	}
	return uses, nil
}

func (u *usage) bucket() bool { return u.source.Type == "kv" }

// what names the stream or bucket.
func (u *usage) what() string {
	if u.bucket() {
		return "bucket " + u.source.Stream
	}
	return "stream " + u.stream
}

// place names a route, as the operator finds it.
func place(r *config.Route) string {
	if r.Line == 0 {
		return fmt.Sprintf("route %q", r.Name)
	}
	return fmt.Sprintf("route %q (line %d)", r.Name, r.Line)
}

func (u *usage) where() string { return place(u.route) + ", " + u.what() }

// core subscribes to everything that core sources may follow, for a moment.
func (i *inspector) core(ctx context.Context, uses []usage) {
	for _, u := range uses {
		if u.stream != "" {
			continue
		}
		for _, p := range u.patterns {
			where := place(u.route) + ", core subject " + p
			switch err := i.link.maySubscribe(p); {
			case err == nil:
				i.report.checked()
			case isDenied(err):
				i.report.add(Finding{Where: where, Level: Error, Text: "the NATS user may not subscribe to it, so clients are told to come back later",
					Remedy: "allow it: the permissions below have everything that the routes need"})
			default:
				i.failed(ctx, where, err)
			}
		}
	}
}

// asking says whether publishes can find out which streams store them.
func (i *inspector) asking(ctx context.Context) {
	if !i.stores() || !slices.ContainsFunc(i.cfg.Routes, func(r config.Route) bool { return r.Publish != nil }) {
		return
	}
	subj := i.named.Subject("STREAM.NAMES")
	err := i.link.try(ctx, func(ctx context.Context) error {
		_, err := i.api.Names(ctx, i.link.nc, "headgate.check")
		return err
	})
	switch {
	case err == nil:
		i.report.checked()
	case isDenied(err):
		i.report.add(Finding{Where: "publishing", Level: Warning, Text: "the NATS user may not publish to " + subj +
			", so headgate does not know what streams store: publishes are answered with 202, stored or not", Remedy: "allow it: the permissions below have everything that the routes need"})
	}
}

// publishing says whether the subjects of publishing routes are allowed, as far as the server tells: nothing is published to find out.
func (i *inspector) publishing(ctx context.Context) {
	var rights *rights
	for r := range i.cfg.Routes {
		route := &i.cfg.Routes[r]
		if route.Publish == nil {
			continue
		}
		t, err := subject.ParseTemplate(route.Publish.Subject)
		if err != nil {
			continue // whoever loaded the routes has refused it
		}
		if rights == nil {
			rights = i.link.rights(ctx)
		}
		where := place(route) + ", publish to " + t.Pattern()
		switch rights.mayPublish(t.Pattern()) {
		case allowed:
			i.report.checked()
		case partly:
			i.report.add(Finding{Where: where, Level: Warning, Text: "the NATS user may publish to a part of these subjects only",
				Remedy: "allow all of it, or expect 403 for the rest"})
		case refused:
			i.report.add(Finding{Where: where, Level: Error, Text: "the NATS user may not publish to it",
				Remedy: "allow it: the permissions below have everything that the routes need"})
		case unknown:
			i.report.add(Finding{Where: where, Level: Note,
				Text: "whether the NATS user may publish to it cannot be told without publishing: the server does not tell this user its rights"})
		}
	}
}

// failed notes an answer that did not come. The loss of the connection is said once, whatever else cannot be checked then.
func (i *inspector) failed(ctx context.Context, where string, err error) {
	f := Finding{Where: where, Level: Error, Text: "could not be checked: " + i.link.text(err), Remedy: "look after NATS, and check again"}
	switch {
	case ctx.Err() != nil: // said at the end
		return
	case conn.IsAway(err), !i.link.nc.IsConnected():
		if i.lost {
			return
		}
		i.lost = true
		f.Where, f.Text = "NATS", "the connection was lost during the check, so not everything has been checked"
	case errors.Is(err, context.DeadlineExceeded):
		f.Text = fmt.Sprintf("no answer within %s (NATS_CONFIRM_TIMEOUT)", i.link.wait)
		f.Remedy = "look whether the stream has a leader (nats stream info), and check again"
	}
	i.report.add(f)
}

// unfinished notes that the check was ended from outside.
func (i *inspector) unfinished(err error) {
	f := Finding{Where: "the check", Level: Error, Text: "was interrupted, so not everything has been checked"}
	if errors.Is(err, context.DeadlineExceeded) {
		f.Text = fmt.Sprintf("did not end within %s, so not everything has been checked", maxTime)
		f.Remedy = "NATS answers too slowly: look after it, and check again"
	}
	i.report.add(f)
}
