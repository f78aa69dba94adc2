//go:build !nodev

package main

import (
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go/jetstream"

	"headgate/internal/devnats"
)

func TestOnline_ThePermissionsItPrintsAreEnoughForEveryKindOfRoute(t *testing.T) {
	for name, at := range map[string]struct {
		domain string
		env    []string
	}{"account": {"", nil}, "domain": {"hub", []string{"JETSTREAM_DOMAIN=hub", "NATS_INBOX_PREFIX=_INBOX_gw"}}} {
		t.Run(name, func(t *testing.T) {
			g := startGuarded(t, func(o *server.Options) { o.JetStreamDomain = at.domain })
			kv := g.fill()
			code, stdout, stderr := once(t, g.environ("admin", everyKind, at.env...), "-check", "-online")
			if code != exitOK {
				t.Fatalf("exit code %d\n%s\n%s", code, stdout, stderr)
			}
			g.permit(block(t, stdout))
			if code, stdout, stderr = once(t, g.environ("headgate", everyKind, at.env...), "-check", "-online"); code != exitOK ||
				!strings.Contains(stdout, "cannot be told without publishing") {
				t.Fatalf("exit code %d\n%s\n%s", code, stdout, stderr)
			}
			// What was published before the start is not in memory, so it comes from history.
			p := start(t, g.environ("headgate", everyKind, append(at.env, "JETSTREAM_TAIL_AGE=0s", "LOG_LEVEL=debug")...)).listening()
			p.ready()
			g.useEveryKind(p, kv)
			if _, metrics := p.get(p.admin + "/metrics"); regexp.MustCompile(`(?m)^headgate_nats_refused_total.* [1-9]`).MatchString(metrics) {
				t.Errorf("NATS refused something:\n%s", regexp.MustCompile(`(?m)^headgate_nats_refused_total.*`).FindAllString(metrics, -1))
			}
			p.signals <- os.Interrupt
			p.wait()
			for _, stream := range []string{"ORDERS", "TASKS", "KV_FLAGS"} {
				s, err := g.js.Stream(t.Context(), stream)
				if err != nil {
					t.Fatal(err)
				}
				if n := s.CachedInfo().State.Consumers; n != 0 {
					t.Errorf("%s: %d consumers are left", stream, n)
				}
			}
		})
	}
}

// useEveryKind follows everything, live and from history, and publishes.
func (g *guarded) useEveryKind(p *process, kv jetstream.KeyValue) {
	g.t.Helper()
	prices := p.open("/prices/ACME")
	g.publish("prices.ACME", "7")
	if e := prices.next("message"); e.Data != "7" {
		g.t.Errorf("core: %+v", e)
	}
	all := p.open("/all")
	p.post("/notify/bob", "hello")
	if e := all.next("message"); e.Data != "hello" {
		g.t.Errorf("publish: %+v", e)
	}
	orders := p.since("/orders/a?since=1h", "order", numbers(20)...)
	tasks := p.since("/tasks?since=1h&subject=tasks.%3E", "task", numbers(20)...)
	state := p.since("/state/a", "order", "18", "19")
	state.next("$snapshot")
	g.publish("orders.a.0", "more")
	g.publish("tasks.x", "more")
	for what, e := range map[string]string{"direct": orders.next("order").Data, "scan": tasks.next("task").Data, "state": state.next("order").Data} {
		if e != "more" {
			g.t.Errorf("%s: %q", what, e)
		}
	}
	flags := p.open("/flags/eu")
	for range 2 {
		flags.next("put")
	}
	flags.next("$snapshot")
	if _, err := kv.PutString(g.t.Context(), "eu.dark", "off"); err != nil {
		g.t.Fatal(err)
	}
	if e := flags.next("put"); !strings.Contains(e.Data, "eu.dark") {
		g.t.Errorf("kv: %+v", e)
	}
}

// imported is a server on which headgate's account has the JetStream of another one, under another name.
func (g *guarded) imported(permissions string) func(*server.Options) {
	return g.configuration(`accounts {
  HUB { jetstream: enabled, users: [{user: admin, password: secret-a}], exports: [{service: "$JS.API.>", response_type: stream}] }
  EDGE { users: [{user: headgate, password: secret-h
` + permissions + `}], imports: [{service: {account: HUB, subject: "$JS.API.>"}, to: "hub.API.>"}] }
}
`)
}

