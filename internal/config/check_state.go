package config

import (
	"reflect"
	"slices"
	"strings"
)

// Hints for what only some types of sources can do.
const (
	needsStream  = "core subjects keep nothing: store them in a stream, and follow it with {type: stream, stream: …, subject: …}"
	needsNothing = "a kv source always begins with its current values: drop the line"
)

// checkSnapshot wants a stream that the state can come from.
func (b *builder) checkSnapshot(route *Route, y *routeYAML) {
	s := &y.Snapshot.v
	if !s.Mode.said() {
		return
	}
	if !route.has(typeStream) && !unknownTypes(route) {
		b.d.fail(y.Snapshot.at, Problem{Message: "snapshot: no source of the route is a stream", Hint: pick(route.has(typeKV), needsNothing, needsStream)})
		return
	}
	switch {
	case s.Mode.v == modeSince && !s.Since.said() && !s.Since.bad:
		b.d.fail(s.Mode.at, Problem{Message: "snapshot: since when is not said", Example: "snapshot: {mode: since, since: 1h}"})
	case s.Mode.v != modeSince && s.Since.said() && slices.Contains(snapshotModes(), s.Mode.v):
		b.d.fail(s.Since.at, Problem{Message: "snapshot.since: it does not belong to mode: " + s.Mode.v, Hint: "write mode: since, or drop it"})
	}
}

func snapshotModes() []string { return members(reflect.TypeFor[snapshotYAML]())[0].oneOf }

// checkResume checks what the route itself says of resume and depends on its sources.
func (b *builder) checkResume(route *Route, y *routeYAML) {
	r := &y.Resume
	if len(route.Sources) == 0 || unknownTypes(route) {
		return
	}
	if r.OnGap.v == onGapSnapshot && !restartable(route) {
		hint := needsStream
		if route.has(typeStream) {
			hint = "say which state, for example snapshot: last_per_subject"
		}
		b.d.fail(r.OnGap.at, Problem{Message: "resume.on_gap: no source of the route has a state that could follow a hole", Hint: hint})
	}
	if route.has(typeCore, typeStream) {
		return
	}
	for _, x := range []struct {
		name string
		at   pos
	}{{"max_events", r.MaxEvents.at}, {"max_age", r.MaxAge.at}} {
		if x.at.line > 0 {
			b.d.fail(x.at, Problem{Message: "resume." + x.name + ": a kv source has no such bound",
				Hint: "clients that come back get what has changed, or the current values: drop it"})
		}
	}
}

// checkEnd wants a condition that a message can meet, and a source that remembers that it was met.
func (b *builder) checkEnd(route *Route, y *routeYAML) {
	when := &y.End.v.When.v
	if !when.Field.said() {
		return
	}
	if !route.has(typeStream, typeKV) && !unknownTypes(route) {
		b.d.fail(y.End.at, Problem{Message: "end: a client that comes back could not be told that the stream has ended", Hint: needsStream})
		return
	}
	for name := range strings.SplitSeq(when.Field.v, ".") {
		if name == "" {
			b.d.fail(when.Field.at, Problem{Message: "end.when.field: " + quoteShort(when.Field.v) + " is not a field",
				Expected: "the name of a member of the payload, or names with dots between them", Example: "field: job.status"})
			break
		}
	}
	if when.In != nil && len(when.In) == 0 {
		b.d.fail(when.Field.at, Problem{Message: "end.when.in: without a value nothing ends the stream", Example: "in: [done, failed]"})
	}
}

// unknownTypes says whether a source's type is wrong or missing, which has been reported: then nothing is said that a type decides.
func unknownTypes(route *Route) bool {
	for _, s := range route.Sources {
		if s.Type != typeCore && s.Type != typeStream && s.Type != typeKV {
			return true
		}
	}
	return false
}
