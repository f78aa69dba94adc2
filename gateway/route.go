package gateway

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/rs/cors"

	"headgate/auth"
	"headgate/internal/config"
	"headgate/internal/delivery"
	"headgate/internal/flow"
	"headgate/internal/gap"
	"headgate/internal/sse"
	"headgate/internal/subject"
)

// route is one route of the configuration, with everything worked out that does not depend on the request. It never changes.
type route struct {
	name string
	line int          // in the routes file; 0 unknown
	path string       // with the base path
	said config.Route // what it was made of
	life *life

	params   []param
	sources  []source
	format   flow.Format
	policy   *delivery.Policy
	resume   bool
	dated    bool   // every source is a stream: a client may say since when
	overload string // auto, status, retry
	publish  *publisher
	cors     *cors.Cors // nil: no other origin may read

	identities  Identities // of the table that it is in; nil: callers are nobody
	identified  bool       // callers have identities
	required    bool       // and must show one
	credentials bool       // pages of other origins may send cookies
	require     []auth.Rule

	unsafe bool // clients may name subjects whose first token is a wildcard
}

// param is a path parameter whose value must match a pattern.
type param struct {
	name    string
	text    string
	pattern *regexp.Regexp
}

// source is one source of a route: its spec without subjects. Either template or allow says where those come from.
type source struct {
	spec     flow.Spec
	template subject.Template
	allow    []string
}

func (s source) clientNamed() bool { return len(s.allow) > 0 }

// publisher is the entrance of a route.
type publisher struct {
	template subject.Template
	maxBytes int64
	headers  []string
}

// describe names a route in an error for the operator.
func describe(name string, line int) string {
	if line == 0 {
		return fmt.Sprintf("route %q", name)
	}
	return fmt.Sprintf("route %q (line %d)", name, line)
}

func (rt *route) describe() string { return describe(rt.name, rt.line) }

func compileRoute(cr config.Route, cfg config.Config) (*route, error) {
	fail := func(format string, args ...any) (*route, error) {
		return nil, fmt.Errorf("gateway: %s: %w", describe(cr.Name, cr.Line), fmt.Errorf(format, args...))
	}
	rt := &route{
		name: cr.Name, line: cr.Line, path: joinPath(cfg.HTTP.BasePath, cr.Path), said: cr, life: &life{name: cr.Name, key: cr.Name},
		resume: cr.Resume.Enabled, overload: cr.OnOverload, unsafe: cr.UnsafeFirstToken,
	}
	rt.compileAuth(cr, cfg)
	if len(cr.Sources) == 0 && cr.Publish == nil {
		return fail("has neither a source nor a publish subject")
	}
	for name, text := range cr.Params {
		pattern, err := regexp.Compile("^(?:" + text + ")$")
		if err != nil {
			return fail("params.%s: %w", name, err)
		}
		rt.params = append(rt.params, param{name: name, text: text, pattern: pattern})
	}
	slices.SortFunc(rt.params, func(a, b param) int { return strings.Compare(a.name, b.name) })
	if err := rt.compileSources(cr); err != nil {
		return fail("%w", err)
	}
	if err := rt.compilePublish(cr, cfg); err != nil {
		return fail("%w", err)
	}
	var err error
	if rt.cors, err = newCORS(cr); err != nil {
		return fail("%w", err)
	}
	rt.format = routeFormat(cr)
	rt.policy = routePolicy(cr, cfg.SSE)
	return rt, nil
}

func (rt *route) compileSources(cr config.Route) error {
	rt.dated = len(cr.Sources) > 0
	for _, cs := range cr.Sources {
		spec, err := specOf(cs, cr)
		if err != nil {
			return err
		}
		src := source{spec: spec, allow: cs.Allow}
		rt.dated = rt.dated && spec.Kind == flow.Stream
		switch {
		case src.clientNamed():
			if slices.ContainsFunc(rt.sources, source.clientNamed) {
				return fmt.Errorf("only one source of a route may leave its subjects to the client")
			}
			if spec.Kind == flow.KV {
				return fmt.Errorf("allow: clients cannot name the keys of a bucket")
			}
			for _, pattern := range cs.Allow {
				if err := subject.Valid(pattern); err != nil {
					return fmt.Errorf("allow: %w", err)
				}
			}
		case spec.Kind == flow.KV:
			if src.template, err = rt.parseKey(cs.Subject); err != nil {
				return err
			}
		default:
			if src.template, err = rt.parseTemplate(cs.Subject, cr.UnsafeFirstToken); err != nil {
				return err
			}
		}
		rt.sources = append(rt.sources, src)
	}
	return nil
}

// specOf is what bridge is asked for, but for the subjects, which come from the request.
func specOf(cs config.Source, cr config.Route) (flow.Spec, error) {
	spec := flow.Spec{Name: cs.Name, Stream: cs.Stream}
	switch cs.Type {
	case "core":
		if cr.Resume.Enabled {
			spec.RingSize, spec.RingAge = cr.Resume.MaxEvents, cr.Resume.MaxAge
		}
		return spec, nil
	case "stream":
		spec.Kind = flow.Stream
		spec.Initial = flow.Initial{Mode: flow.SnapshotMode(cr.Snapshot.Mode), Since: cr.Snapshot.Since}
		replay := cr.Resume.Replay
		spec.Bounds = flow.Bounds{MaxEvents: replay.MaxEvents, MaxBytes: int64(replay.MaxBytes), MaxAge: replay.MaxAge,
			Snapshot: cr.Resume.OnGap == "snapshot" && spec.Initial.Mode != flow.NoSnapshot}
	case "kv":
		spec.Kind = flow.KV
	default:
		return spec, fmt.Errorf("source %q: the type %q is not known", cs.Name, cs.Type)
	}
	if cs.Stream == "" {
		return spec, fmt.Errorf("source %q: it does not say which stream or bucket", cs.Name)
	}
	return spec, nil
}

