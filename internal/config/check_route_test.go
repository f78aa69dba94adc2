package config

import (
	"strings"
	"testing"
)

// one is a routes file with one route; parts are its further fields, one per line.
func one(parts ...string) string {
	text := "version: 1\nroutes:\n  - name: a\n"
	for _, p := range parts {
		text += "    " + p + "\n"
	}
	return text
}

const core = `source: {type: core, subject: "a.b"}`

func TestRoutes_EachMistakeHasItsMessageAndPlace(t *testing.T) {
	for _, test := range []struct{ name, file, message, at string }{
		{"no version", "routes: [{name: a, path: /a, source: {type: core, subject: a}}]", "version is missing", "1:1"},
		{"version 2", "version: 2\nroutes: [{name: a, path: /a, source: {type: core, subject: a}}]", "version 2", "1:10"},
		{"no routes", "version: 1", "routes is missing", "1:1"},
		{"empty routes", "version: 1\nroutes: []", "there are no routes in the file", "1:1"},
		{"routes is a mapping", "version: 1\nroutes: {a: b}", "routes is a list", "2:9"},
		{"a tab", "version: 1\nroutes:\n\t- name: a", "YAML: ", "3:1"},
		{"given twice", one("path: /a", "path: /b", core), `"path" is given twice`, "5:5"},
		{"no path", one(core), "path is missing", "3:5"},
		{"nothing to do", one("path: /a"), "neither a source nor publish", "3:5"},
		{"source and sources", one("path: /a", core, `sources: [{type: core, subject: b, name: x}]`), "source and sources", "5:13"},
		{"no type", one("path: /a", "source: {subject: a}"), "source.type is missing", "5:13"},
		{"wrong type", one("path: /a", "source: {type: cor, subject: a}"), `"cor": no such value`, "5:20"},
		{"no subject", one("path: /a", "source: {type: core}"), "neither subject nor allow", "5:13"},
		{"subject and allow", one("path: /a", "source: {type: core, subject: a, allow: [b]}"), "subject and allow", "5:13"},
		{"bucket in core", one("path: /a", "source: {type: core, subject: a, bucket: B}"), "bucket does not belong to type: core", "5:46"},
		{"two allows", one("path: /a", "sources: [{name: x, type: core, allow: [a]}, {name: y, type: core, allow: [b]}]"), "several sources with allow", "5:50"},
		{"equal source names", one("path: /a", "sources: [{name: x, type: core, subject: a}, {name: x, type: core, subject: b}]"), "two sources of the route are called x", "5:50"},
		{"part of a token", one("path: /a/{x}", `source: {type: core, subject: "a.b{x}"}`), "not a placeholder", "5:35"},
		{"unknown placeholder", one("path: /a/{symbol}", `source: {type: core, subject: "a.{symbl}"}`), "{symbl} is not a placeholder of the path", "5:35"},
		{"first token placeholder", one("path: /a/{x}", `source: {type: core, subject: "{x}.a"}`), "the first token is not literal", "5:35"},
		{"first token wildcard", one("path: /a", `source: {type: core, subject: ">"}`), "the first token is not literal", "5:35"},
		{"internal", one("path: /a", `source: {type: core, subject: "$JS.API.>"}`), "NATS's own", "5:35"},
		{"internal although unsafe", one("path: /a", `source: {type: core, allow: ["_INBOX.>"]}`, "unsafe_first_token: true"), "NATS's own", "5:34"},
		{"placeholder in allow", one("path: /a/{x}", `source: {type: core, allow: ["a.{x}"]}`), "not supported yet", "5:34"},
		{"event with braces", one("path: /a", core, `event: {type: "x{subject[0]}"}`), "is not understood", "6:19"},
		{"event index", one("path: /a", core, `event: {type: "{subject[2]}"}`), "there is no token 2 in a.b", "6:19"},
		{"reserved event", one("path: /a", core, `event: {type: $ready}`), "cannot be an event's type", "6:19"},
		{"event error", one("path: /a", core, `event: {type: error}`), "cannot be an event's type", "6:19"},
		{"pattern", one("path: /a/{x}", `source: {type: core, subject: "a.{x}"}`, `params: {x: {pattern: "["}}`), "missing closing ]", "6:27"},
		{"pattern that swallows", one("path: /a/{x}", `source: {type: core, subject: "a.{x}"}`, `params: {x: {pattern: "\\Qa"}}`), "missing closing )", "6:27"},
		{"param of no path", one("path: /a", core, `params: {x: {pattern: a}}`), "{x} is not a placeholder of the path", "6:27"},
		{"data", one("path: /a", core, "data: xml"), `"xml": no such value`, "6:11"},
		{"envelope later", one("path: /a", core, "envelope: cloudevents"), "envelope: cloudevents is not supported yet", "6:15"},
		{"users without identities", one("path: /a", core, "limits: {connections_per_user: 3}"), "with AUTH_MODE=none nobody is a user", "6:36"},
		{"publish rate without publish", one("path: /a", core, "limits: {publish_rate: 3}"), "limits.publish_rate: nobody publishes here", "6:28"},
		{"infinite rate", one("path: /a", core, "limits: {events_per_second: .inf}"), "limits.events_per_second", "6:33"},
		{"negative rate", one("path: /a", core, "limits: {events_per_second: -1}"), "limits.events_per_second: too small", "6:33"},
		{"headers without envelope", one("path: /a", core, "headers: [X]"), "only an envelope can show them", "6:15"},
		{"heartbeat too short", one("path: /a", core, "heartbeat: 1ms"), "heartbeat: too small", "6:16"},
		{"heartbeat without unit", one("path: /a", core, "heartbeat: 15"), "the unit is missing", "6:16"},
		{"negative limit", one("path: /a", core, "limits: {connections: -1}"), "limits.connections: too small", "6:27"},
		{"resume as text", one("path: /a", core, "resume: never"), "resume is a mapping", "6:13"},
		{"null", one("path: /a", core, "data:"), "data has no value", "6:11"},
		{"identity", one("path: /a", core, "auth: {required: true}"), "nobody can say who he is", "6:22"},
		{"publish without auth", one("path: /a", "publish: {subject: a}"), "everybody could publish", "5:14"},
		{"publish wildcard", one("path: /a", "auth: {required: false}", "publish: {subject: a.*}"), "without wildcards", "6:24"},
		{"publish cookie", one("path: /a", "auth: {required: false}", "publish: {subject: a, headers: [Cookie]}"), "must not leave the request", "6:37"},
		{"publish rollup", one("path: /a", "auth: {required: false}", "publish: {subject: a, headers: [Nats-Rollup]}"), "an order to NATS", "6:37"},
		{"console", one("path: /console/x", core), "where the console page stands", "4:11"},
		{"trailing slash", one("path: /a/", core), "does not end with /", "4:11"},
		{"half a placeholder", one("path: /a/x{y}", core), "not a placeholder", "4:11"},
		{"origin with path", one("path: /a", core, `cors: {origins: ["https://a.example/"]}`), "is not how browsers write", "6:22"},
		{"second document", good + "---\n" + good, "a second document", "7:1"},
		{"unknown alias", one("path: *p", core), "no anchor of this name", "4:11"},
		{"unknown alias as source", one("path: /a", "source: *p"), "no anchor of this name", "5:13"},
		{"unknown alias as sources", one("path: /a", "sources: *p"), "no anchor of this name", "5:14"},
		{"unknown alias in sources", one("path: /a", "sources: [*p]"), "no anchor of this name", "5:15"},
		{"unknown alias as subject", one("path: /a", "source: {type: core, subject: *p}"), "no anchor of this name", "5:35"},
		{"unknown alias as allow", one("path: /a", "source: {type: core, allow: *p}"), "no anchor of this name", "5:33"},
		{"unknown alias as publish", one("path: /a", "publish: *p"), "no anchor of this name", "5:14"},
		{"unknown alias as headers", one("path: /a", core, "headers: *p"), "no anchor of this name", "6:14"},
		{"unknown alias as origins", one("path: /a", core, "cors: {origins: *p}"), "no anchor of this name", "6:21"},
		{"unknown alias as route", "version: 1\nroutes: [*p]", "no anchor of this name", "2:10"},
		{"unknown alias as routes", "version: 1\nroutes: *p", "no anchor of this name", "2:9"},
		{"unknown alias as version", "version: *p\nroutes: [{name: a, path: /a, source: {type: core, subject: a}}]", "no anchor of this name", "1:10"},
		{"allow is no list", one("path: /a", "source: {type: core, allow: feed.>}"), "allow is a list", "5:33"},
		{"subject is a list", one("path: /a", "source: {type: core, subject: [a]}"), "subject is a single value", "5:35"},
	} {
		t.Run(test.name, func(t *testing.T) {
			_, _, errs := load(t, test.file)
			if len(errs) != 1 {
				t.Fatalf("want one error, got %d:\n%v", len(errs), errs)
			}
			if !strings.Contains(errs[0].Message, test.message) {
				t.Errorf("message %q does not hold %q", errs[0].Message, test.message)
			}
			if at := strings.TrimPrefix(errs[0].where(), "/routes.yaml:"); at != test.at {
				t.Errorf("it stands at %s, want %s", at, test.at)
			}
		})
	}
}

