//go:build !nodev

package main

import (
	"net/http"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"headgate/internal/devnats"
	"headgate/internal/sse"
)

const operatedRoutes = `version: 1
routes:
  - {name: own, path: /own, source: {type: core, subject: "own.{claims.sub}"}}
  - {name: open, path: /open, source: {type: core, subject: "open.a"}, auth: {required: false}}
`

// operated is what operators work on: NATS and an issuer.
type operated struct {
	t       *testing.T
	issuer  *provider
	routes  string
	servers []*devnats.Server
	nc      *nats.Conn
}

func startOperated(t *testing.T, servers int) *operated {
	t.Helper()
	o := &operated{t: t, issuer: startProvider(t), routes: filepath.Join(t.TempDir(), "routes.yaml")}
	o.issuer.up.Store(true)
	if err := os.WriteFile(o.routes, []byte(operatedRoutes), 0o600); err != nil {
		t.Fatal(err)
	}
	var err error
	if servers == 1 {
		var s *devnats.Server
		s, err = devnats.Start(devnats.Options{JetStream: true, StoreDir: t.TempDir()})
		o.servers = []*devnats.Server{s}
	} else {
		o.servers, err = devnats.StartCluster(servers, devnats.Options{JetStream: true})
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { devnats.ShutdownAll(o.servers) })
	closed := make(chan struct{})
	o.nc, err = nats.Connect(o.servers[0].URL(), nats.MaxReconnects(-1), nats.ReconnectWait(20*time.Millisecond), nats.ClosedHandler(func(*nats.Conn) { close(closed) }))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { o.nc.Close(); <-closed })
	return o
}

// environ is that of a replica.
func (o *operated) environ(url string, more ...string) []string {
	return base(append([]string{"ROUTES_FILE=" + o.routes, "AUTH_MODE=jwt", "AUTH_ISSUER=https://i.example", "AUTH_AUDIENCE=headgate",
		"AUTH_JWKS_URL=" + o.issuer.url, "AUTH_REVOCATION_BUCKET=REVOKED", "AUTH_REVOCATION_TTL=1h", "CONTROL=true", "LIMIT_CONNECTIONS_PER_USER=0", "NATS_URL=" + url, "LOG_LEVEL=debug"}, more...)...)
}

// replicas are ready, one on each server.
func (o *operated) replicas() (list []*process) {
	o.t.Helper()
	for _, s := range o.servers {
		list = append(list, start(o.t, o.environ(s.URL())))
	}
	for _, p := range list {
		p.listening().ready()
	}
	return list
}

// token is one with more claims than the provider's own.
func (o *operated) token(sub string, claims map[string]any) string {
	all := jwt.MapClaims{"iss": "https://i.example", "aud": []string{"headgate"}, "sub": sub, "exp": time.Now().Add(time.Hour).Unix()}
	for name, v := range claims {
		all[name] = v
	}
	t := jwt.NewWithClaims(jwt.SigningMethodES256, all)
	t.Header["kid"] = "k1"
	text, err := t.SignedString(o.issuer.key)
	if err != nil {
		o.t.Fatal(err)
	}
	return text
}

// opened is a stream with a token that has begun.
func (p *process) opened(token, path string) *stream {
	p.t.Helper()
	resp := p.with(token, "GET", path, "", "")
	if resp.StatusCode != http.StatusOK {
		p.t.Fatalf("%s: %s", path, resp.Status)
	}
	s := &stream{t: p.t, events: sse.NewDecoder(resp.Body)}
	s.next("$ready")
	return s
}

// ask asks all replicas, until so many have answered.
func (o *operated) ask(endpoint, request string, answers int) (list []*nats.Msg) {
	o.t.Helper()
	inbox := o.nc.NewInbox()
	sub, err := o.nc.SubscribeSync(inbox)
	if err != nil {
		o.t.Fatal(err)
	}
	defer func() { _ = sub.Unsubscribe() }()
	if err := o.nc.PublishRequest("_HEADGATE."+endpoint, inbox, []byte(request)); err != nil {
		o.t.Fatal(err)
	}
	for len(list) < answers {
		m, err := sub.NextMsg(patience)
		if err != nil {
			o.t.Fatalf("%s: %d answers, want %d: %v", endpoint, len(list), answers, err)
		}
		list = append(list, m)
	}
	return list
}

func (o *operated) kv() jetstream.KeyValue {
	o.t.Helper()
	js, err := jetstream.New(o.nc)
	if err != nil {
		o.t.Fatal(err)
	}
	kv, err := js.KeyValue(o.t.Context(), "REVOKED")
	if err != nil {
		o.t.Fatal(err)
	}
	return kv
}
