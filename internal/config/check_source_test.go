package config

import (
	"reflect"
	"strings"
	"testing"
	"time"
)

const (
	orders = `source: {type: stream, stream: ORDERS, subject: "orders.>"}`
	flags  = `source: {type: kv, bucket: FLAGS}`
)

func TestStateSources_EachMistakeHasItsMessageHintAndPlace(t *testing.T) {
	for _, test := range []struct{ name, file, message, help, at string }{
		{"stream in core", one("path: /a", "source: {type: core, stream: S, subject: a}"), "stream does not belong to type: core", "it belongs to type: stream", "5:34"},
		{"key in core", one("path: /a", "source: {type: core, subject: a, key: a}"), "key does not belong to type: core", "it belongs to type: kv", "5:43"},
		{"bucket in stream", one("path: /a", "source: {type: stream, stream: S, subject: a, bucket: B}"), "bucket does not belong to type: stream", "it belongs to type: kv", "5:59"},
		{"stream in kv", one("path: /a", "source: {type: kv, bucket: B, stream: S}"), "stream does not belong to type: kv", "write bucket: …", "5:43"},
		{"subject in kv", one("path: /a", "source: {type: kv, bucket: B, subject: a}"), "subject does not belong to type: kv", "write key: …", "5:44"},
		{"allow in kv", one("path: /a", "source: {type: kv, bucket: B, allow: [a]}"), "allow does not belong to type: kv", "write key: …", "5:43"},
		{"no stream", one("path: /a", "source: {type: stream, subject: a}"), "does not say which stream", "stream: ORDERS", "5:13"},
		{"no subject of a stream", one("path: /a", "source: {type: stream, stream: S}"), "neither subject nor allow", `{type: stream, stream: ORDERS, allow: ["feed.>"]}`, "5:13"},
		{"subject and allow of a stream", one("path: /a", "source: {type: stream, stream: S, subject: a, allow: [b]}"), "subject and allow", "clients name it", "5:13"},
		{"no bucket", one("path: /a", "source: {type: kv}"), "does not say which bucket", "bucket: FLAGS", "5:13"},
		{"stream with a dot", one("path: /a", "source: {type: stream, stream: a.b, subject: a}"), `"a.b" cannot be a stream's name`, "nats stream ls", "5:36"},
		{"stream with a wildcard", one("path: /a", `source: {type: stream, stream: "A>", subject: a}`), "cannot be a stream's name", "nats stream ls", "5:36"},
		{"stream with a space", one("path: /a", `source: {type: stream, stream: "A B", subject: a}`), "cannot be a stream's name", "nats stream ls", "5:36"},
		{"stream with a slash", one("path: /a", `source: {type: stream, stream: A/B, subject: a}`), "cannot be a stream's name", "nats stream ls", "5:36"},
		{"stream with a backslash", one("path: /a", `source: {type: stream, stream: 'A\B', subject: a}`), "cannot be a stream's name", "nats stream ls", "5:36"},
		{"stream too long", one("path: /a", "source: {type: stream, stream: "+strings.Repeat("A", 256)+", subject: a}"), "cannot be a stream's name", "255 bytes", "5:36"},
		{"stream of a bucket", one("path: /a", "source: {type: stream, stream: KV_FLAGS, subject: a}"), "is the stream of a Key-Value bucket", "{type: kv, bucket: FLAGS}", "5:36"},
		{"bucket with a dot", one("path: /a", "source: {type: kv, bucket: a.b}"), `"a.b" cannot be a bucket's name`, "letters, digits", "5:32"},
		{"empty bucket", one("path: /a", `source: {type: kv, bucket: ""}`), "cannot be a bucket's name", "letters, digits", "5:32"},
		{"first token of a stream", one("path: /a/{x}", `source: {type: stream, stream: S, subject: "{x}.a"}`), "the first token is not literal", "unsafe_first_token", "5:48"},
		{"first token of a stream's allow", one("path: /a", `source: {type: stream, stream: S, allow: [">"]}`), "the first token is a wildcard", "unsafe_first_token", "5:47"},
		{"part of a token of a stream", one("path: /a/{x}", `source: {type: stream, stream: S, subject: "a.b{x}"}`), "not a placeholder", "", "5:48"},
		{"internal subject of a stream", one("path: /a", `source: {type: stream, stream: S, subject: "$KV.B.>"}`), "NATS's own", "", "5:48"},
		{"key with a bad character", one("path: /a", `source: {type: kv, bucket: B, key: "a:b"}`), `key "a:b": "a:b" has a character that no key`, "", "5:40"},
		{"key that is a subject", one("path: /a", `source: {type: kv, bucket: B, key: "$KV.B.>"}`), "has a character that no key", "a key, not a subject", "5:40"},
		{"empty token of a key", one("path: /a", `source: {type: kv, bucket: B, key: "a..b"}`), `key "a..b": token 2 is empty`, "", "5:40"},
		{"part of a token of a key", one("path: /a/{x}", `source: {type: kv, bucket: B, key: "a{x}.b"}`), "not a placeholder", "", "5:40"},
		{"unknown placeholder of a key", one("path: /a/{env}", `source: {type: kv, bucket: B, key: "{enf}.>"}`), "{enf} is not a placeholder of the path", "did you mean env?", "5:40"},
		{"claim in a key", one("path: /a", `source: {type: kv, bucket: B, key: "{claims.sub}.>"}`), "with AUTH_MODE=none nobody has claims", "say AUTH_MODE=jwt", "5:40"},
		{"token beyond a key", one("path: /a", `source: {type: kv, bucket: B, key: "a.*"}`, `event: {type: "{subject[2]}"}`), "there is no token 2 in a.*", "", "6:19"},
		{"one stream twice", one("path: /a", "sources: [{name: x, type: stream, stream: S, subject: a}, {name: y, type: stream, stream: S, subject: b}]"),
			"x and y are sources of the same stream, S", "one source with a wildcard", "5:63"},
		{"one bucket twice", one("path: /a", "sources: [{name: x, type: kv, bucket: B, key: a}, {name: y, type: kv, bucket: B, key: b}]"),
			"x and y are sources of the same bucket, B", "one source with a wildcard", "5:55"},
		{"two allows of two types", one("path: /a", "sources: [{name: x, type: core, allow: [a]}, {name: y, type: stream, stream: S, allow: [b]}]"), "several sources with allow", "", "5:50"},
		{"nine streams", one("path: /a", "sources:", manyStreams(9)), "the ids of the route would have 9 parts, and 8 are possible", "two routes", "14:9"},
		{"eight streams and core", one("path: /a", "sources:", manyStreams(8), "  - {type: core, subject: a}"), "would have 9 parts", "NATS_DATA_CONNECTIONS=1", "14:9"},

		{"snapshot of core", one("path: /a", core, "snapshot: last"), "snapshot: no source of the route is a stream", "store them in a stream", "6:15"},
		{"snapshot of kv", one("path: /a", flags, "snapshot: {mode: last}"), "snapshot: no source of the route is a stream", "begins with its current values", "6:15"},
		{"wrong mode", one("path: /a", orders, "snapshot: last_per_subjekt"), `snapshot: "last_per_subjekt": no such value`, "did you mean last_per_subject?", "6:15"},
		{"wrong mode in a mapping", one("path: /a", orders, "snapshot: {mode: first, since: 1h}"), `"first": no such value`, "last_per_subject, last, all or since", "6:22"},
		{"no mode", one("path: /a", orders, "snapshot: {since: 1h}"), "snapshot.mode is missing", "", "6:15"},
		{"no since", one("path: /a", orders, "snapshot: since"), "since when is not said", "{mode: since, since: 1h}", "6:15"},
		{"since of another mode", one("path: /a", orders, "snapshot: {mode: all, since: 1h}"), "does not belong to mode: all", "write mode: since", "6:34"},
		{"since without unit", one("path: /a", orders, "snapshot: {mode: since, since: 10}"), "the unit is missing", "", "6:36"},
		{"snapshot is a list", one("path: /a", orders, "snapshot: [last]"), "snapshot is a mapping", "", "6:15"},
		{"snapshot without a value", one("path: /a", orders, "snapshot:"), "snapshot has no value", "", "6:15"},

		{"on_gap of core", one("path: /a", core, "resume: {on_gap: snapshot}"), "no source of the route has a state", "store them in a stream", "6:22"},
		{"on_gap without a snapshot", one("path: /a", orders, "resume: {on_gap: snapshot}"), "no source of the route has a state", "snapshot: last_per_subject", "6:22"},
		{"wrong on_gap", one("path: /a", orders, "resume: {on_gap: events}"), `"events": no such value`, "did you mean event?", "6:22"},
		{"bound of kv", one("path: /a", flags, "resume: {max_events: 5}"), "resume.max_events: a kv source has no such bound", "drop it", "6:26"},
		{"age of kv", one("path: /a", flags, "resume: {max_age: 5m}"), "resume.max_age: a kv source has no such bound", "drop it", "6:23"},

		{"end of core", one("path: /a", core, "end: {when: {field: a, in: [b]}}"), "could not be told that the stream has ended", "store them in a stream", "6:10"},
		{"end without when", one("path: /a", orders, "end: {}"), "end.when is missing", "", "6:10"},
		{"end without field", one("path: /a", orders, "end: {when: {in: [a]}}"), "end.when.field is missing", "", "6:17"},
		{"end without values", one("path: /a", orders, "end: {when: {field: a}}"), "end.when.in is missing", "", "6:17"},
		{"end with no value", one("path: /a", orders, "end: {when: {field: a, in: []}}"), "without a value nothing ends", "in: [done, failed]", "6:25"},
		{"end with one value", one("path: /a", orders, "end: {when: {field: a, in: done}}"), "end.when.in is a list", `["done"]`, "6:32"},
		{"end with a mapping", one("path: /a", orders, "end: {when: {field: a, in: [{b: c}]}}"), "is a single value", "text, a number, true, false or null", "6:33"},
		{"end with infinity", one("path: /a", orders, "end: {when: {field: a, in: [.inf]}}"), "JSON has no such number", "", "6:33"},
		{"end with half a path", one("path: /a", orders, "end: {when: {field: a..b, in: [c]}}"), `"a..b" is not a field`, "job.status", "6:25"},
		{"source without a value", one("path: /a", "source:"), "source has no value", "", "5:13"},
	} {
		t.Run(test.name, func(t *testing.T) {
			_, _, errs := load(t, test.file)
			if len(errs) != 1 {
				t.Fatalf("want one error, got %d:\n%v", len(errs), errs)
			}
			if text := errs[0].String(); !strings.Contains(errs[0].Message, test.message) || !strings.Contains(text, test.help) {
				t.Errorf("not %q with %q:\n%s", test.message, test.help, text)
			}
			if at := strings.TrimPrefix(errs[0].where(), "/routes.yaml:"); at != test.at {
				t.Errorf("it stands at %s, want %s", at, test.at)
			}
		})
	}
}