func TestOnline_ThePermissionsUnderAnImportedAPI(t *testing.T) {
	g := &guarded{t: t}
	g.start(g.imported(""))
	g.fill()
	const routes = `version: 1
routes:
  - {name: orders, path: "/orders/{tenant}", source: {type: stream, stream: ORDERS, subject: "orders.{tenant}.>"}, event: {type: order}}
  - {name: tasks, path: /tasks, source: {type: stream, stream: TASKS, subject: "tasks.>"}, event: {type: task}}
  - {name: flags, path: "/flags/{env}", source: {type: kv, bucket: FLAGS, key: "{env}.>"}}
`
	environ := func() []string {
		return g.environ("headgate", routes, "JETSTREAM_API_PREFIX=hub.API", "JETSTREAM_TAIL_AGE=0s")
	}
	code, stdout, stderr := once(t, environ(), "-check", "-online")
	if code != exitOK || !strings.Contains(stdout, `"hub.API.STREAM.INFO.ORDERS"`) {
		t.Fatalf("exit code %d\n%s\n%s", code, stdout, stderr)
	}
	g.ns.Shutdown()
	g.start(g.imported(block(t, stdout)))
	kv := g.fill()
	if code, stdout, stderr = once(t, environ(), "-check", "-online"); code != exitOK {
		t.Fatalf("exit code %d\n%s\n%s", code, stdout, stderr)
	}
	p := start(t, environ()).listening()
	p.ready()
	orders := p.since("/orders/a?since=1h", "order", numbers(20)...)
	tasks := p.since("/tasks?since=1h", "task", numbers(20)...)
	g.publish("orders.a.0", "more")
	g.publish("tasks.x", "more")
	if a, b := orders.next("order").Data, tasks.next("task").Data; a != "more" || b != "more" {
		t.Errorf("%q %q", a, b)
	}
	flags := p.open("/flags/eu")
	flags.next("$snapshot")
	if _, err := kv.PutString(t.Context(), "eu.dark", "off"); err != nil {
		t.Fatal(err)
	}
	if e := flags.next("put"); !strings.Contains(e.Data, "eu.dark") {
		t.Errorf("kv: %+v", e)
	}
}

