package gateway

import (
	"slices"

	"headgate/internal/delivery"
	"headgate/internal/flow"
	"headgate/internal/gap"
	"headgate/internal/sse"
)

// items are the blocks of which a stream of the route may consist (section 4.14.3, Sequential Media Types): those of headgate, and the
// route's events.
func (d describer) items(rt *route) []any {
	list := []any{ref("Retry"), ref("Ready"), ref("Gap"), ref("End")}
	state, replay := false, false
	for _, src := range rt.sources {
		state = state || src.spec.Kind == flow.KV || src.spec.Initial.Mode != flow.NoSnapshot
		replay = replay || rt.resume
	}
	if state {
		list = append(list, ref("Snapshot"))
	}
	if replay {
		list = append(list, ref("Live"), ref("Position"))
	}
	if rt.identified {
		list = append(list, ref("Expiring"))
	}
	if name := d.s.cfg.SSE.HeartbeatEvent; name != "" {
		list = append(list, event(name, object{"const": "{}"}))
	}
	return append(list, routeEvent(rt))
}

// event is the schema of one block (HTML Living Standard, section 9.2.6): of a fixed type, with this data.
func event(name string, data object) object {
	return object{"type": "object", "required": []any{"event", "data"},
		"properties": object{"event": object{"const": name}, "data": data, "id": object{"type": "string", "maxLength": 256}}}
}

// jsonText is text that is JSON.
func jsonText(schema object) object {
	return object{"type": "string", "contentMediaType": "application/json", "contentSchema": schema}
}

// routeEvent is an event that comes from a message.
func routeEvent(rt *route) object {
	data := routeData(rt)
	if name := rt.format.Event; name != "" && name != sse.Message {
		return event(name, data)
	}
	e := event("", data)
	e["required"] = []any{"data"}
	e["description"] = "Without event, its type is message."
	if !slices.ContainsFunc(rt.sources, func(src source) bool { return src.spec.Kind != flow.KV }) && rt.format.Token < 0 && rt.format.Event == "" {
		e["required"] = []any{"event", "data"}
		e["description"] = "What happened to the key."
		e["properties"].(object)["event"] = object{"enum": []any{"put", "delete", "purge", "expire"}}
		return e
	}
	e["properties"].(object)["event"] = object{"type": "string", "maxLength": sse.MaxType, "not": object{"pattern": `^(\$|open$|error$)`}}
	return e
}

// routeData is the data of such an event, by the route's data mode and envelope.
func routeData(rt *route) object {
	var value object
	switch rt.format.Data {
	case "json":
		value = object{} // anything
	case "base64":
		value = object{"type": []any{"string", "null"}, "contentEncoding": "base64"}
	default:
		value = object{"type": []any{"string", "null"}}
	}
	switch rt.format.Envelope {
	case "headgate":
		return jsonText(envelopeSchema(rt, value))
	case "cloudevents":
		return object{"type": "string", "contentMediaType": "application/cloudevents+json", "contentSchema": ref("CloudEvent")}
	}
	if rt.format.Data == "json" {
		return jsonText(value)
	}
	value["type"] = "string"
	return value
}

// envelopeSchema is the object of bridge's envelope, as docs/protocol.md has it.
func envelopeSchema(rt *route, data object) object {
	s := object{"type": "object", "required": []any{"time", "data"}, "properties": object{
		"subject": object{"type": "string"}, "time": object{"type": "string", "format": "date-time"}, "data": data}}
	properties := s["properties"].(object)
	for _, src := range rt.sources {
		if src.spec.Kind == flow.KV {
			properties["key"] = object{"type": "string", "description": "Of a bucket, in place of subject."}
		}
	}
	if rt.format.Named {
		var names []any
		for _, src := range rt.sources {
			names = append(names, src.spec.Name)
		}
		s["required"] = []any{"source", "time", "data"}
		properties["source"] = object{"description": "Which source it is from, as $gap names it.", "enum": names}
	}
	if rt.format.IDs {
		properties["id"] = object{"type": "string"}
	}
	if rt.format.Headers != "" {
		properties["headers"] = object{"type": "object", "additionalProperties": object{"type": "string"}}
	}
	return s
}

// schemas are what all routes have in common.
func schemas() object {
	text, whole := object{"type": "string"}, object{"type": "integer", "minimum": 0}
	var gaps, ends, causes []any
	for _, r := range gap.Reasons() {
		gaps = append(gaps, r.String())
	}
	for _, r := range delivery.Reasons() {
		ends = append(ends, r.String())
	}
	for _, cause := range []string{"rate", "cap", "upstream", "source", "draining"} {
		causes = append(causes, cause)
	}
	closed := func(required []any, properties object) object {
		return object{"type": "object", "required": required, "properties": properties}
	}
	return object{
		"Retry":    object{"description": "The first block: when to come back after a break, in milliseconds.", "type": "object", "required": []any{"retry"}, "properties": object{"retry": whole}},
		"Position": object{"description": "A heartbeat on a quiet stream whose position has moved.", "type": "object", "required": []any{"id"}, "properties": object{"id": object{"type": "string", "maxLength": 256}}},
		"Ready": event("$ready", jsonText(closed([]any{"connection", "route", "position"},
			object{"connection": text, "route": text, "position": object{"enum": []any{flow.Live, flow.Replay, flow.Snapshot}}}))),
		"Snapshot": event("$snapshot", jsonText(closed([]any{"count"}, object{"count": whole}))),
		"Live":     event("$live", jsonText(object{"type": "object"})),
		"Gap": event(gap.EventType, jsonText(closed([]any{"reason", "certain", "source", "next"}, object{"reason": object{"enum": gaps}, "certain": object{"type": "boolean"},
			"source": text, "from": whole, "to": whole, "next": object{"enum": []any{"live", "snapshot"}}}))),
		"Expiring": event("$expiring", jsonText(closed([]any{"in"}, object{"in": whole}))),
		"End": event("$end", jsonText(closed([]any{"reason", "reconnect"}, object{"reason": object{"enum": ends}, "reconnect": object{"type": "boolean"},
			"cause": object{"description": "Of the reason overloaded.", "enum": causes}}))),
		"CloudEvent": object{"description": "CloudEvents 1.0, JSON format.", "type": "object", "required": []any{"specversion", "id", "source", "type"},
			"properties": object{"specversion": object{"const": "1.0"}, "id": text, "source": object{"type": "string", "format": "uri-reference"}, "type": text, "subject": text,
				"time": object{"type": "string", "format": "date-time"}, "datacontenttype": text, "sequence": text, "traceparent": text,
				"headgatesource": object{"type": "string", "description": "On routes with several sources: which one it is from, as $gap names it. Not of events that were published in structured mode."},
				"data":           object{}, "data_base64": object{"type": "string", "contentEncoding": "base64"}}},
		"Problem": object{"description": "RFC 9457.", "type": "object", "required": []any{"type", "title", "status", "detail", "instance"},
			"properties": object{"type": object{"type": "string", "format": "uri"}, "title": text, "status": object{"type": "integer"},
				"detail":   object{"type": "string", "description": "What is wrong, and what to do about it."},
				"instance": object{"type": "string", "description": "The request's name in the log."}}},
		"Stored": closed([]any{"stream", "seq"}, object{"stream": text, "seq": whole}),
	}
}
