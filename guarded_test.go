//go:build !nodev

package main

import (
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"testing"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"headgate/internal/devnats"
)

const everyKind = `version: 1
routes:
  - name: prices
    path: /prices/{symbol}
    source: {type: core, subject: "prices.{symbol}"}
  - name: notify
    path: /notify/{user}
    auth: {required: false}
    publish: {subject: "users.{user}.notify"}
  - name: orders
    path: /orders/{tenant}
    source: {type: stream, stream: ORDERS, subject: "orders.{tenant}.>"}
    event: {type: order}
  - name: state
    path: /state/{tenant}
    source: {type: stream, stream: ORDERS, subject: "orders.{tenant}.>"}
    snapshot: last_per_subject
    event: {type: order}
  - name: tasks
    path: /tasks
    source: {type: stream, stream: TASKS, allow: ["tasks.>"]}
    event: {type: task}
  - name: flags
    path: /flags/{env}
    source: {type: kv, bucket: FLAGS, key: "{env}.>"}
  - name: all
    path: /all
    sources:
      - {name: live, type: core, subject: "users.*.notify"}
      - {name: tasks, type: stream, stream: TASKS, subject: "tasks.>"}
`

// guarded is a server with an administrator, and a user for headgate whose permissions are a block of nats-server's configuration.
type guarded struct {
	t     *testing.T
	ns    *devnats.Server
	admin *nats.Conn
	js    jetstream.JetStream
	more  func(*server.Options)
}

func startGuarded(t *testing.T, more func(*server.Options)) *guarded {
	t.Helper()
	g := &guarded{t: t, more: more}
	g.start(g.users(""))
	return g
}

// start starts the server, and connects the administrator.
func (g *guarded) start(configure func(*server.Options)) {
	t := g.t
	t.Helper()
	var err error
	if g.ns, err = devnats.Start(devnats.Options{JetStream: true, Configure: configure}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(g.ns.Shutdown)
	closed := make(chan struct{})
	g.admin, err = nats.Connect(g.ns.URL(), nats.UserInfo("admin", "secret-a"), nats.ClosedHandler(func(*nats.Conn) { close(closed) }))
	if err != nil {
		t.Fatal(err)
	}
	admin := g.admin
	t.Cleanup(func() { admin.Close(); <-closed })
	if g.js, err = jetstream.New(g.admin); err != nil {
		t.Fatal(err)
	}
}

func (g *guarded) users(permissions string) func(*server.Options) {
	g.t.Helper()
	return g.configuration("authorization { users: [\n  {user: admin, password: secret-a}\n  {user: headgate, password: secret-h\n" + permissions + "}\n] }\n")
}

func (g *guarded) configuration(text string) func(*server.Options) {
	g.t.Helper()
	file := filepath.Join(g.t.TempDir(), "nats.conf")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		g.t.Fatal(err)
	}
	parsed, err := server.ProcessConfigFile(file)
	if err != nil {
		g.t.Fatalf("%v in\n%s", err, text)
	}
	return func(o *server.Options) {
		o.Users, o.Accounts = parsed.Users, parsed.Accounts
		if g.more != nil {
			g.more(o)
		}
	}
}

// permit gives the user the permissions.
func (g *guarded) permit(permissions string) {
	g.t.Helper()
	if err := g.ns.Reload(g.users(permissions)); err != nil {
		g.t.Fatal(err)
	}
}

func (g *guarded) publish(subject, data string) {
	g.t.Helper()
	if err := g.admin.Publish(subject, []byte(data)); err != nil {
		g.t.Fatal(err)
	}
	if err := g.admin.Flush(); err != nil {
		g.t.Fatal(err)
	}
}

// fill makes the streams and the bucket of everyKind: 20 orders of two tenants, 20 tasks, two flags.
func (g *guarded) fill() jetstream.KeyValue {
	g.t.Helper()
	ctx := g.t.Context()
	for _, c := range []jetstream.StreamConfig{{Name: "ORDERS", Subjects: []string{"orders.>"}, AllowDirect: true}, {Name: "TASKS", Subjects: []string{"tasks.>"}}} {
		if _, err := g.js.CreateStream(ctx, c); err != nil {
			g.t.Fatal(err)
		}
	}
	kv, err := g.js.CreateKeyValue(ctx, jetstream.KeyValueConfig{Bucket: "FLAGS"})
	if err != nil {
		g.t.Fatal(err)
	}
	for _, key := range []string{"eu.dark", "eu.beta", "us.dark"} {
		if _, err := kv.PutString(ctx, key, "on"); err != nil {
			g.t.Fatal(err)
		}
	}
	for n := range 20 {
		for _, subj := range []string{"orders.a." + strconv.Itoa(n%2), "orders.b.x", "tasks." + strconv.Itoa(n)} {
			if _, err := g.js.Publish(ctx, subj, []byte(strconv.Itoa(n))); err != nil {
				g.t.Fatal(err)
			}
		}
	}
	return kv
}

// environ is that of a program that is one of the server's users.
func (g *guarded) environ(user, routes string, more ...string) []string {
	g.t.Helper()
	file := filepath.Join(g.t.TempDir(), "routes.yaml")
	if err := os.WriteFile(file, []byte(routes), 0o600); err != nil {
		g.t.Fatal(err)
	}
	return base(append([]string{"AUTH_MODE=none", "ROUTES_FILE=" + file, "NATS_URL=" + g.ns.URL(), "NATS_USER=" + user,
		"NATS_PASSWORD=" + map[string]string{"admin": "secret-a", "headgate": "secret-h"}[user]}, more...)...)
}

// block is the permissions block of what -check -online has printed.
func block(t *testing.T, stdout string) string {
	t.Helper()
	b := regexp.MustCompile(`(?s)permissions \{.*?\n\}\n`).FindString(stdout)
	if b == "" {
		t.Fatalf("no permissions in\n%s", stdout)
	}
	return b
}

// since is events of a type from long ago until now, with what each must have for data.
func (p *process) since(path, eventType string, want ...string) *stream {
	p.t.Helper()
	s := p.open(path)
	for _, data := range want {
		if e := s.next(eventType); e.Data != data {
			p.t.Fatalf("%s: %+v, want %s", path, e, data)
		}
	}
	return s
}

func numbers(n int) (list []string) {
	for i := range n {
		list = append(list, strconv.Itoa(i))
	}
	return list
}
