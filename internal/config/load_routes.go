package config

import (
	"fmt"
	"slices"
	"strings"

	"headgate/internal/subject"
)

const smallestExample = `version: 1
routes:
  - name: prices
    path: /v1/prices/{symbol}
    auth: {required: false}
    source: {type: core, subject: "prices.{symbol}"}`

// loadRoutes gives the routes of the file, then the one of SUBJECTS_ALLOW, all defaults filled in.
func loadRoutes(c *Config, read reader, r *report) []Route {
	var routes []Route
	b := &builder{c: c, read: read}
	switch {
	case c.RoutesFile != "":
		text, err := read(c.RoutesFile)
		if err != nil {
			r.fail(unreadable("ROUTES_FILE", c.RoutesFile, err))
			return nil
		}
		c.RoutesText = text
		routes = b.file(c.RoutesFile, text, r)
	case len(c.SubjectsAllow) == 0 && c.Dev:
		routes = b.file("dev_routes.yaml", devRoutes, r)
		if c.Auth.Mode == "jwt" {
			routes = b.file("dev_private.yaml", devPrivate, r) // and those before
		}
		for i := range routes {
			routes[i].Line = 0
		}
	case len(c.SubjectsAllow) == 0 && !r.about("ROUTES_FILE", "SUBJECTS_ALLOW"):
		r.fail(Problem{Message: "there are no routes: nobody could read anything",
			Expected: "ROUTES_FILE, a file of routes, or SUBJECTS_ALLOW, subjects that everybody may name on /events",
			Example:  smallestExample, Hint: "headgate -dev runs without any of them"})
	}
	if len(c.SubjectsAllow) > 0 {
		routes = append(routes, subjectsRoute(c, routes, r))
	}
	return routes
}

// The route that SUBJECTS_ALLOW makes.
const (
	subjectsName = "events"
	subjectsPath = "/events"
)

// subjectsRoute adds the route /events beside those of the file. A file that has it already is a contradiction, not a choice.
func subjectsRoute(c *Config, routes []Route, r *report) Route {
	given := strings.Join(c.SubjectsAllow, ",")
	for _, o := range routes {
		if o.Name == subjectsName || o.Path == subjectsPath {
			r.fail(Problem{Variable: "SUBJECTS_ALLOW", Value: given,
				Message: fmt.Sprintf("makes the route %s on %s, and the routes file has it too (%s on %s, line %d)", subjectsName, subjectsPath, o.Name, o.Path, o.Line),
				Hint:    "drop SUBJECTS_ALLOW, or rename the route in the file"})
		}
	}
	for _, s := range c.SubjectsAllow {
		message := patternProblem(s, false)
		if message != "" {
			r.fail(Problem{Variable: "SUBJECTS_ALLOW", Value: given, Message: message, Expected: "subjects or patterns, comma separated, whose first token is literal",
				Example: "SUBJECTS_ALLOW=feed.>,prices.*"})
		}
	}
	route := c.routeDefaults()
	route.Name, route.Path = subjectsName, subjectsPath
	route.Sources = []Source{{Name: subjectsName, Type: "core", Allow: slices.Clone(c.SubjectsAllow)}}
	return route
}

// patternProblem says what is wrong with a subject or pattern that the operator wrote; "" is nothing.
func patternProblem(s string, unsafeFirst bool) string {
	if err := subject.Valid(s); err != nil {
		return err.Error()
	}
	if subject.Internal(s) {
		return fmt.Sprintf("subject %q: subjects that start with $ or _ are NATS's own and never reach clients", s)
	}
	if first, _ := subject.Token(s, 0); (first == "*" || first == ">") && !unsafeFirst {
		return fmt.Sprintf("subject %q: the first token is a wildcard, which would open every subject", s)
	}
	return ""
}
