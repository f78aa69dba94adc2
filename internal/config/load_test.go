package config

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"
)

// files makes a ReadFile of what a test says the disk holds.
func files(content map[string]string) func(string) ([]byte, error) {
	return func(name string) ([]byte, error) {
		if text, ok := content[name]; ok {
			return []byte(text), nil
		}
		return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrNotExist}
	}
}

// load reads a configuration that says AUTH_MODE=none and has these routes.
func load(t *testing.T, routes string, env ...string) (Config, []Warning, Errors) {
	t.Helper()
	env = append([]string{"AUTH_MODE=none", "ROUTES_FILE=/routes.yaml"}, env...)
	c, warnings, err := Load(Options{Environ: env, ReadFile: files(map[string]string{"/routes.yaml": routes})})
	var list Errors
	if err != nil && !errors.As(err, &list) {
		t.Fatalf("the error is a %T, not Errors", err)
	}
	return c, warnings, list
}

func golden(t *testing.T, file, got string) {
	t.Helper()
	file = filepath.Join("testdata", file)
	if *update {
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("%s is different (go test -run %s -update writes it):\n%s", file, t.Name(), got)
	}
}

func TestLoad_ReportsTenErrorsAtOnce(t *testing.T) {
	_, warnings, err := Load(Options{Environ: []string{
		"HTTP_ADDR=8080",
		"NATS_SERVERS=nats://a:4222",
		"NATS_PASSWORD=hunter2",
		"SSE_HEARTBEET=5s",
		"SSE_BUFFER_BYTES=1 Mo",
		"SSE_RETRY=2",
		"LIMIT_CONNECTIONS=-5",
		"LOG_LEVEL=warning",
		"ROUTES_FILE=testdata/broken.yaml",
		"NATS_FLAVOUR=new",
	}})
	var list Errors
	if !errors.As(err, &list) || len(list) < 10 {
		t.Fatalf("want all errors, got %v", err)
	}
	golden(t, "broken.txt", err.Error())
	if len(warnings) != 1 || warnings[0].Where != "NATS_FLAVOUR" {
		t.Errorf("want one warning about NATS_FLAVOUR, got %v", warnings)
	}
}

func TestLoad_WhatLaterVersionsDoIsRefusedByName(t *testing.T) {
	_, _, err := Load(Options{Environ: []string{"AUTH_MODE=jwt", "ROUTES_FILE=./testdata/later.yaml"}})
	var list Errors
	if !errors.As(err, &list) {
		t.Fatal("no errors")
	}
	for _, p := range list {
		if !strings.Contains(p.Message, "is not supported yet by this version of headgate") {
			t.Errorf("another error: %s", p)
		}
		if p.Line == 0 && p.Variable == "" {
			t.Errorf("without a place: %s", p)
		}
	}
	golden(t, "later.txt", err.Error())
}