func TestOnline_TellsEverythingThatCannotWork(t *testing.T) {
	g := startGuarded(t, nil)
	ctx := t.Context()
	for _, c := range []jetstream.StreamConfig{
		{Name: "ORDERS", Subjects: []string{"sales.>"}, MaxAge: time.Hour, MaxMsgs: 100, MaxMsgsPerSubject: 3},
		{Name: "JOBS", Subjects: []string{"jobs.>"}, AllowDirect: true, Retention: jetstream.WorkQueuePolicy, Storage: jetstream.MemoryStorage},
		{Name: "SHORT", Subjects: []string{"short.>"}, AllowDirect: true, MaxAge: time.Minute, ConsumerLimits: jetstream.StreamConsumerLimits{InactiveThreshold: time.Second}},
	} {
		if _, err := g.js.CreateStream(ctx, c); err != nil {
			t.Fatal(err)
		}
	}
	full, err := g.js.CreateStream(ctx, jetstream.StreamConfig{Name: "FULL", Subjects: []string{"full.>"}, AllowDirect: true, MaxConsumers: 1})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := full.CreateConsumer(ctx, jetstream.ConsumerConfig{Durable: "another"}); err != nil {
		t.Fatal(err)
	}
	if _, err := g.js.CreateKeyValue(ctx, jetstream.KeyValueConfig{Bucket: "FLAGS", TTL: time.Hour, History: 5}); err != nil {
		t.Fatal(err)
	}
	if _, err := g.js.CreateKeyValue(ctx, jetstream.KeyValueConfig{Bucket: "MARKED", LimitMarkerTTL: time.Minute}); err != nil {
		t.Fatal(err)
	}
	if _, err := g.js.CreateKeyValue(ctx, jetstream.KeyValueConfig{Bucket: "COPY", Mirror: &jetstream.StreamSource{Name: "KV_FLAGS"}}); err != nil {
		t.Fatal(err)
	}
	const routes = `version: 1
routes:
  - {name: gone, path: /gone, source: {type: stream, stream: GONE, subject: "gone.>"}}
  - {name: orders, path: /orders, source: {type: stream, stream: ORDERS, subject: "orders.>"}}
  - {name: jobs, path: /jobs, source: {type: stream, stream: JOBS, subject: "jobs.>"}}
  - {name: short, path: /short, source: {type: stream, stream: SHORT, subject: "short.>"}, resume: {max_age: 1h}, snapshot: {mode: since, since: 2h}}
  - {name: nobucket, path: /nobucket, source: {type: kv, bucket: NONE}}
  - {name: flags, path: /flags, source: {type: kv, bucket: FLAGS}}
  - {name: marked, path: /marked, source: {type: kv, bucket: MARKED}}
  - {name: full, path: /full, source: {type: stream, stream: FULL, subject: "full.>"}}
  - {name: copy, path: /copy, source: {type: kv, bucket: COPY}}
`
	code, stdout, stderr := once(t, g.environ("headgate", routes), "-check", "-online")
	if code != exitFailed {
		t.Errorf("exit code %d\n%s", code, stderr)
	}
	for _, want := range []string{
		`stream GONE, of route "gone" (line 3)`, "does not exist", "nats stream add GONE --subjects 'gone.>'",
		`route "orders" (line 4), stream ORDERS`, "orders.> never matches: the stream has only sales.>",
		"allow_direct is off", "the stream keeps 100 messages (max_msgs)", "keeps the last 3 messages of each subject",
		"is a work queue", "is in the memory of one server",
		"within 1h (resume.max_age), and the stream keeps 1m (max_age)", "the snapshot goes back 2h",
		"bucket NONE, of route", "nats kv add NONE", "no `expire` events", "become `expire` events", "keeps the last 5 values of each key",
		"takes no more consumers", "max_consumers is 1; each replica of headgate makes one",
		`route "copy" (line 11), bucket COPY`, "is a mirror of KV_FLAGS, and has its messages under that one's subjects: clients are given an empty state",
		"6 errors", `"$JS.API.CONSUMER.CREATE.KV_MARKED.>"`, "--allow-pub '$JS.API.STREAM.INFO.GONE'", `"_INBOX_headgate.>"`,
	} {
		if !strings.Contains(stdout, want) {
			t.Errorf("%q is missing in\n%s", want, stdout)
		}
	}
	if strings.Contains(stdout+stderr, "secret-h") {
		t.Error("the password is shown")
	}
}

func TestOnline_TellsWhatTheUserMayNotDo(t *testing.T) {
	g := startGuarded(t, nil)
	g.fill()
	_, stdout, _ := once(t, g.environ("admin", everyKind), "-check", "-online")
	needed := block(t, stdout)
	for _, drop := range []string{"prices.*", "$JS.API.STREAM.INFO.ORDERS", "$JS.API.STREAM.MSG.GET.ORDERS", "$JS.API.DIRECT.GET.ORDERS", "$JS.API.CONSUMER.CREATE.TASKS.>",
		"$JS.API.CONSUMER.MSG.NEXT.KV_FLAGS.*", "$JS.API.CONSUMER.DELETE.TASKS.*", "_INBOX_headgate.>"} {
		g.permit(strings.Replace(needed, strconv.Quote(drop)+"\n", "\n", 1))
		code, stdout, stderr := once(t, g.environ("headgate", everyKind, "NATS_CONFIRM_TIMEOUT=2s"), "-check", "-online")
		if found, _, _ := strings.Cut(stdout, "The NATS user of headgate needs"); code != exitFailed || !strings.Contains(found, "1 error,") ||
			!strings.Contains(found, drop) && !strings.Contains(found, strings.TrimSuffix(drop, ".>")) {
			t.Errorf("without %s: exit code %d\n%s\n%s", drop, code, found, stderr)
		}
	}
	// Without this one everything works, but nobody is told what is stored.
	const names = "$JS.API.STREAM.NAMES"
	g.permit(strings.Replace(needed, strconv.Quote(names)+"\n", "\n", 1))
	if code, stdout, stderr := once(t, g.environ("headgate", everyKind), "-check", "-online"); code != 0 || !strings.Contains(stdout, "may not publish to "+names) {
		t.Errorf("without %s: exit code %d\n%s\n%s", names, code, stdout, stderr)
	}
	// A user that may ask for its rights is told of subjects that it may not publish to, without a publish.
	asking := strings.Replace(needed, `"users.*.notify"`, `"$SYS.REQ.USER.INFO"`, 1)
	g.permit(strings.Replace(asking, "subscribe {", "subscribe { # and its answers come to its inbox", 1))
	code, stdout, stderr := once(t, g.environ("headgate", everyKind), "-check", "-online")
	if code != exitFailed || !strings.Contains(stdout, `route "notify" (line 6), publish to users.*.notify`) || !strings.Contains(stdout, "may not publish to it") {
		t.Errorf("exit code %d\n%s\n%s", code, stdout, stderr)
	}
}

