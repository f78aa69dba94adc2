package config

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
)

// builder turns the routes file into routes, and reports what is wrong with each and between them.
type builder struct {
	c        *Config
	d        *decoder
	read     reader
	defaults sharedYAML
	built    []builtRoute
}

// builtRoute is a route and where its name and path stand, for the checks between routes.
type builtRoute struct {
	route      Route
	segments   []segment // nil when the path is wrong
	name, path pos
}

// file reads a routes file.
func (b *builder) file(name string, text []byte, r *report) []Route {
	var f routesFile
	before := len(r.problems)
	b.d = decodeFile(name, text, &f, r)
	if len(r.problems) > before && f.Version.at.line == 0 && len(f.Routes) == 0 {
		return nil
	}
	if f.Version.said() && f.Version.v != 1 {
		b.d.fail(f.Version.at, Problem{Message: fmt.Sprintf("version %d of the format is not known", f.Version.v), Expected: "version: 1"})
	}
	b.defaults = f.Defaults
	b.identity(&f)
	b.checkDefaults()
	if len(f.Routes) == 0 && len(r.problems) == before {
		b.d.fail(pos{1, 1}, Problem{Message: "there are no routes in the file", Example: smallestExample})
	}
	for i := range f.Routes {
		b.built = append(b.built, b.route(&f.Routes[i]))
	}
	b.checkNames()
	b.checkPaths()
	var routes []Route
	for _, x := range b.built {
		routes = append(routes, x.route)
	}
	return routes
}

// route fills one route: built-in values, then the environment, then the file's defaults, then what the route says.
func (b *builder) route(y *val[routeYAML]) builtRoute {
	route := b.c.routeDefaults()
	b.shared(&route, &b.defaults)
	b.shared(&route, &y.v.sharedYAML)
	route.AuthRequiredSaid = y.v.Auth.Required.said()
	b.require(&route, &y.v)
	route.Name, route.Path = y.v.Name.v, y.v.Path.v
	route.UnsafeFirstToken = y.v.UnsafeFirstToken.v
	route.Event = y.v.Event.Type.v
	route.Line = y.at.line
	built := builtRoute{name: y.v.Name.at, path: y.v.Path.at}
	if y.v.Path.said() {
		segments, problem := parsePath(route.Path)
		if problem != "" {
			b.d.fail(y.v.Path.at, Problem{Message: "path: " + problem, Example: "/v1/prices/{symbol}"})
		} else {
			built.segments = segments
		}
	}
	b.sources(&route, &y.v)
	b.settle(&route, &y.v)
	b.publish(&route, &y.v)
	b.checkRoute(&route, y, built.segments)
	built.route = route
	return built
}

// shared puts what y says over what the route has.
func (b *builder) shared(route *Route, y *sharedYAML) {
	route.AuthRequired = y.Auth.Required.or(route.AuthRequired)
	route.Data = y.Data.or(route.Data)
	route.Envelope = y.Envelope.or(route.Envelope)
	if y.Headers != nil {
		route.Headers = values(y.Headers)
	}
	route.Heartbeat = y.Heartbeat.or(route.Heartbeat)
	route.SlowConsumer = y.SlowConsumer.or(route.SlowConsumer)
	route.OnOverload = y.OnOverload.or(route.OnOverload)
	route.MaxEventBytes = y.MaxEventBytes.or(route.MaxEventBytes)
	route.MaxStreams = y.Limits.Connections.or(route.MaxStreams)
	l := &route.Limits
	l.ConnectionsPerUser = y.Limits.ConnectionsPerUser.or(l.ConnectionsPerUser)
	l.EventsPerSecond = y.Limits.EventsPerSecond.or(l.EventsPerSecond)
	l.BytesPerSecond = y.Limits.BytesPerSecond.or(l.BytesPerSecond)
	l.PublishRate = y.Limits.PublishRate.or(l.PublishRate)
	if y.Resume.MaxEvents.said() || y.Resume.MaxAge.said() {
		route.Resume.Enabled = true
	}
	route.Resume.Enabled = y.Resume.Enabled.or(route.Resume.Enabled)
	route.Resume.MaxEvents = y.Resume.MaxEvents.or(route.Resume.MaxEvents)
	route.Resume.MaxAge = y.Resume.MaxAge.or(route.Resume.MaxAge)
	route.Resume.OnGap = y.Resume.OnGap.or(route.Resume.OnGap)
	if y.CORS.Origins != nil {
		route.CORS.AllowedOrigins = values(y.CORS.Origins)
	}
	route.CORS.AllowCredentials = y.CORS.Credentials.or(route.CORS.AllowCredentials)
}

// values are the texts of a list; nil for an empty one.
func values[T ~string](list []val[T]) []string {
	var out []string
	for _, v := range list {
		out = append(out, string(v.v))
	}
	return out
}

// list are the sources of a route, however they are written.
func (y *routeYAML) list() []val[sourceYAML] {
	if y.Source.said() {
		return append([]val[sourceYAML]{y.Source}, y.Sources...)
	}
	return y.Sources
}

// defaultName is the name of a route's source at place i, counted from 0.
func defaultName(route string, i int) string {
	if i == 0 {
		return route
	}
	return fmt.Sprintf("%s.%d", route, i+1)
}

