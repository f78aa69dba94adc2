package gateway

import (
	"bytes"
	"encoding/json"
	"net/http"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// object is a JSON object of a description. Its members are written in the order of their names, so that a description is always the same text.
type object = map[string]any

// OpenAPI describes the routes as clients see them, in OpenAPI 3.2 (spec.openapis.org/oas/v3.2.0), whose itemSchema says what a stream
// consists of. It names no NATS subject but those that clients may name themselves. version is that of the program.
func (s *Server) OpenAPI(version string) []byte {
	endpoints, _ := gather(s.current.Load().routes) // New has reported what cannot go together
	d := describer{s: s, responses: object{"Finished": object{
		"description": "The stream has ended, and this client has seen its end. An EventSource stays away for good."}}}
	paths := object{}
	for _, e := range endpoints {
		paths[strings.TrimSuffix(e.pattern, "{$}")] = d.path(e)
	}
	document := object{
		"openapi": "3.2.0",
		"info": object{"title": "headgate", "version": version,
			"description": "Streams of server-sent events, and what may be published. docs/protocol.md of headgate says all of it in words."},
		"servers": []any{object{"url": "/"}},
		"paths":   paths,
		"components": object{
			"schemas": schemas(), "securitySchemes": d.schemes(), "responses": d.responses,
		},
	}
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	if err := e.Encode(document); err != nil {
		panic("gateway: a description does not marshal: " + err.Error())
	}
	return b.Bytes()
}

// describer describes the routes of a server.
type describer struct {
	s         *Server
	responses object // of the components: refusals that operations have in common
}

// share puts a response among the components, once however many operations have it, and refers to it.
func (d describer) share(status string, response object) object {
	for n := 1; ; n++ {
		name := "Refused" + status
		if n > 1 {
			name += "." + strconv.Itoa(n)
		}
		if old, taken := d.responses[name]; !taken {
			d.responses[name] = response
		} else if !reflect.DeepEqual(old, response) {
			continue
		}
		return object{"$ref": "#/components/responses/" + name}
	}
}

// path is the path item of an endpoint (section 4.9).
func (d describer) path(e *endpoint) object {
	item := object{}
	if rt := e.stream; rt != nil {
		item["get"], item["head"] = d.stream(rt, http.MethodGet), d.stream(rt, http.MethodHead)
	}
	if rt := e.entry; rt != nil {
		item["post"] = d.publish(rt)
	}
	item["parameters"] = pathParameters(e)
	if len(item["parameters"].([]any)) == 0 {
		delete(item, "parameters")
	}
	return item
}

// tokenForm is what a path parameter may be anyway, see subject.ValidToken.
const tokenForm = `^[^\s.*>\u0000-\u001f\u007f]+$`

var pathParameter = regexp.MustCompile(`\{([A-Za-z_][A-Za-z0-9_]*)\}`)

// pathParameters are those of the path. A route's own pattern is given as a schema where every dialect of regular expressions reads it in the
// same way, and else in words.
func pathParameters(e *endpoint) []any {
	list := []any{}
	for _, m := range pathParameter.FindAllStringSubmatch(e.pattern, -1) {
		schema := object{"type": "string", "minLength": 1, "maxLength": 128, "pattern": tokenForm}
		p := object{"name": m[1], "in": "path", "required": true, "schema": schema}
		for _, rt := range []*route{e.stream, e.entry} {
			if rt == nil {
				continue
			}
			i := slices.IndexFunc(rt.params, func(p param) bool { return p.name == m[1] })
			switch {
			case i < 0:
			case portable(rt.params[i].text):
				schema["allOf"] = append(anys(schema["allOf"]), object{"pattern": "^(?:" + rt.params[i].text + ")$"})
			default:
				p["description"] = "The whole value matches " + rt.params[i].text + " (RE2)."
			}
		}
		list = append(list, p)
	}
	return list
}

func anys(v any) []any { list, _ := v.([]any); return list }

// portable says whether ECMA-262, which JSON Schema uses, reads a regular expression as RE2 does.
func portable(pattern string) bool {
	return !regexp.MustCompile(`\(\?[^:]|\\[QEAzpPCa]|\[\[:|\(\?P`).MatchString(pattern)
}

// security are the ways in which a request may show a token, or nothing where the route needs none (section 4.30).
func (d describer) security(rt *route) []any {
	if !rt.identified {
		return []any{}
	}
	list := []any{object{"bearer": []any{}}}
	if d.s.cfg.Auth.Cookie != "" {
		list = append(list, object{"cookie": []any{}})
	}
	if d.s.cfg.Auth.QueryParameter != "" {
		list = append(list, object{"query": []any{}})
	}
	if !rt.required {
		list = append(list, object{})
	}
	return list
}

// schemes are the security schemes (section 4.27).
func (d describer) schemes() object {
	all := object{}
	if d.s.cfg.Auth.Mode != "jwt" {
		return all
	}
	all["bearer"] = object{"type": "http", "scheme": "bearer", "bearerFormat": "JWT",
		"description": "RFC 6750, section 2.1. A browser's EventSource cannot send it; fetch can."}
	if name := d.s.cfg.Auth.Cookie; name != "" {
		all["cookie"] = object{"type": "apiKey", "in": "cookie", "name": name,
			"description": "Counts only for requests of pages of the same host, or of an origin that the route allows with credentials."}
	}
	if name := d.s.cfg.Auth.QueryParameter; name != "" {
		all["query"] = object{"type": "apiKey", "in": "query", "name": name, "description": "URLs are kept in logs and histories: better the others."}
	}
	return all
}

// refusals adds a response for every status that the kinds have, with the problem documents that may come with it.
func (d describer) refusals(responses object, kinds []kind) {
	byStatus := map[int][]kind{}
	for _, k := range kinds {
		status := problems[k].status
		byStatus[status] = append(byStatus[status], k)
	}
	for status, kinds := range byStatus {
		var titles []string
		var types []any
		for _, k := range kinds {
			titles = append(titles, problems[k].title)
			types = append(types, problemType+problems[k].slug)
		}
		r := object{"description": strings.Join(titles, ". ") + ".", "content": object{"application/problem+json": object{"schema": object{
			"allOf": []any{ref("Problem"), object{"properties": object{"type": object{"enum": types}, "status": object{"const": status}}}}}}}}
		headers := object{}
		switch status {
		case http.StatusUnauthorized:
			headers["WWW-Authenticate"] = header("RFC 6750, section 3", true)
		case http.StatusForbidden:
			headers["WWW-Authenticate"] = header("RFC 6750, section 3, where a better token would help", false)
		case http.StatusMethodNotAllowed:
			headers["Allow"] = header("The methods there are", true)
		case http.StatusTooManyRequests, http.StatusServiceUnavailable:
			headers["Retry-After"] = object{"description": "Seconds, random from SSE_OVERLOAD_RETRY on", "required": true, "schema": object{"type": "integer", "minimum": 1}}
		}
		if len(headers) > 0 {
			r["headers"] = headers
		}
		responses[strconv.Itoa(status)] = d.share(strconv.Itoa(status), r)
	}
}

func header(description string, always bool) object {
	return object{"description": description, "required": always, "schema": object{"type": "string"}}
}

func ref(schema string) object { return object{"$ref": "#/components/schemas/" + schema} }