// parseTemplate makes sure that every placeholder has a value in the path, and that no request decides the first token.
func (rt *route) parseTemplate(text string, unsafe bool) (subject.Template, error) {
	t, err := subject.ParseTemplate(text)
	if err != nil {
		return t, err
	}
	if !t.LiteralFirst() && !unsafe {
		return t, fmt.Errorf("subject %q: the first token must be literal, or the route must say unsafe_first_token: true", text)
	}
	return t, rt.known(t, "subject")
}

// parseKey does so for keys, which no request can lead out of their bucket.
func (rt *route) parseKey(text string) (subject.Template, error) {
	t, err := subject.ParseKey(text)
	if err != nil {
		return t, err
	}
	return t, rt.known(t, "key")
}

// known makes sure that every placeholder has a value in the path, or in the claims where callers have some.
func (rt *route) known(t subject.Template, what string) error {
	for _, name := range t.Placeholders() {
		if strings.HasPrefix(name, claimsPrefix) {
			if !rt.identified {
				return fmt.Errorf("%s %q: without AUTH_MODE=jwt nobody has claims", what, t)
			}
			continue
		}
		if !hasPathParameter(rt.path, name) {
			return fmt.Errorf("%s %q: the path %s has no parameter {%s}", what, t, rt.path, name)
		}
	}
	return nil
}

func hasPathParameter(path, name string) bool {
	return strings.Contains(path, "{"+name+"}") || strings.Contains(path, "{"+name+"...}")
}

func (rt *route) compilePublish(cr config.Route, cfg config.Config) error {
	if cr.Publish == nil {
		return nil
	}
	t, err := rt.parseTemplate(cr.Publish.Subject, cr.UnsafeFirstToken)
	if err != nil {
		return err
	}
	if subject.HasWildcard(cr.Publish.Subject) {
		return fmt.Errorf("publish.subject %q: wildcards cannot be published to", cr.Publish.Subject)
	}
	maxBytes := int64(cr.Publish.MaxBytes)
	if maxBytes == 0 {
		maxBytes = int64(cfg.Limit.PublishBytes)
	}
	rt.publish = &publisher{template: t, maxBytes: maxBytes, headers: cr.Publish.Headers}
	return nil
}

// routeFormat is how the route's messages become frames.
func routeFormat(cr config.Route) flow.Format {
	f := flow.Format{Data: cr.Data, Envelope: cr.Envelope, Event: cr.Event, Token: -1,
		Headers: strings.Join(cr.Headers, ","), MaxBytes: int(cr.MaxEventBytes), IDs: cr.Resume.Enabled,
		Named:    len(cr.Sources) > 1 && cr.Envelope != "none",
		EndField: cr.End.Field, EndIn: strings.Join(cr.End.In, "\n")}
	if cr.Envelope == "cloudevents" {
		if f.Source = cr.EventSource; f.Source == "" {
			f.Source = "urn:headgate:route:" + cr.Name
		}
	}
	if number, ok := strings.CutPrefix(cr.Event, "{subject["); ok {
		if n, err := strconv.Atoi(strings.TrimSuffix(number, "]}")); err == nil {
			f.Event, f.Token = "", n
		}
	}
	return f
}

// routePolicy is how the route's clients are treated.
func routePolicy(cr config.Route, c config.SSE) *delivery.Policy {
	p := &delivery.Policy{
		Heartbeat: cr.Heartbeat, IDs: cr.Resume.Enabled, DropOldest: cr.SlowConsumer == "drop_oldest",
		BufferBytes: int(c.BufferBytes), BufferEvents: c.BufferEvents, BufferAge: c.BufferAge, WriteTimeout: c.WriteTimeout,
		EventsPerSecond: cr.Limits.EventsPerSecond, BytesPerSecond: int(cr.Limits.BytesPerSecond),
	}
	if c.HeartbeatEvent != "" {
		p.HeartbeatEvent = sse.NewFrame(c.HeartbeatEvent, []byte("{}"))
	}
	if p.DropOldest {
		for _, src := range cr.Sources {
			p.SlowGaps = append(p.SlowGaps, jumpGap(gap.Slow, src.Name, len(cr.Sources)))
			p.RateGaps = append(p.RateGaps, jumpGap(gap.Rate, src.Name, len(cr.Sources)))
		}
	}
	return p
}

// jumpGap is what a client is told that has jumped over events. Of several sources nobody knows which had some among them.
func jumpGap(why gap.Reason, source string, sources int) delivery.JumpGap {
	h := gap.Hole{Reason: why, Source: source, Unsure: sources > 1}
	j := delivery.JumpGap{Source: source, Live: gap.Frame(h)}
	h.Snapshot = true
	j.State = gap.Frame(h)
	return j
}

// joinPath puts the base path before a route's path.
func joinPath(base, path string) string {
	base = strings.Trim(base, "/")
	if base != "" {
		base = "/" + base
	}
	return base + "/" + strings.TrimLeft(path, "/")
}