// manyStreams are n sources, one per line.
func manyStreams(n int) string {
	var lines []string
	for i := range n {
		lines = append(lines, "  - {type: stream, stream: S"+string(rune('0'+i))+", subject: a}")
	}
	return strings.Join(lines, "\n    ")
}

func TestStateSources_WhatIsGoodLoads(t *testing.T) {
	for _, file := range []string{
		one("path: /a", orders), one("path: /a", flags), one("path: /a", orders, "resume: off", "snapshot: last"),
		one("path: /a/{x}", `source: {type: stream, stream: "Ö-1_$", subject: "orders.{x}.*"}`, `event: {type: "{subject[1]}"}`),
		one("path: /{x}", `source: {type: stream, stream: S, subject: "{x}.a"}`, "unsafe_first_token: true"),
		one("path: /a/{x}/{y}", `source: {type: kv, bucket: B, key: "{x}._a/b=.{y}.*"}`),
		one("path: /a", flags, "resume: {on_gap: snapshot}"),
		one("path: /a", flags, "end: {when: {field: a, in: [b]}}"),
		one("path: /a", flags, "headers: [X]"),
		one("path: /a", "sources:", manyStreams(8)),
		one("path: /a", "sources:", manyStreams(7), "  - {type: core, subject: a}", "  - {type: core, subject: b}"),
		one("path: /a", orders, "snapshot: {mode: since, since: 90m}", "resume: {on_gap: snapshot, max_age: 1h}"),
		"version: 1\ndefaults: {resume: {on_gap: snapshot, max_events: 5}}\nroutes:\n  - {name: a, path: /a, " + flags + "}\n  - {name: b, path: /b, " + core + "}\n",
	} {
		if _, warnings, errs := load(t, file); errs != nil || warnings != nil {
			t.Errorf("%s\n%v%v", file, errs, warnings)
		}
	}
}