func TestLoad_TheExampleIsGood(t *testing.T) {
	c, warnings, err := Load(Options{Environ: []string{"AUTH_MODE=none", "ROUTES_FILE=testdata/example.yaml"}})
	if err != nil || len(warnings) > 0 {
		t.Fatal(err, warnings)
	}
	if len(c.Routes) != 9 {
		t.Fatalf("%d routes", len(c.Routes))
	}
	dashboard := c.Routes[2]
	if dashboard.Sources[0].Name != "jobs" || dashboard.Resume != (Resume{Enabled: true, MaxEvents: 256, MaxAge: 5 * time.Minute, OnGap: "event"}) || dashboard.MaxStreams != 2000 {
		t.Errorf("%+v", dashboard)
	}
	logs := c.Routes[3]
	if logs.SlowConsumer != "drop_oldest" || logs.Heartbeat != 5*time.Second || logs.MaxEventBytes != 256<<10 || logs.Resume.Enabled ||
		logs.CORS.AllowedOrigins[0] != "*" || logs.OnOverload != "status" {
		t.Errorf("%+v", logs)
	}
	orders := c.Routes[4]
	if !reflect.DeepEqual(orders.Sources[0], Source{Name: "orders", Type: "stream", Stream: "ORDERS", Subject: "orders.{tenant}.>"}) || orders.Snapshot != (Snapshot{Mode: "last_per_subject"}) ||
		orders.Resume != (Resume{Enabled: true, Replay: Replay{10_000, 16 << 20, time.Hour}, OnGap: "snapshot"}) || orders.Envelope != "none" {
		t.Errorf("%+v", orders)
	}
	flags := c.Routes[5]
	if !reflect.DeepEqual(flags.Sources[0], Source{Name: "flags", Type: "kv", Stream: "FLAGS", Subject: "{env}.>"}) || flags.Envelope != "headgate" ||
		flags.Resume != (Resume{Enabled: true, OnGap: "event"}) {
		t.Errorf("%+v", flags)
	}
	if job := c.Routes[6]; job.Snapshot.Mode != "last" || job.End.Field != "status" || strings.Join(job.End.In, " ") != `"done" "failed"` {
		t.Errorf("%+v", job)
	}
	overview := c.Routes[7]
	if len(overview.Sources) != 4 || overview.Sources[2].Subject != ">" || overview.Sources[1].Allow[0] != "jobs.*.progress" ||
		overview.Resume != (Resume{Enabled: true, MaxEvents: 64, MaxAge: time.Minute, Replay: Replay{10_000, 16 << 20, 0}, OnGap: "event"}) {
		t.Errorf("%+v", overview)
	}
	if p := c.Routes[8].Publish; p == nil || p.MaxBytes != 16<<10 || p.Headers[0] != "Content-Type" {
		t.Errorf("%+v", p)
	}
}

func TestLoad_DevNeedsNothing(t *testing.T) {
	c, warnings, err := Load(Options{Dev: true})
	if err != nil || len(warnings) > 0 {
		t.Fatal(err, warnings)
	}
	if !c.Dev || !c.Console || c.Auth.Mode != "none" || len(c.Routes) == 0 || !loopback(c.HTTP.Addr) || !loopback(c.Admin.Addr) {
		t.Errorf("%+v", c)
	}
}

func TestLoad_DevListensOnThisMachineAlone(t *testing.T) {
	for addr, ok := range map[string]bool{
		"127.0.0.1:18085": true, "localhost:18085": true, "[::1]:18085": true, "127.0.0.1:0": true,
		":18085": false, "0.0.0.0:18085": false, "[::]:18085": false, "192.0.2.7:18085": false, "edge.example:18085": false,
		"127.0.0.2:18085": false, // the gateway would not answer to this name
	} {
		for _, variable := range []string{"HTTP_ADDR", "ADMIN_ADDR"} {
			_, _, err := Load(Options{Dev: true, Environ: []string{variable + "=" + addr}})
			if (err == nil) != ok {
				t.Errorf("%s=%s: %v", variable, addr, err)
			}
			if !ok && (!strings.Contains(err.Error(), variable+"=127.0.0.1:18085") || len(err.(Errors)) != 1) {
				t.Errorf("%s=%s: no remedy in\n%v", variable, addr, err)
			}
		}
	}
	_, _, err := Load(Options{Dev: true, Environ: []string{"HTTP_ADDR=:18085", "ADMIN_ADDR=:19095"}})
	if list, _ := err.(Errors); len(list) != 2 {
		t.Errorf("not both: %v", err)
	}
}

func TestLoad_AWrongAuthModeHidesNoErrorOfTheRoutes(t *testing.T) {
	file := "version: 1\nroutes:\n  - {name: a, path: /a, source: {type: core, subject: a}, auth: {required: true}}\n  - {name: b, path: /b, publish: {subject: b}}\n"
	for _, mode := range []string{"nobody", ""} {
		_, _, errs := load(t, file, "AUTH_MODE="+mode)
		if len(errs) != 3 || errs[0].Variable != "AUTH_MODE" || errs[1].Line != 3 || errs[2].Line != 4 {
			t.Errorf("AUTH_MODE=%s: %v", mode, errs)
		}
	}
}