func TestRoutes_WhatIsGoodLoads(t *testing.T) {
	for _, file := range []string{
		one("path: /a", core),
		one("path: /a", core, "resume: off", "cors: {origins: [\"*\"]}"),
		one("path: /a/{x}/{y}", `source: {type: core, subject: "a.{y}.*.{x}.>"}`, `event: {type: "{subject[9]}"}`),
		one("path: /{x}", `source: {type: core, subject: "{x}.a"}`, "unsafe_first_token: true"),
		one("path: /a", "source: {type: core, allow: [\">\"]}", "unsafe_first_token: true"),
		one("path: /a", "auth: {required: false}", "publish: {subject: a, headers: [Nats-Msg-Id]}"),
		"x: &shared {heartbeat: 5s}\n" + good,
		strings.Replace(good, "    path:", "    <<: {data: json}\n    path:", 1),
	} {
		_, _, errs := load(t, file)
		if strings.HasPrefix(file, "x:") { // an unknown field, even if it only holds an anchor
			if len(errs) != 1 {
				t.Errorf("%s\n%v", file, errs)
			}
			continue
		}
		if errs != nil {
			t.Errorf("%s\n%v", file, errs)
		}
	}
}

func TestRoutes_AliasesAndMergesWork(t *testing.T) {
	c, _, errs := load(t, `version: 1
routes:
  - &p {name: a, path: /a, source: &s {type: core, subject: a.b}, heartbeat: 5s}
  - {<<: *p, name: b, path: /b}
  - {name: c, path: /c, source: *s}
`)
	if errs != nil || len(c.Routes) != 3 || c.Routes[1].Heartbeat != c.Routes[0].Heartbeat || c.Routes[2].Sources[0].Subject != "a.b" {
		t.Fatal(errs, c.Routes)
	}
	var bomb strings.Builder
	bomb.WriteString("version: 1\nroutes:\n  - &a0 [x, x]\n")
	for i := 1; i < 40; i++ {
		prev := "*a" + string(rune('0'+(i-1)%10))
		bomb.WriteString("  - &a" + string(rune('0'+i%10)) + " [" + strings.Repeat(prev+", ", 9) + prev + "]\n")
	}
	if _, _, errs := load(t, bomb.String()); len(errs) == 0 {
		t.Error("no error")
	}
}

