package gateway

import (
	"net/http"
	"slices"
	"strings"
)

// stream is the operation GET or HEAD of a route (section 4.10).
func (d describer) stream(rt *route, method string) object {
	responses := object{"200": object{"description": "The head of the stream, without the stream.", "headers": streamFields}}
	id, summary := "head_"+rt.name, "The head of the stream "+rt.name+": the checks of a GET that need no NATS"
	if method == http.MethodGet {
		id, summary = "stream_"+rt.name, "The stream "+rt.name
		responses["200"] = object{"description": "The stream. Its first event is $ready; where $end is the first, the server is overloaded and says when to come back.",
			"headers": streamFields, "content": object{eventStream: object{"itemSchema": object{"anyOf": d.items(rt)}}}}
		if rt.format.EndField != "" {
			responses["204"] = object{"$ref": "#/components/responses/Finished"}
		}
	}
	d.refusals(responses, d.streamRefusals(rt, method))
	return object{"operationId": id, "summary": summary, "parameters": d.streamParameters(rt), "responses": responses, "security": d.security(rt)}
}

// streamFields are the fields of streamHeader.
var streamFields = object{
	"Cache-Control":     header("no-store, no-transform", true),
	"X-Accel-Buffering": header("no: nginx passes events on one by one", true),
}

// streamParameters are the query and the fields that a stream request is read for (section 4.12).
func (d describer) streamParameters(rt *route) []any {
	list := []any{}
	for _, src := range rt.sources {
		if src.clientNamed() {
			list = append(list, object{"name": "subject", "in": "query", "required": true, "explode": true,
				"description": "Subjects, with wildcards or without, that are covered by one of: " + strings.Join(src.allow, ", "),
				"schema":      object{"type": "array", "minItems": 1, "maxItems": d.s.cfg.Limit.SubjectsPerStream, "items": object{"type": "string", "minLength": 1}}})
		}
	}
	if rt.resume {
		const what = "Where to go on: the id of the last event that the client has. It never refuses a request; one that says nothing is answered with a $gap."
		list = append(list, object{"name": "Last-Event-ID", "in": "header", "description": what, "schema": object{"type": "string"}},
			object{"name": "last-event-id", "in": "query", "description": "The same, for a first request. The header field wins.", "schema": object{"type": "string"}})
	}
	if rt.dated {
		list = append(list, object{"name": "since", "in": "query", "description": "For a first request: begin with the messages since then, a time (RFC 3339) or how long ago (90s, 1h30m).",
			"schema": object{"type": "string"}, "examples": object{"ago": object{"value": "1h30m"}, "time": object{"value": "2026-01-02T03:04:05Z"}}})
	}
	return list
}

// streamRefusals are the problems that a stream request can meet.
func (d describer) streamRefusals(rt *route, method string) []kind {
	kinds := []kind{notFound, methodNotAllowed, notAcceptable, bodyNotAllowed, queryInvalid, internal}
	if strings.Contains(rt.path, "{") {
		kinds = append(kinds, parameterInvalid)
	}
	if d.s.cfg.Dev {
		kinds = append(kinds, hostNotAllowed)
	}
	if slices.ContainsFunc(rt.sources, source.clientNamed) {
		kinds = append(kinds, subjectMissing, subjectInvalid, subjectTooMany, subjectForbidden)
	}
	if kinds = append(kinds, sinceUnsupported); rt.dated {
		kinds[len(kinds)-1] = sinceInvalid
	}
	if method == http.MethodGet {
		kinds = append(kinds, pipelined)
	}
	kinds = append(kinds, d.identityRefusals(rt)...)
	if rt.identified {
		kinds = append(kinds, notReadable)
	}
	if rt.overload == overloadRetry && method == http.MethodGet {
		return kinds // what follows is a 200 then
	}
	kinds = append(kinds, rateAddress, capAddress, rateProcess, capProcess, draining)
	if method == http.MethodGet {
		kinds = append(kinds, descriptors, upstream, sourceRefused)
	}
	if rt.identified {
		kinds = append(kinds, rateUser, capUser, keysAway)
	}
	return kinds
}

// identityRefusals are those of finding out who asks.
func (d describer) identityRefusals(rt *route) []kind {
	if !rt.identified {
		return nil
	}
	kinds := []kind{tokenMissing, tokenInvalid, tokenAmbiguous, claimsForbidden}
	if d.s.revoked != nil || d.s.cfg.Control {
		kinds = append(kinds, kicked)
	}
	if d.s.cfg.Auth.Cookie != "" {
		kinds = append(kinds, cookieCrossOrigin)
	}
	return kinds
}

// publish is the operation POST of a route.
func (d describer) publish(rt *route) object {
	kinds := append([]kind{notFound, methodNotAllowed, crossOrigin, bodyTooLarge, bodyUnreadable, bodyTimeout, rateAddress, rateRoute, upstream, publishRefused, notStored, internal},
		d.identityRefusals(rt)...)
	if strings.Contains(rt.path, "{") {
		kinds = append(kinds, parameterInvalid)
	}
	if rt.identified {
		kinds = append(kinds, notPublishable, rateUser, keysAway)
	}
	if rt.identified && d.s.cfg.Auth.QueryParameter != "" {
		kinds = append(kinds, queryInvalid)
	}
	if d.s.cfg.Dev {
		kinds = append(kinds, hostNotAllowed)
	}
	responses := object{
		"200": object{"description": "A stream has stored the message.", "content": object{"application/json": object{"schema": ref("Stored")}}},
		"202": object{"description": "NATS has taken the message. No stream is known to store it."},
	}
	d.refusals(responses, kinds)
	parameters := []any{}
	for _, name := range rt.publish.headers {
		if !strings.EqualFold(name, "Content-Type") { // section 4.12.2: the media type of the content says it
			parameters = append(parameters, object{"name": name, "in": "header", "description": "Becomes a header of the message.", "schema": object{"type": "string"}})
		}
	}
	return object{"operationId": "publish_" + rt.name, "summary": "Publish the body as a message", "parameters": parameters, "responses": responses, "security": d.security(rt),
		"requestBody": object{"required": false, "content": object{"*/*": object{"schema": object{"maxLength": rt.publish.maxBytes}}}}}
}