func TestStateSources_ResumeComesFromWhereTheSourceKeepsIt(t *testing.T) {
	const mixed = `sources: [{type: stream, stream: S, subject: s}, {type: core, subject: c}]`
	plain := Replay{10_000, 16 << 20, 0}
	for _, test := range []struct {
		name, file string
		env        []string
		want       Resume
	}{
		{"stream", one("path: /a", orders), nil, Resume{Enabled: true, Replay: plain, OnGap: "event"}},
		{"stream, where core keeps nothing", one("path: /a", orders), []string{"SSE_RESUME_EVENTS=0"}, Resume{Enabled: true, Replay: plain, OnGap: "event"}},
		{"mixed, where core keeps nothing", one("path: /a", mixed), []string{"SSE_RESUME_EVENTS=0"}, Resume{Enabled: true, MaxAge: time.Minute, Replay: plain, OnGap: "event"}},
		{"mixed, switched on, where core keeps nothing", one("path: /a", mixed, "resume: on"), []string{"SSE_RESUME_EVENTS=0"},
			Resume{Enabled: true, MaxAge: time.Minute, Replay: plain, OnGap: "event"}},
		{"environment", one("path: /a", orders), []string{"JETSTREAM_REPLAY_EVENTS=0", "JETSTREAM_REPLAY_BYTES=1KiB", "JETSTREAM_REPLAY_AGE=2h"},
			Resume{Enabled: true, Replay: Replay{0, 1 << 10, 2 * time.Hour}, OnGap: "event"}},
		{"mixed", one("path: /a", mixed), nil, Resume{Enabled: true, MaxEvents: 64, MaxAge: time.Minute, Replay: plain, OnGap: "event"}},
		{"the route holds for both", one("path: /a", mixed, "resume: {max_events: 7, max_age: 1h}"), nil,
			Resume{Enabled: true, MaxEvents: 7, MaxAge: time.Hour, Replay: Replay{7, 16 << 20, time.Hour}, OnGap: "event"}},
		{"off", one("path: /a", orders, "resume: off"), nil, Resume{Replay: plain, OnGap: "event"}},
		{"kv", one("path: /a", flags, "resume: {on_gap: snapshot}"), nil, Resume{Enabled: true, OnGap: "snapshot"}},
		{"defaults", "version: 1\ndefaults: {resume: {max_age: 5h, on_gap: snapshot}}\nroutes:\n  - {name: a, path: /a, snapshot: all, resume: {max_events: 3}, " + orders + "}\n", nil,
			Resume{Enabled: true, Replay: Replay{3, 16 << 20, 5 * time.Hour}, OnGap: "snapshot"}},
		{"defaults that do not fit", "version: 1\ndefaults: {resume: {on_gap: snapshot}}\nroutes:\n  - {name: a, path: /a, " + orders + "}\n", nil,
			Resume{Enabled: true, Replay: plain, OnGap: "event"}},
		{"defaults off", "version: 1\ndefaults: {resume: off}\nroutes:\n  - {name: a, path: /a, " + orders + "}\n", nil, Resume{Replay: plain, OnGap: "event"}},
	} {
		c, _, errs := load(t, test.file, test.env...)
		if errs != nil || c.Routes[0].Resume != test.want {
			t.Errorf("%s: %v\ngot  %+v\nwant %+v", test.name, errs, c.Routes[0].Resume, test.want)
		}
	}
}