func TestLoad_AnErrorOfTheEnvironmentHidesNoEmptyFile(t *testing.T) {
	for _, file := range []string{"", "version: 1\nroutes: []"} {
		_, _, errs := load(t, file, "LOG_LEVEL=loud")
		if len(errs) != 2 || errs[1].Message != "there are no routes in the file" {
			t.Errorf("%q: %v", file, errs)
		}
	}
}

func TestLoad_EveryExampleIsGoodWithoutDev(t *testing.T) {
	list, err := filepath.Glob("../../examples/*/routes.yaml")
	if err != nil || len(list) < 4 {
		t.Fatal(err, list)
	}
	for _, file := range list {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		mode := "AUTH_MODE=" + pick(strings.Contains(string(text), "issuers:"), "jwt", "none")
		c, warnings, err := Load(Options{Environ: []string{mode, "ROUTES_FILE=" + file}})
		if err != nil || len(warnings) > 0 || len(c.Routes) == 0 {
			t.Errorf("%s: %v %v", file, err, warnings)
		}
	}
}

func TestLoad_DefaultsNeedAuthModeAndRoutes(t *testing.T) {
	_, _, err := Load(Options{})
	golden(t, "nothing.txt", err.Error())
}

func TestLoad_EmptyVariablesLeaveDefaults(t *testing.T) {
	c, _, errs := load(t, good, "HTTP_ADDR=", "SSE_HEARTBEAT= ", "LIMIT_TOPICS=")
	want := DefaultConfig()
	if errs != nil || c.HTTP.Addr != want.HTTP.Addr || c.SSE.Heartbeat != want.SSE.Heartbeat || c.Limit.Topics != want.Limit.Topics {
		t.Errorf("%v %+v", errs, c)
	}
}

const good = `version: 1
routes:
  - name: prices
    path: /v1/prices/{symbol}
    source: {type: core, subject: "prices.{symbol}"}
`

func TestLoad_PrecedenceIsBuiltInThenEnvironmentThenDefaultsThenRoute(t *testing.T) {
	const file = `version: 1
defaults: {heartbeat: 20s, cors: {origins: ["https://b.example"]}, resume: {max_events: 7}, limits: {connections: 9}}
routes:
  - {name: plain, path: /plain, source: {type: core, subject: a}}
  - {name: own, path: /own, source: {type: core, subject: a}, heartbeat: 30s, cors: {origins: []}, resume: {max_age: 1h}, limits: {connections: 0}}
`
	c, _, errs := load(t, file, "SSE_HEARTBEAT=10s", "SSE_MAX_EVENT_BYTES=2MiB", "SSE_SLOW_CONSUMER=drop_oldest", "CORS_ALLOWED_ORIGINS=https://a.example")
	if errs != nil {
		t.Fatal(errs)
	}
	plain, own := c.Routes[0], c.Routes[1]
	if plain.Heartbeat != 20*time.Second || plain.MaxEventBytes != 2<<20 || plain.SlowConsumer != "drop_oldest" || plain.Data != "text" ||
		plain.CORS.AllowedOrigins[0] != "https://b.example" || plain.Resume != (Resume{Enabled: true, MaxEvents: 7, MaxAge: time.Minute, OnGap: "event"}) || plain.MaxStreams != 9 {
		t.Errorf("%+v", plain)
	}
	if own.Heartbeat != 30*time.Second || len(own.CORS.AllowedOrigins) != 0 || own.Resume != (Resume{Enabled: true, MaxEvents: 7, MaxAge: time.Hour, OnGap: "event"}) || own.MaxStreams != 0 {
		t.Errorf("%+v", own)
	}
}