func TestOnline_NATSAwayIsOneClearError(t *testing.T) {
	ns, err := devnats.Start(devnats.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer ns.Shutdown()
	env := base("AUTH_MODE=none", "SUBJECTS_ALLOW=feed.>", "NATS_URL="+ns.URL(), "NATS_CONFIRM_TIMEOUT=300ms")
	if code, stdout, stderr := once(t, env, "-check", "-online"); code != exitOK || !strings.Contains(stdout, `publish { deny: ">" }`) ||
		!strings.Contains(stdout, "--deny-pub '>'") || strings.Contains(stdout, "_INBOX") {
		t.Errorf("exit code %d\n%s\n%s", code, stdout, stderr)
	}
	ns.Stop()
	code, stdout, stderr := once(t, env, "-check", "-online")
	if code != exitFailed || strings.Count(stderr, "cannot connect") != 1 || !strings.Contains(stderr, "remedy: start NATS there") || strings.Contains(stdout, "permissions") {
		t.Errorf("exit code %d\n%s\n%s", code, stdout, stderr)
	}
	if code, _, _ := once(t, env, "-check"); code != exitOK {
		t.Errorf("-check alone asks NATS: exit code %d", code)
	}
	for _, args := range [][]string{{"-online"}, {"-check", "-online", "-dev"}} {
		if code, _, stderr := once(t, env, args...); code != exitUsage || !strings.Contains(stderr, "-online") {
			t.Errorf("%q: exit code %d %s", args, code, stderr)
		}
	}
}

func TestOnline_AServerThatSaysNothingIsNotWaitedForForEver(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	began := time.Now()
	code, _, stderr := once(t, base("AUTH_MODE=none", "SUBJECTS_ALLOW=feed.>", "NATS_URL=nats://"+ln.Addr().String(), "NATS_CONFIRM_TIMEOUT=300ms"), "-check", "-online")
	if code != exitFailed || !strings.Contains(stderr, "cannot connect to NATS within 300ms") || time.Since(began) > patience/2 {
		t.Errorf("exit code %d after %s: %s", code, time.Since(began), stderr)
	}
}

func TestOnline_ASignalEndsIt(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	p := start(t, base("AUTH_MODE=none", "SUBJECTS_ALLOW=feed.>", "NATS_URL=nats://"+ln.Addr().String(), "NATS_CONFIRM_TIMEOUT=10m"), "-check", "-online")
	p.until("it has begun", func() bool { return strings.Contains(p.stdout.String(), "The configuration is good") })
	p.signals <- os.Interrupt
	if code := p.wait(); code != exitFailed || !strings.Contains(p.stderr.String(), "interrupted") {
		t.Errorf("exit code %d: %s", code, p.stderr)
	}
}

func TestOnline_WithoutJetStreamItSaysSoOnce(t *testing.T) {
	ns, err := devnats.Start(devnats.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer ns.Shutdown()
	file := filepath.Join(t.TempDir(), "routes.yaml")
	if err := os.WriteFile(file, []byte(everyKind), 0o600); err != nil {
		t.Fatal(err)
	}
	code, stdout, stderr := once(t, base("AUTH_MODE=none", "ROUTES_FILE="+file, "NATS_URL="+ns.URL()), "-check", "-online")
	if code != exitFailed || strings.Count(stdout, "does not answer at $JS.API.>") != 1 || !strings.Contains(stdout, "JETSTREAM_DOMAIN") {
		t.Errorf("exit code %d\n%s\n%s", code, stdout, stderr)
	}
}
