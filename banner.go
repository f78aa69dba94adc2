package main

import (
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"

	"headgate/internal/config"
	"headgate/internal/subject"
)

// banner tells where everything is, with lines to paste.
type banner struct {
	w        io.Writer
	name     string // of the program, in a shell
	cfg      config.Config
	natsURL  string
	embedded bool
	l        listeners
}

// hello is what the lines publish.
const hello = `'{"text":"Hello"}'`

func (b banner) print() {
	base := "http://" + b.l.public.Addr().String()
	if b.cfg.HTTP.TLSCertFile != "" {
		base = "https://" + b.l.public.Addr().String()
	}
	var out strings.Builder
	line := func(label, text string) { fmt.Fprintf(&out, "  %-9s %s\n", label, text) }
	out.WriteString("\n  headgate -dev   INSECURE: whoever reaches this machine may read and publish. Never expose it.\n\n")
	if b.cfg.Console {
		line("Console", base+fullPath(b.cfg.HTTP.BasePath, "/console/"))
	}
	b.commands(base, line)
	b.tokens(base, line)
	line("Admin", "http://"+b.l.admin.Addr().String()+"/readyz, /livez and /metrics")
	where := "yours"
	if b.embedded {
		where = "embedded, with JetStream; what it stores goes when it ends"
	}
	line("NATS", b.natsURL+" ("+where+")")
	out.WriteString("\n")
	for i, r := range b.cfg.Routes {
		line([]string{"Routes", ""}[min(i, 1)], fmt.Sprintf("%-14s %-9s %s", r.Name, methods(r), fullPath(b.cfg.HTTP.BasePath, r.Path)))
	}
	if demonstrates(b.cfg) {
		out.WriteString("\n")
		line("Demo", "publishes to demo.> on that NATS, a few messages a second")
	}
	out.WriteString("\n  Ctrl-C drains and ends, a second one ends at once.\n\n")
	_, _ = io.WriteString(b.w, out.String())
}

// commands are the lines to paste: the first stream, then a stream and what publishes to it, over HTTP and over NATS, then a stream that
// goes on where it was left. What is pasted together must be seen together.
func (b banner) commands(base string, line func(label, text string)) {
	stream, publish := belongTogether(b.cfg.Routes)
	first := firstRoute(b.cfg.Routes, func(r config.Route) bool { return len(r.Sources) > 0 })
	if stream == nil {
		// Nothing can be posted to it, but NATS reaches it.
		stream = firstRoute(b.cfg.Routes, func(r config.Route) bool { return len(follows(r)) > 0 })
		publish = firstRoute(b.cfg.Routes, func(r config.Route) bool { return r.Publish != nil })
	}
	label := "Stream"
	for i, r := range []*config.Route{first, stream} {
		if r != nil && (i == 0 || r != first) {
			line(label, fmt.Sprintf("curl -N '%s'", base+b.target(*r)))
			label = ""
		}
	}
	label = "Publish"
	if publish != nil {
		line(label, fmt.Sprintf("curl -i -d %s '%s'", hello, base+fill(fullPath(b.cfg.HTTP.BasePath, publish.Path), *publish)))
		label = ""
	}
	if stream != nil {
		line(label, fmt.Sprintf("nats -s %s pub '%s' %s", b.natsURL, toPublish(*stream, publish), hello))
	}
	if kept := firstRoute(b.cfg.Routes, resumable); kept != nil {
		url := base + b.target(*kept)
		line("Resume", fmt.Sprintf(`id=$(curl -sNm2 '%s' | sed -n 's/^id: //p' | tail -n1); sleep 3; curl -N -H "Last-Event-ID: $id" '%s'`, url, url))
	}
}

// tokens are lines for callers with tokens of this machine's key, where they are accepted: a private stream, and a token for the console.
func (b banner) tokens(base string, line func(label, text string)) {
	private := firstRoute(b.cfg.Routes, func(r config.Route) bool { return r.AuthRequired && len(r.Sources) > 0 })
	command := tokenCommand(b.cfg, b.name)
	if private == nil || command == "" {
		return
	}
	command += tokenFlags(*private)
	line("Private", fmt.Sprintf(`curl -N -H "Authorization: Bearer $(%s)" '%s'`, command, base+b.target(*private)))
	if b.cfg.Console {
		line("", command+" -for 2m   makes one to paste into the console")
	}
}

