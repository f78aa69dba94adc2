package config

import (
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// genEnv gives each variable a value that its tags allow, or none.
func genEnv(t *rapid.T) []string {
	defaults := DefaultConfig()
	env := []string{"AUTH_MODE=none", "ROUTES_FILE=/routes.yaml", "SHUTDOWN_TIMEOUT=2h", "SHUTDOWN_DRAIN=" + durationText(genDuration(t, 0)), "SHUTDOWN_DELAY=" + durationText(genDuration(t, 0))}
	for _, f := range fields() {
		file := strings.HasSuffix(f.name, "_FILE")
		if file || f.secret || strings.HasPrefix(f.name, "SHUTDOWN_") || f.name == "AUTH_MODE" || firstIssuerVariables[f.name] || strings.HasPrefix(f.name, "AUTH_REVOCATION_") || f.name == "JETSTREAM_API_PREFIX" || !rapid.Bool().Draw(t, f.name) {
			continue
		}
		text := f.sample(&defaults)
		least, _ := strconv.ParseInt(f.min, 10, 64)
		switch {
		case len(f.oneOf) > 0:
			text = rapid.SampledFrom(f.oneOf).Draw(t, "one of")
		case f.typ == reflect.TypeFor[Duration]():
			text = durationText(genDuration(t, least))
		case f.typ == reflect.TypeFor[Bytes]():
			text = Bytes(rapid.Int64Range(least, 1<<20).Draw(t, "bytes")).String()
		case f.typ == reflect.TypeFor[int]():
			text = strconv.FormatInt(rapid.Int64Range(max(least, 1), 60).Draw(t, "int"), 10)
		case f.typ == reflect.TypeFor[float64]():
			text = strconv.FormatFloat(rapid.Float64Range(0, 1e6).Draw(t, "float"), 'g', -1, 64)
		case f.typ == reflect.TypeFor[bool]():
			text = strconv.FormatBool(f.name != "CORS_ALLOW_CREDENTIALS")
		}
		env = append(env, f.name+"="+text)
	}
	return env
}

func genDuration(t *rapid.T, least int64) Duration {
	return Duration(rapid.Int64Range(least, max(int64(time.Hour), least)).Draw(t, "duration"))
}

// genRoutes writes a routes file as a person could: any subset of the fields.
func genRoutes(t *rapid.T) string {
	var b strings.Builder
	b.WriteString("version: 1\n")
	if rapid.Bool().Draw(t, "defaults") {
		b.WriteString("defaults: {heartbeat: 7s, headers: [A, B], envelope: headgate}\n")
	}
	b.WriteString("routes:\n")
	for i := range rapid.IntRange(1, 5).Draw(t, "routes") {
		n := strconv.Itoa(i)
		b.WriteString("  - name: r" + n + "\n    path: /" + rapid.SampledFrom([]string{"true", "1", "a-b", "x.y"}).Draw(t, "segment") + n + "/{p}\n")
		state := rapid.SampledFrom([]string{"", "    snapshot: last\n", "    snapshot: {mode: since, since: 90s}\n    end: {when: {field: a.b, in: [x, \"1\", 1, 2.5e10, true, null, \"é\\n\"]}}\n"}).Draw(t, "state")
		source := rapid.SampledFrom([]string{
			"    source: {type: core, subject: \"a.{p}\"}\n", "    source: {type: core, allow: [\"a.>\", b]}\n",
			"    sources: [{type: core, subject: \"a.{p}.>\"}, {type: core, subject: n, name: other}]\n",
			"    source: {type: stream, stream: \"S-1\", subject: \"a.{p}\"}\n" + state,
			"    source: {type: stream, stream: \"true\", allow: [\"a.>\", b]}\n" + state,
			"    source: {type: kv, bucket: \"1\", key: \"{p}.>\"}\n",
			"    source: {type: kv, bucket: B}\n    end: {when: {field: \"true\", in: [a]}}\n",
			"    sources: [{type: core, subject: \"a.{p}\"}, {type: kv, bucket: B}, {type: stream, stream: S, subject: s}]\n" + state,
		}).Draw(t, "source")
		resume := []string{"off", "on", "{on_gap: event}"}
		if !strings.HasPrefix(source, "    source: {type: kv") {
			resume = append(resume, "{enabled: true, max_events: 3}", "{max_age: 1h}")
		}
		for _, field := range []string{
			`auth: {required: false}`, `params: {p: {pattern: "` + rapid.SampledFrom([]string{"[a-z]+", "a|b", "^x$", `\\d \"q\"`, "é'"}).Draw(t, "pattern") + `"}}`,
			`event: {type: "` + rapid.SampledFrom([]string{"true", "1", "{subject[0]}", "a: b", "é # x", "-", "'", `\"`}).Draw(t, "event") + `"}`,
			"data: base64", "heartbeat: 1500ms", "slow_consumer: drop_oldest", "on_overload: retry", "max_event_bytes: 3KB",
			"limits: " + rapid.SampledFrom([]string{"{connections: 4}", "{events_per_second: 2.5, bytes_per_second: 3KB}"}).Draw(t, "limits"),
			"resume: " + rapid.SampledFrom(resume).Draw(t, "resume"),
			`cors: {origins: ` + rapid.SampledFrom([]string{"[]", `["*"]`, `["https://a.example", "http://b:1"]`}).Draw(t, "origins") + `}`,
			"envelope: " + rapid.SampledFrom([]string{"headgate", "cloudevents"}).Draw(t, "envelope"), "unsafe_first_token: true",
		} {
			if rapid.Bool().Draw(t, field) {
				b.WriteString("    " + field + "\n")
			}
		}
		b.WriteString(source)
	}
	return b.String()
}

func TestPrint_WhatIsPrintedLoadsToTheSame(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		load := func(env []string, routes string) Config {
			c, _, err := Load(Options{Environ: env, ReadFile: files(map[string]string{"/routes.yaml": routes})})
			if err != nil {
				t.Fatalf("%v\n%v\n%s", err, env, routes)
			}
			c.RoutesText = nil // it is printed in other words
			for i := range c.Routes {
				if c.Routes[i].Line > 0 {
					c.Routes[i].Line = 1
				}
			}
			return c
		}
		c := load(genEnv(t), genRoutes(t))
		var b strings.Builder
		if err := Print(&b, c); err != nil {
			t.Fatal(err)
		}
		env, routes, ok := strings.Cut(b.String(), "\n--- # routes file\n")
		if !ok {
			t.Fatal("the parts cannot be told apart")
		}
		if again := load(strings.Split(env, "\n"), routes); !reflect.DeepEqual(c, again) {
			t.Errorf("%+v\nbecame\n%+v\nthrough\n%s", c, again, b.String())
		}
	})
}

func TestPrint_ShowsEveryVariableOnceAndMasksSecrets(t *testing.T) {
	c, _, err := Load(Options{Environ: []string{"AUTH_MODE=none", "SUBJECTS_ALLOW=a.>", "NATS_USER=u", "NATS_PASSWORD=" + word, "NATS_URL=tls://a:4222"}})
	if err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	if err := Print(&b, c); err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(b.String(), "\n")
	for _, f := range fields() {
		n := 0
		for _, line := range lines {
			if strings.HasPrefix(strings.TrimPrefix(line, "# "), f.name+"=") {
				n++
			}
		}
		if n != 1 {
			t.Errorf("%s stands there %d times", f.name, n)
		}
	}
	if !slices.Contains(lines, "NATS_PASSWORD=***") || !slices.Contains(lines, "SUBJECTS_ALLOW=a.>") || strings.Contains(b.String(), "/events") {
		t.Error(b.String())
	}
	b.Reset()
	if err := Help(&b); err != nil {
		t.Fatal(err)
	}
	for _, f := range fields() {
		if !strings.Contains(b.String(), "  "+f.name) || !strings.Contains(b.String(), f.doc) {
			t.Errorf("-help does not have %s", f.name)
		}
	}
}
