package gateway

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/cors"

	"headgate/internal/config"
	"headgate/internal/delivery"
	"headgate/internal/flow"
	"headgate/internal/gap"
	"headgate/internal/sse"
	"headgate/internal/subject"
)

// route is one route of the configuration, with everything worked out that does not depend on the request. It never changes.
type route struct {
	name  string
	line  int    // in the routes file; 0 unknown
	path  string // with the base path
	index uint32 // in Server.routes

	params   []param
	sources  []source
	format   flow.Format
	policy   *delivery.Policy
	resume   bool
	overload string // auto, status, retry
	publish  *publisher
	cors     *cors.Cors // nil: no other origin may read

	open   prometheus.Gauge   // streams
	opened prometheus.Counter // the outcome that counts most
	unsafe bool               // clients may name subjects whose first token is a wildcard
}

// param is a path parameter whose value must match a pattern.
type param struct {
	name    string
	text    string
	pattern *regexp.Regexp
}

// source is one source of a route. Either template or allow says where its subjects come from.
type source struct {
	name     string
	template subject.Template
	allow    []string
	ringSize int
	ringAge  time.Duration
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
		name: cr.Name, line: cr.Line, path: joinPath(cfg.HTTP.BasePath, cr.Path), resume: cr.Resume.Enabled,
		overload: cr.OnOverload, unsafe: cr.UnsafeFirstToken,
	}
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
	for _, cs := range cr.Sources {
		src := source{name: cs.Name, allow: cs.Allow}
		if cr.Resume.Enabled {
			src.ringSize, src.ringAge = cr.Resume.MaxEvents, cr.Resume.MaxAge
		}
		if src.clientNamed() {
			if slices.ContainsFunc(rt.sources, source.clientNamed) {
				return fmt.Errorf("only one source of a route may leave its subjects to the client")
			}
			for _, pattern := range cs.Allow {
				if err := subject.Valid(pattern); err != nil {
					return fmt.Errorf("allow: %w", err)
				}
			}
		} else {
			t, err := rt.parseTemplate(cs.Subject, cr.UnsafeFirstToken)
			if err != nil {
				return err
			}
			src.template = t
		}
		rt.sources = append(rt.sources, src)
	}
	return nil
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
	for _, name := range t.Placeholders() {
		if !hasPathParameter(rt.path, name) {
			return t, fmt.Errorf("subject %q: the path %s has no parameter {%s}", text, rt.path, name)
		}
	}
	return t, nil
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
		Headers: strings.Join(cr.Headers, ","), MaxBytes: int(cr.MaxEventBytes), IDs: cr.Resume.Enabled}
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
	}
	if c.HeartbeatEvent != "" {
		p.HeartbeatEvent = sse.NewFrame(c.HeartbeatEvent, []byte("{}"))
	}
	if p.DropOldest {
		for _, src := range cr.Sources {
			p.SlowGaps = append(p.SlowGaps, gap.Shared(gap.Slow, src.Name))
		}
	}
	return p
}

// joinPath puts the base path before a route's path.
func joinPath(base, path string) string {
	base = strings.Trim(base, "/")
	if base != "" {
		base = "/" + base
	}
	return base + "/" + strings.TrimLeft(path, "/")
}
