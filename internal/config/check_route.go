package config

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"headgate/internal/sse"
	"headgate/internal/subject"
)

// checkRoute holds one route against what can be said about it alone. segments is nil when its path is wrong.
func (b *builder) checkRoute(route *Route, y *val[routeYAML], segments []segment) {
	y1 := &y.v
	if y1.Source.said() && len(y1.Sources) > 0 {
		b.d.fail(y1.Source.at, Problem{Message: "source and sources in one route", Hint: "put all of them into sources"})
	}
	if len(route.Sources) == 0 && route.Publish == nil && !y.bad && !y1.Source.bad && !y1.Publish.bad {
		b.d.fail(y.at, Problem{Message: "the route has neither a source nor publish", Example: `source: {type: core, subject: "prices.{symbol}"}`})
	}
	before, used := len(b.d.r.problems), map[string]bool{}
	templates := b.checkSources(route, y1, segments, used)
	b.checkPublish(route, y1, segments, used)
	b.checkParams(route, y1, segments)
	b.checkEvent(y1, templates)
	b.checkAuth(route, y1)
	b.checkRequire(route, y1, segments, used)
	b.checkShared(route, &y1.sharedYAML)
	b.checkSnapshot(route, y1)
	b.checkResume(route, y1)
	b.checkEnd(route, y1)
	b.checkLimits(route, y1)
	if len(y1.Headers) > 0 && y1.Headers[0].said() && route.Envelope == "none" {
		b.d.fail(y1.Headers[0].at, Problem{Message: "headers: only an envelope can show them", Hint: "add envelope: headgate"})
	}
	if len(b.d.r.problems) == before {
		b.checkUsed(route, y1, segments, used)
		b.checkIssued(route, y1, used)
	}
}

// template checks a subject with placeholders and remembers which parameters of the path it uses.
func (b *builder) template(text val[string], what string, route *Route, segments []segment, used map[string]bool) (subject.Template, bool) {
	fail := func(p Problem) (subject.Template, bool) {
		p.Message = what + ": " + p.Message
		b.d.fail(text.at, p)
		return subject.Template{}, false
	}
	t, err := subject.ParseTemplate(text.v)
	if err != nil {
		return fail(Problem{Message: err.Error()})
	}
	if subject.Internal(text.v) {
		return fail(Problem{Message: patternProblem(t.Pattern(), true)})
	}
	ok := true
	if !t.LiteralFirst() && !route.UnsafeFirstToken {
		message := fmt.Sprintf("subject %q: the first token is not literal, so a request could reach every subject", text.v)
		fail(Problem{Message: message, Hint: firstTokenHint(message)})
		ok = false
	}
	return t, b.placeholders(t, text.at, what, route, segments, used) && ok
}

// placeholders checks that the path has every placeholder of a template.
func (b *builder) placeholders(t subject.Template, at pos, what string, route *Route, segments []segment, used map[string]bool) bool {
	ok := true
	for _, name := range t.Placeholders() {
		used[name] = true
		switch {
		case strings.HasPrefix(name, "claims.") && b.nobodyKnown():
			b.d.fail(at, Problem{Message: what + ": {" + name + "}, but with AUTH_MODE=none nobody has claims", Hint: "say AUTH_MODE=jwt"})
			ok = false
		case strings.HasPrefix(name, "claims.") && !route.AuthRequired:
			b.d.fail(at, Problem{Message: what + ": {" + name + "}, but with auth.required: false callers may have no claims",
				Hint: "drop auth: {required: false}"})
			ok = false
		case strings.HasPrefix(name, "claims."):
		case segments != nil && !hasParam(segments, name):
			b.d.fail(at, Problem{Message: fmt.Sprintf("%s: {%s} is not a placeholder of the path %s", what, name, route.Path),
				Hint: nearestHint(name, paramNames(segments))})
			ok = false
		}
	}
	return ok
}

func hasParam(segments []segment, name string) bool {
	return slices.Contains(paramNames(segments), name)
}

func paramNames(segments []segment) []string {
	var names []string
	for _, s := range segments {
		if s.wild() {
			names = append(names, s.name)
		}
	}
	return names
}

// checkPublish checks the entrance: a literal subject, and header fields that cannot harm NATS or give away who the client is.
func (b *builder) checkPublish(route *Route, y *routeYAML, segments []segment, used map[string]bool) {
	if !y.Publish.said() {
		return
	}
	s := y.Publish.v.Subject
	if s.said() {
		if strings.ContainsAny(s.v, "*>") {
			b.d.fail(s.at, Problem{Message: "publish.subject: a message has one subject, without wildcards"})
		} else {
			b.template(s, "publish.subject", route, segments, used)
		}
	}
	for _, h := range y.Publish.v.Headers {
		if message := relayable(h.v); h.said() && message != "" {
			b.d.fail(h.at, Problem{Message: "publish.headers: " + quoteShort(h.v) + " " + message})
		}
	}
	if b.nobodyKnown() && !b.c.Dev && (!route.AuthRequiredSaid || route.AuthRequired) {
		b.d.fail(y.Publish.at, Problem{Message: "with AUTH_MODE=none everybody could publish here",
			Hint: "if that is meant, the route itself must say: auth: {required: false} (in defaults it does not count)"})
	}
}