// tokenCommand is what makes a token that this process accepts, or "" where none of this machine's are.
func tokenCommand(cfg config.Config, name string) string {
	if !slices.ContainsFunc(cfg.Auth.Issuers, func(i config.Issuer) bool { return i.Issuer == config.DevIssuer }) {
		return ""
	}
	return name + " token -sub alice"
}

// tokenFlags are what a token needs for the route, beside a subject.
func tokenFlags(r config.Route) string {
	var flags strings.Builder
	for _, rule := range r.AuthRequire {
		value := rule.Equals + rule.Contains
		if len(rule.In) > 0 {
			value = rule.In[0]
		}
		fmt.Fprintf(&flags, " -claim '%s=%s'", rule.Claim, fill(value, r))
	}
	for _, s := range r.Sources {
		if len(s.Allow) > 0 {
			fmt.Fprintf(&flags, ` -permissions '{"sub":{"allow":["%s"]}}'`, s.Allow[0])
		}
	}
	return flags.String()
}

// resumable says whether NATS keeps everything that the route's stream has, so that who comes back misses nothing.
func resumable(r config.Route) bool {
	for _, s := range r.Sources {
		if s.Type != "stream" {
			return false
		}
	}
	return len(r.Sources) > 0 && r.Resume.Enabled
}

// belongTogether finds a stream that shows what is posted to an entrance: on one route, else on two.
func belongTogether(routes []config.Route) (stream, publish *config.Route) {
	for i := range routes {
		if shows(routes[i], routes[i]) {
			return &routes[i], &routes[i]
		}
	}
	for p := range routes {
		for s := range routes {
			if shows(routes[s], routes[p]) {
				return &routes[s], &routes[p]
			}
		}
	}
	return nil, nil
}

// shows says whether the stream, with examples for its placeholders, has what is posted to publish with examples for its own.
func shows(stream, publish config.Route) bool {
	if publish.Publish == nil {
		return false
	}
	to := fill(publish.Publish.Subject, publish)
	for _, followed := range follows(stream) {
		if subject.Covers(followed, to) {
			return true
		}
	}
	return false
}

// follows are the subjects of the route's stream as its line opens it. The keys of a bucket are none: they are not published to.
func follows(r config.Route) []string {
	var list []string
	for _, s := range r.Sources {
		switch {
		case s.Type == "kv":
		case s.Subject != "":
			list = append(list, fill(s.Subject, r))
		case len(s.Allow) > 0:
			list = append(list, s.Allow[0])
		}
	}
	return list
}

// toPublish is a subject that the stream follows: the entrance's, where that is one.
func toPublish(stream config.Route, publish *config.Route) string {
	if publish != nil && shows(stream, *publish) {
		return fill(publish.Publish.Subject, *publish)
	}
	return strings.NewReplacer("*", "demo", ">", "demo").Replace(follows(stream)[0])
}

func firstRoute(routes []config.Route, is func(config.Route) bool) *config.Route {
	for i := range routes {
		if is(routes[i]) {
			return &routes[i]
		}
	}
	return nil
}

func methods(r config.Route) string {
	switch {
	case r.Publish == nil:
		return http.MethodGet
	case len(r.Sources) == 0:
		return http.MethodPost
	}
	return http.MethodGet + " " + http.MethodPost
}

// target is the path of the route's stream with examples in it, and a subject where the client names them.
func (b banner) target(r config.Route) string {
	path := fill(fullPath(b.cfg.HTTP.BasePath, r.Path), r)
	for _, s := range r.Sources {
		if len(s.Allow) > 0 {
			return path + "?subject=" + s.Allow[0]
		}
	}
	return path
}

// fill puts examples into the placeholders of a path or a subject.
func fill(template string, r config.Route) string {
	return placeholder.ReplaceAllStringFunc(template, func(p string) string {
		name := p[1 : len(p)-1]
		if value := example(name, r.Params[name]); value != "" {
			return value
		}
		return p
	})
}