func TestStateSources_AKVRouteShowsItsKeysUnlessSomebodySaysOtherwise(t *testing.T) {
	const both = `sources: [{type: kv, bucket: B}, {type: stream, stream: S, subject: s}]`
	for file, want := range map[string]string{
		one("path: /a", flags):                   "headgate",
		one("path: /a", flags, "envelope: none"): "none",
		one("path: /a", both):                    "none",
		"version: 1\ndefaults: {envelope: none}\nroutes: [{name: a, path: /a, " + flags + "}]": "none",
	} {
		if c, _, errs := load(t, file); errs != nil || c.Routes[0].Envelope != want {
			t.Errorf("%s\n%v: %s", file, errs, c.Routes[0].Envelope)
		}
	}
}

func TestStateSources_TheValuesOfAnEndKeepTheirTypes(t *testing.T) {
	c, _, errs := load(t, one("path: /a", orders, `end: {when: {field: job.state, in: [done, "3", 3, 0x10, -1.50, true, "true", null, ~, "<é\n\"", 1e3]}}`))
	want := End{Field: "job.state", In: []string{`"done"`, `"3"`, "3", "16", "-1.5", "true", `"true"`, "null", "null", `"<é\n\""`, "1e3"}}
	if errs != nil || !reflect.DeepEqual(c.Routes[0].End, want) {
		t.Errorf("%v\ngot  %q\nwant %q", errs, c.Routes[0].End, want)
	}
}