func TestLoad_AddressLimitsAreOnlyOnWhereAddressesAreKnown(t *testing.T) {
	for _, test := range []struct {
		env  []string
		ip   int
		rate float64
	}{
		{nil, 0, 0},
		{[]string{"HTTP_TRUSTED_PROXIES=private"}, 50, 5},
		{[]string{"LIMIT_CONNECTIONS_PER_IP=7", "LIMIT_CONNECT_RATE=0.5"}, 7, 0.5},
		{[]string{"HTTP_TRUSTED_PROXIES=10.0.0.0/8", "LIMIT_CONNECTIONS_PER_IP=0", "LIMIT_CONNECT_RATE=0"}, 0, 0},
	} {
		c, _, errs := load(t, good, test.env...)
		if errs != nil || c.Limit.ConnectionsPerIP != test.ip || c.Limit.ConnectRate != test.rate {
			t.Errorf("%v: %v %d %g", test.env, errs, c.Limit.ConnectionsPerIP, c.Limit.ConnectRate)
		}
	}
}

func TestLoad_SubjectsAllowMakesOneRouteBesideTheFile(t *testing.T) {
	c, _, err := Load(Options{Environ: []string{"AUTH_MODE=none", "SUBJECTS_ALLOW=feed.>, prices.*"}})
	if err != nil || len(c.Routes) != 1 || c.Routes[0].Path != "/events" || strings.Join(c.Routes[0].Sources[0].Allow, " ") != "feed.> prices.*" {
		t.Fatal(err, c.Routes)
	}
	if c, _, errs := load(t, good, "SUBJECTS_ALLOW=feed.>"); errs != nil || len(c.Routes) != 2 {
		t.Error(errs, c.Routes)
	}
	taken := strings.Replace(good, "/v1/prices/{symbol}", "/events", 1)
	_, _, errs := load(t, strings.Replace(taken, "prices.{symbol}", "prices.x", 1), "SUBJECTS_ALLOW=feed.>")
	if len(errs) != 1 || errs[0].Variable != "SUBJECTS_ALLOW" {
		t.Error(errs)
	}
	for _, bad := range []string{">", "*.a", "$SYS.>", "_INBOX.>", "a..b", "a.b*", "a b"} {
		if _, _, errs := load(t, good, "SUBJECTS_ALLOW="+bad); len(errs) != 1 {
			t.Errorf("SUBJECTS_ALLOW=%s: %v", bad, errs)
		}
	}
}

func TestLoad_JetStreamIsReachedOneWay(t *testing.T) {
	for _, test := range []struct {
		env              []string
		message, api, is string
	}{
		{[]string{"JETSTREAM_DOMAIN=hub"}, "", "", "hub"},
		{[]string{"JETSTREAM_API_PREFIX=$JS.hub.API."}, "", "$JS.hub.API", ""},
		{[]string{"JETSTREAM_API_PREFIX=JS.acme.API"}, "", "JS.acme.API", ""},
		{[]string{"JETSTREAM_DOMAIN=hub", "JETSTREAM_API_PREFIX=a"}, "given together with JETSTREAM_DOMAIN", "", ""},
		{[]string{"JETSTREAM_DOMAIN=a.b"}, "contains a dot", "", ""},
		{[]string{"JETSTREAM_API_PREFIX=a.*"}, "wildcards are not allowed", "", ""},
		{[]string{"JETSTREAM_API_PREFIX=."}, "is empty", "", ""},
		{[]string{"JETSTREAM_TAIL_BYTES=1KiB"}, "too small", "", ""},
		{[]string{"JETSTREAM_LOST_AFTER=1ms"}, "too small", "", ""},
		{[]string{"JETSTREAM_HISTORY_PARALLEL=0"}, "too small", "", ""},
		{[]string{"JETSTREAM_PREFIX=a"}, "no such variable", "", ""},
		{[]string{"JETSTREAM_TAIL_BYTE=1GiB"}, "no such variable", "", ""},
	} {
		c, warnings, errs := load(t, good, test.env...)
		if test.message == "" {
			if errs != nil || warnings != nil || c.JetStream.APIPrefix != test.api || c.JetStream.Domain != test.is {
				t.Errorf("%v: %v %v %+v", test.env, errs, warnings, c.JetStream)
			}
		} else if len(errs) != 1 || !strings.Contains(errs[0].Message, test.message) {
			t.Errorf("%v: %v", test.env, errs)
		}
	}
}