// headerName is a token of RFC 9110, section 5.6.2.
var headerName = regexp.MustCompile("^[A-Za-z0-9!#$%&'*+.^_`|~-]+$")

// private header fields, and those that mean something to the connection only (RFC 9110, section 7.6.1).
var unrelayed = []string{"authorization", "proxy-authorization", "cookie", "host", "connection", "keep-alive", "te", "trailer",
	"transfer-encoding", "upgrade", "content-length"}

// relayable says why a request header field cannot become a message header; "" is no reason.
func relayable(name string) string {
	low := strings.ToLower(name)
	switch {
	case !headerName.MatchString(name):
		return "is not a header name"
	case slices.Contains(unrelayed, low):
		return "must not leave the request"
	case strings.HasPrefix(low, "nats-") && low != "nats-msg-id":
		return "is an order to NATS (it could delete a whole stream); of those only Nats-Msg-Id is allowed"
	}
	return ""
}

// checkParams checks the patterns of the path's placeholders.
func (b *builder) checkParams(route *Route, y *routeYAML, segments []segment) {
	for _, name := range slices.Sorted(maps.Keys(y.Params)) {
		p := y.Params[name].Pattern
		if !p.said() {
			continue
		}
		if segments != nil && !hasParam(segments, name) {
			b.d.fail(p.at, Problem{Message: fmt.Sprintf("params: {%s} is not a placeholder of the path %s", name, route.Path),
				Hint: nearestHint(name, paramNames(segments))})
		}
		_, err := regexp.Compile(p.v)
		if err == nil {
			_, err = regexp.Compile("^(?:" + p.v + ")$") // as it is used: an open \Q would swallow the end
		}
		if err != nil {
			b.d.fail(p.at, Problem{Message: "params." + name + ".pattern: " + strings.TrimPrefix(err.Error(), "error parsing regexp: "),
				Expected: "a regular expression of RE2 (https://github.com/google/re2/wiki/Syntax)"})
			continue
		}
		if route.Params == nil {
			route.Params = map[string]string{}
		}
		route.Params[name] = p.v
	}
}

// checkUsed warns of placeholders of the path that change nothing.
func (b *builder) checkUsed(route *Route, y *routeYAML, segments []segment, used map[string]bool) {
	for _, name := range paramNames(segments) {
		if !used[name] && len(route.Sources) > 0 {
			b.d.r.warn(fmt.Sprintf("%s:%d:%d", b.d.file, y.Path.at.line, y.Path.at.column), "no subject uses the placeholder {"+name+"}: every value gets the same events")
		}
	}
}

// checkIssued warns where it matters what a claim says, and not which of several issuers says it.
func (b *builder) checkIssued(route *Route, y *routeYAML, used map[string]bool) {
	matters := len(route.AuthRequire) > 0
	for name := range used {
		matters = matters || strings.HasPrefix(name, "claims.")
	}
	said := used["claims.iss"] || slices.ContainsFunc(route.AuthRequire, func(r Require) bool { return r.Claim == "iss" })
	if len(b.c.Auth.Issuers) > 1 && matters && !said {
		b.d.r.warn(fmt.Sprintf("%s:%d:%d", b.d.file, y.Path.at.line, y.Path.at.column),
			"a claim means the same here from every issuer, so each can name the users of the others; say whose is meant: auth: {require: {iss: …}}")
	}
}

var subjectToken = regexp.MustCompile(`^\{subject\[([0-9]{1,3})\]\}$`)

// checkEvent checks a fixed type, or that every source's subjects have the token that names it.
func (b *builder) checkEvent(y *routeYAML, patterns []string) {
	e := y.Event.Type
	if !e.said() {
		return
	}
	m := subjectToken.FindStringSubmatch(e.v)
	if m == nil {
		if strings.ContainsAny(e.v, "{}") {
			b.d.fail(e.at, Problem{Message: "event.type: " + quoteShort(e.v) + " is not understood", Expected: "a fixed type, or {subject[n]} alone", Example: `"{subject[2]}"`})
		} else if !sse.ValidType(e.v) {
			b.d.fail(e.at, Problem{Message: "event.type: " + quoteShort(e.v) + " cannot be an event's type", Expected: eventTypeForm})
		}
		return
	}
	n, _ := strconv.Atoi(m[1])
	for _, p := range patterns {
		if tokens := strings.Count(p, ".") + 1; !strings.HasSuffix(p, ">") && n >= tokens {
			b.d.fail(e.at, Problem{Message: fmt.Sprintf("event.type: there is no token %d in %s", n, p), Expected: fmt.Sprintf("{subject[0]} to {subject[%d]}", tokens-1)})
			return
		}
	}
}

// checkAuth refuses routes that demand identities while there are none.
func (b *builder) checkAuth(route *Route, y *routeYAML) {
	if !b.nobodyKnown() || !route.AuthRequired {
		return
	}
	if at := y.Auth.Required.at; at.line > 0 {
		b.d.fail(at, needsIdentity)
	}
}

// nobodyKnown says whether the routes are to be checked as if there were no identities: as with none, so where AUTH_MODE is wrong or
// missing, for none is what will be written there.
func (b *builder) nobodyKnown() bool { return b.c.Auth.Mode != "jwt" }

var needsIdentity = Problem{Message: "auth.required: true, but with AUTH_MODE=none nobody can say who he is",
	Hint: "say auth: {required: false} if everybody may use the route"}
