package main

import (
	"net/http"
	"path"
	"regexp"
	"strings"

	"headgate/console"
	"headgate/internal/config"
)

// examples are values for path parameters, so that the first stream is one click away. A parameter gets the first one that its
// pattern takes.
var examples = []struct{ param, value string }{
	{"symbol", "ACME"}, {"user", "alice"}, {"kind", "message"}, {"room", "lobby"}, {"region", "eu"}, {"env", "prod"}, {"id", "1"}, {"", "demo"}, {"", "DEMO"}, {"", "1"}, {"", "a"}, {"", "A"},
}

var placeholder = regexp.MustCompile(`\{([^}]+)\}`)

// page is the console, or nil when it is switched off. Only -dev gives it the publish box. natsURL is where `nats pub` works, and name is
// the program in a shell.
func page(cfg config.Config, natsURL, name string) http.Handler {
	if !cfg.Console {
		return nil
	}
	routes := make([]console.Route, 0, len(cfg.Routes))
	for _, r := range cfg.Routes {
		routes = append(routes, pageRoute(r, cfg.HTTP.BasePath, cfg.Dev))
	}
	return console.Handler(console.Options{
		Routes: routes, Publish: cfg.Dev, Insecure: cfg.Dev, Identity: cfg.Auth.Mode == "jwt", TokenCommand: tokenCommand(cfg, name),
		NATSURL: natsURL, Version: versionText(),
	})
}

// plainPage is that of a gateway that is not -dev.
func plainPage(cfg config.Config) http.Handler { return page(cfg, "", "") }

func pageRoute(r config.Route, base string, dev bool) console.Route {
	out := console.Route{Name: r.Name, Path: fullPath(base, r.Path), Stream: len(r.Sources) > 0, Required: r.AuthRequired, IDs: r.Resume.Enabled}
	for _, m := range placeholder.FindAllStringSubmatch(r.Path, -1) {
		p := console.Param{Name: m[1], Pattern: r.Params[m[1]]}
		if dev {
			p.Example = example(m[1], p.Pattern)
		}
		out.Params = append(out.Params, p)
	}
	if !strings.Contains(r.Event, "{") {
		out.Event = r.Event
	}
	out.Since = len(r.Sources) > 0
	for _, s := range r.Sources {
		out.Allow = append(out.Allow, s.Allow...)
		out.Since = out.Since && s.Type == "stream"
		switch {
		case s.Type == "kv":
			out.Subjects = append(out.Subjects, "$KV."+s.Stream+"."+s.Subject) // what a put publishes to
		case s.Subject != "":
			out.Subjects = append(out.Subjects, s.Subject)
		}
	}
	if r.Publish != nil {
		out.Publish, out.MaxBytes = r.Publish.Subject, int64(r.Publish.MaxBytes)
	}
	return out
}

// fullPath is the route's path as clients see it.
func fullPath(base, route string) string {
	full := path.Join("/", base, route)
	if strings.HasSuffix(route, "/") && full != "/" {
		full += "/"
	}
	return full
}

// example is a value for a parameter, or "" when none of ours fits.
func example(param, pattern string) string {
	if pattern == "" {
		pattern = ".*"
	}
	re, err := regexp.Compile(`^(?:` + pattern + `)$`)
	if err != nil {
		return ""
	}
	for _, e := range examples {
		if (e.param == "" || e.param == param) && re.MatchString(e.value) {
			return e.value
		}
	}
	return ""
}