func (b *builder) sources(route *Route, y *routeYAML) {
	for i, s := range y.list() {
		src := Source{Name: s.v.Name.or(defaultName(route.Name, i)), Type: s.v.Type.v, Stream: s.v.Stream.v, Subject: s.v.Subject.v, Allow: values(s.v.Allow)}
		if src.Type == typeKV {
			src.Stream, src.Subject = s.v.Bucket.v, s.v.Key.or(">")
		}
		route.Sources = append(route.Sources, src)
	}
	route.Snapshot = Snapshot{Mode: y.Snapshot.v.Mode.v, Since: y.Snapshot.v.Since.v}
	if when := &y.End.v.When.v; when.Field.said() {
		route.End = End{Field: when.Field.v, In: values(when.In)}
	}
}

// settle gives the route the defaults that depend on the types of its sources.
func (b *builder) settle(route *Route, y *routeYAML) {
	if !route.has(typeStream, typeKV) {
		if !y.Resume.OnGap.said() {
			route.Resume.OnGap = onGapEvent // what defaults say is for others
		}
		return
	}
	file, own := &b.defaults.Resume, &y.Resume
	if !file.said() && !own.said() {
		route.Resume.Enabled = true // whatever core subjects keep
	}
	if !route.has(typeCore) {
		route.Resume.MaxEvents, route.Resume.MaxAge = 0, 0
	}
	if route.has(typeStream) {
		js := &b.c.JetStream
		route.Resume.Replay = Replay{MaxBytes: js.ReplayBytes,
			MaxEvents: own.MaxEvents.or(file.MaxEvents.or(js.ReplayEvents)), MaxAge: own.MaxAge.or(file.MaxAge.or(js.ReplayAge))}
	}
	if !y.Resume.OnGap.said() && !restartable(route) {
		route.Resume.OnGap = onGapEvent
	}
	if !route.has(typeCore, typeStream) {
		route.Envelope = y.Envelope.or(b.defaults.Envelope.or("headgate")) // else the keys would be lost
	}
}

// said says whether the file switches resume on or off here.
func (y *resumeYAML) said() bool { return y.Enabled.said() || y.MaxEvents.said() || y.MaxAge.said() }

// restartable says whether something of the route can begin again with a state.
func restartable(route *Route) bool {
	return route.has(typeKV) || route.has(typeStream) && route.Snapshot.Mode != ""
}

func (b *builder) publish(route *Route, y *routeYAML) {
	if !y.Publish.said() {
		return
	}
	p := &y.Publish.v
	route.Publish = &Publish{Subject: p.Subject.v, MaxBytes: p.MaxBytes.or(b.c.Limit.PublishBytes)}
	route.Publish.Headers = values(p.Headers)
}

var routeName = regexp.MustCompile(`^[a-z0-9]([a-z0-9_-]{0,61}[a-z0-9])?$`)

const routeNameForm = "1 to 63 lower case letters, digits, - and _, first and last a letter or digit"

// checkNames wants names that can be metric labels, each once.
func (b *builder) checkNames() {
	for i, x := range b.built {
		if x.name.line == 0 {
			continue
		}
		if !routeName.MatchString(x.route.Name) {
			b.d.fail(x.name, Problem{Message: "name: " + quoteShort(x.route.Name) + " cannot be a route's name", Expected: routeNameForm,
				Hint: nameHint(x.route.Name)})
			continue
		}
		j := slices.IndexFunc(b.built[:i], func(o builtRoute) bool { return o.route.Name == x.route.Name })
		if j >= 0 {
			b.d.fail(x.name, Problem{Message: fmt.Sprintf("name: another route is called %s, in line %d", x.route.Name, b.built[j].name.line)})
		}
	}
}

// nameHint makes a name out of a wrong one.
func nameHint(name string) string {
	plain := strings.Map(func(c rune) rune {
		switch {
		case c >= 'a' && c <= 'z', c >= '0' && c <= '9', c == '-', c == '_':
			return c
		case c == ' ', c == '.', c == '/':
			return '-'
		}
		return -1
	}, strings.ToLower(name))
	if plain = strings.Trim(plain, "-_"); routeName.MatchString(plain) {
		return "did you mean " + plain + "?"
	}
	return ""
}

// checkPaths looks for paths that http.ServeMux could not tell apart, among the routes and against the console.
func (b *builder) checkPaths() {
	for i, x := range b.built {
		if x.segments == nil {
			continue
		}
		if onConsole(x.segments) && (b.c.Console || x.segments[0].text != "") {
			b.d.fail(x.path, Problem{Message: "path: " + consolePath + " is where the console page stands", Hint: "begin the path with another literal segment, such as /v1/"})
		}
		if base := b.c.HTTP.BasePath; base != "/" && strings.HasPrefix(x.route.Path+"/", base+"/") {
			b.d.r.warn(fmt.Sprintf("%s:%d:%d", b.d.file, x.path.line, x.path.column),
				"the path begins with HTTP_BASE_PATH, which is put in front of it: clients must ask for "+base+x.route.Path)
		}
		for _, o := range b.built[:i] {
			if o.segments == nil || !conflicting(o.segments, x.segments) {
				continue
			}
			b.d.fail(x.path, Problem{Message: fmt.Sprintf("path: some requests match %s here and %s of route %s, line %d", x.route.Path, o.route.Path, o.route.Name, o.path.line),
				Hint: "a route can have sources and publish; otherwise make a literal segment differ"})
		}
	}
}