func TestRoutes_PublishMayEverybodyOnlyWhereTheRouteItselfSaysSo(t *testing.T) {
	const inDefaults = "version: 1\ndefaults: {auth: {required: false}}\nroutes:\n  - {name: a, path: /a, publish: {subject: a}}\n"
	if _, _, errs := load(t, inDefaults); len(errs) != 1 {
		t.Errorf("defaults opened a publish: %v", errs)
	}
	_, _, err := Load(Options{Dev: true, Environ: []string{"ROUTES_FILE=/r"}, ReadFile: files(map[string]string{"/r": one("path: /a", "publish: {subject: a}")})})
	if err != nil {
		t.Errorf("-dev: %v", err)
	}
}

func TestRoutes_ThePatternStaysAsItWasWritten(t *testing.T) {
	c, _, errs := load(t, one("path: /a/{x}", `source: {type: core, subject: "a.{x}"}`, `params: {x: {pattern: "a|b$"}}`))
	if errs != nil || c.Routes[0].Params["x"] != "a|b$" {
		t.Fatal(errs, c.Routes)
	}
}

func TestRoutes_HeadersOfDefaultsAreCheckedOnce(t *testing.T) {
	_, _, errs := load(t, "version: 1\ndefaults: {headers: [\"a b\"], cors: {origins: [\"null\"]}, auth: {required: true}}\nroutes:\n"+
		"  - {name: a, path: /a, source: {type: core, subject: a}}\n  - {name: b, path: /b, source: {type: core, subject: a}}\n")
	if len(errs) != 3 {
		t.Error(errs)
	}
}

func TestRoutes_FilesMeantToHurtAreRefused(t *testing.T) {
	for _, s := range []string{"- ", "? ", "&a ", "!a ", "a: ", "[", "{", "*a ", "<<: ", "'", "a: b\n"} {
		if _, _, errs := load(t, strings.Repeat(s, 3000)); len(errs) == 0 {
			t.Errorf("3000 times %q: no error", s)
		} else if text := errs.Error(); len(text) > 50_000 {
			t.Errorf("3000 times %q: a message of %d bytes", s, len(text))
		}
	}
	if _, _, errs := load(t, "#"+strings.Repeat("x", maxFileBytes)); len(errs) != 1 || !strings.Contains(errs[0].Message, "at most") {
		t.Error("a file that is too large:", len(errs))
	}
}
